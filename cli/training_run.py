"""A training from start to end: where it keeps things, who is told, and what is said when it stops."""

import fcntl
import os
import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from arms.artefact import Artefact
from arms.epochs import Watch
from arms.errors import TrainingError
from arms.training import Epoch, TrainingConfig
from cli.failures import Conflict
from cli.lab import Course, train_artefact
from cli.terminal import note
from cli.training_board import Board
from cli.training_log import TrainingLog
from cli.training_page import TrainingPage
from cli.training_view import Seen, view_of

CHECKPOINT, LOG, EVENTS = "checkpoint.safetensors", "training.log", "events"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a training keeps what it needs, beside the artefact: in there only four files belong."""

    output: Path

    @property
    def folder(self) -> Path:
        """Of this training alone."""
        return self.output.with_name(f"{self.output.name}.training")

    @property
    def checkpoint(self) -> Path:
        """There until the artefact is written."""
        return self.folder / CHECKPOINT

    @property
    def log(self) -> Path:
        """A line per epoch."""
        return self.folder / LOG

    @property
    def events(self) -> Path:
        """TensorBoard's."""
        return self.folder / EVENTS


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained. dropout: None = the preset's."""

    arm: str
    preset: str
    backend: str
    dropout: float | None
    config: TrainingConfig
    place: Place


Make = Callable[[Job, Course, Watch], Artefact]
"""A method of training. It calls the watch's `begun` first and `progress` after every epoch, keeps its
checkpoint in the job's place and deletes it once the artefact is written."""


class Onlooker(Protocol):
    """Who is told of a training while it runs."""

    def begun(self, before: tuple[Epoch, ...]) -> None:
        """First, of the epochs that the checkpoint holds."""
        ...

    def batch(self, share: float) -> None:
        """After every step: share of the epoch done."""
        ...

    def told(self, epoch: Epoch) -> None:
        """Of every epoch, after its checkpoint."""
        ...

    def ended(self, words: str) -> None:
        """Last: done, interrupted or failed."""
        ...


class Audience:
    """All onlookers as one; counts the epochs that are kept. Where one of them fails it is left out and
    said: nobody who only looks on ends a training."""

    def __init__(self, onlookers: Sequence[Onlooker]) -> None:
        self._onlookers = list(onlookers)
        self.reached = 0

    def begun(self, before: tuple[Epoch, ...]) -> None:
        """To all of them."""
        self.reached = len(before)
        self._each(lambda onlooker: onlooker.begun(before))

    def batch(self, share: float) -> None:
        """To all of them."""
        self._each(lambda onlooker: onlooker.batch(share))

    def told(self, epoch: Epoch) -> None:
        """To all of them."""
        self.reached = epoch.epoch
        self._each(lambda onlooker: onlooker.told(epoch))

    def ended(self, words: str) -> None:
        """To all of them, the screen first."""
        self._onlookers.reverse()
        self._each(lambda onlooker: onlooker.ended(words))

    def _each(self, tell: Callable[[Onlooker], None]) -> None:
        for onlooker in tuple(self._onlookers):
            try:
                tell(onlooker)
            except OSError as error:
                self._onlookers.remove(onlooker)
                note(f"(no more {type(onlooker).__name__}: {error})")


class Interruption:
    """Ctrl-C: the first ends the training after the batch, the second at once."""

    def __init__(self) -> None:
        self._is_asked = False

    def listen(self) -> None:
        """From now on."""
        signal.signal(signal.SIGINT, self._ask)

    def check(self) -> None:
        """Raises where it was asked for."""
        if self._is_asked:
            raise KeyboardInterrupt

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.check()
        self._is_asked = True


@contextmanager
def interruptible() -> Generator[Interruption]:
    """What takes Ctrl-C from when it listens until this ends."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield Interruption()
    finally:
        signal.signal(signal.SIGINT, before)


def by_cloning(job: Job, course: Course, watch: Watch) -> Artefact:
    """Behaviour cloning: what `Make` asks for, with a checkpoint after every epoch."""
    artefact, _ = train_artefact(
        job.arm, job.preset, course, job.config, job.place.output, watch, job.backend,
        dropout=job.dropout, checkpoint_at=job.place.checkpoint,
    )  # fmt: skip
    return artefact


def trained(
    job: Job,
    course: Course,
    *,
    resume: bool,
    finish: bool,
    page_port: int | None,
    make: Make = by_cloning,
) -> Artefact:
    """The artefact. Raises with one sentence that says where the training stands and how to go on.

    resume: from the checkpoint, if there is one. finish: no epoch more. page_port: None = no page.
    """
    with alone_in(job.place.folder):
        if not resume:
            job.place.checkpoint.unlink(missing_ok=True)
        audience = Audience(_onlookers(job, course, page_port))
        words = "failed"
        try:
            artefact = _watched(job, course, audience, is_enough=finish, make=make)
            words = "done"
        except TrainingError as error:
            raise TrainingError(f"{error}{_remedy(job, audience.reached)}") from error
        except KeyboardInterrupt:
            words = "interrupted"
            raise
        finally:
            audience.ended(words)
            if words == "interrupted":
                note(f"abctl: interrupted: {_standing(job, audience.reached)}")
    return artefact


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Makes the folder and holds it: the kernel lets go when the process ends, however. Conflict: another
    training holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict(f"another training holds {folder}: wait for it, or give another --output") from None
    finally:
        os.close(descriptor)


def _watched(job: Job, course: Course, audience: Audience, *, is_enough: bool, make: Make) -> Artefact:
    with interruptible() as interruption:

        def begun(before: tuple[Epoch, ...]) -> None:
            if before:
                note(f"going on after epoch {len(before)}/{job.config.epochs} from {job.place.checkpoint}")
            interruption.listen()
            audience.begun(before)

        def batch(share: float) -> None:
            audience.batch(share)
            interruption.check()

        def told(epoch: Epoch) -> None:
            audience.told(epoch)
            interruption.check()

        return make(job, course, Watch(told, begun=begun, batch=batch, is_enough=is_enough))


def _onlookers(job: Job, course: Course, page_port: int | None) -> list[Onlooker]:
    """Log, events, where a port is given the page, and the view."""
    title = f"{job.arm}/{job.preset} on {course.name}, {job.backend}"
    onlookers: list[Onlooker] = [TrainingLog(job.place.log), Board(job.place.events)]
    if page_port is not None:
        page = TrainingPage(Seen(title, job.config.epochs), page_port)
        note(f"dashboard: {page.url}")
        onlookers.append(page)
    return [*onlookers, view_of(Seen(title, job.config.epochs))]


def _standing(job: Job, reached: int) -> str:
    if not job.place.checkpoint.exists():
        return "nothing is kept yet, so the same command starts again"
    return (
        f"epoch {reached} of {job.config.epochs} is kept in {job.place.checkpoint}; the same command goes "
        "on from there, and with --finish it makes a model of the best epoch so far"
    )


def _remedy(job: Job, reached: int) -> str:
    slower = f"--no-resume --learning-rate {job.config.learning_rate / 4:g}"
    if not job.place.checkpoint.exists():
        return f"; start again with {slower}"
    return (
        f"; epoch {reached} is kept in {job.place.checkpoint}: make a model of the best epoch until then by "
        f"the same command with --finish, or start again with {slower}"
    )
