"""Epoch after epoch, whatever is learned: judged by net PnL, the best one kept, all of it resumable.

Nothing here knows tensors, nor what a pass over the lessons is.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from arms.artefact import Trained
from arms.checkpoint import Checkpoint, Standing, State
from arms.errors import TrainingError
from arms.training import Epoch, Evaluate, Policy, TrainingConfig, pnl_moments

Progress = Callable[[Epoch], None]
WARM_UP_EPOCHS = 0.5


class Passed(NamedTuple):
    """One pass: mean loss, share of hits, number of rows, and what else its kind of epoch tells, in order."""

    loss: float
    accuracy: float
    rows: int
    more: tuple[float, ...] = ()


Pass = Callable[[int, np.random.Generator], Passed]
"""Epoch's number, and what draws its rows -> one pass over them."""


class Schedule(Protocol):
    """What decides how long is learned."""

    @property
    def epochs(self) -> int:
        """At most."""
        ...

    @property
    def patience(self) -> int:
        """Epochs without a better one before stopping, once the best earns more than holding."""
        ...

    @property
    def seed(self) -> int:
        """Of what draws rows."""
        ...


class Kept(Protocol):
    """What is judged after a pass, and can be laid aside."""

    def policy(self) -> Policy:
        """What would be exported now."""
        ...

    def keep(self) -> None:
        """Remembers it as the best so far."""
        ...

    def state(self) -> State:
        """All that it needs to go on, its framework's generator included."""
        ...

    def restore(self, state: State) -> None:
        """Goes on from there, to the bit."""
        ...


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on while a net learns. progress: told of every epoch, after its checkpoint. begun: told
    first, of the epochs that the checkpoint holds. batch: told after every step which share of the epoch is
    done, in (0, 1]; it ends the training by raising. is_enough: no epoch more than the checkpoint holds."""

    progress: Progress = lambda epoch: None
    clock_s: Callable[[], float] = time.perf_counter
    begun: Callable[[tuple[Epoch, ...]], None] = lambda epochs: None
    batch: Callable[[float], None] = lambda share: None
    checkpoint: Checkpoint | None = None
    is_enough: bool = False


UNWATCHED: Final = Watch()


@dataclass(frozen=True, slots=True)
class Told:
    """kind: of every epoch's facts. floor: the score that an epoch must beat to be kept; above -inf where
    the learner began with weights that it keeps until then, as number 0."""

    kind: type[Epoch] = Epoch
    floor: float = -math.inf


PLAIN: Final = Told()
_Given_contra = TypeVar("_Given_contra", contravariant=True)


class Learner(Kept, Protocol[_Given_contra]):
    """A net that learns. The running mean of its weights is what plays and what is kept."""

    def start_epoch(self) -> None:
        """Turns to learning: dropout, or whatever is worked out anew for every pass."""
        ...

    def step(self, batch: _Given_contra, rate: float, /) -> tuple[float, int]:
        """One step of the optimizer at a learning rate: (mean loss, rows that count as a hit)."""
        ...


Net = TypeVar("Net")


@dataclass(frozen=True, slots=True)
class Fitted(Generic[Net]):
    """What a framework's training gives: the net of the best epoch, and every epoch's facts."""

    net: Net
    trained: Trained
    epochs: tuple[Epoch, ...]


_Batch = TypeVar("_Batch")


def passed_over(
    learner: Learner[_Batch],
    rows: int,
    batch_of: Callable[[slice], _Batch],
    config: TrainingConfig,
    number: int,
    told: Callable[[float], None],
) -> Passed:
    """Steps over the rows of epoch `number`, batch by batch; told: which share is done. Raises TrainingError
    on a loss that is not finite."""
    losses, hits = 0.0, 0
    for start in range(0, rows, config.batch_size):
        part = slice(start, min(start + config.batch_size, rows))
        loss, hit = learner.step(batch_of(part), rate_at(config, number - 1 + start / rows))
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of epoch {number}, batch {start // config.batch_size + 1} is {loss}: lower the "
                f"learning rate ({config.learning_rate:g}) or look for outliers in these markets"
            )
        losses += loss * (part.stop - part.start)
        hits += hit
        told(part.stop / rows)
    return Passed(losses / rows, hits / rows, rows)


def epochs_of(
    learner: Kept,
    one_pass: Pass,
    schedule: Schedule,
    evaluate: Evaluate,
    watch: Watch,
    told: Told = PLAIN,
) -> tuple[tuple[Epoch, ...], int]:
    """Every epoch's facts, and which one the learner kept.

    A policy that answers no numbers is neither kept nor saved: `arms.training.greedy` raises TrainingError.
    Where the watch has a checkpoint it goes on from there, and gives the same to the bit as one that was
    never interrupted.
    """
    rng = np.random.default_rng(schedule.seed)
    reports, kept = _resumed(learner, rng, watch.checkpoint)
    watch.begun(tuple(reports))
    best = reports[kept - 1].score if kept else told.floor
    while not (_is_over(reports, kept, best, schedule) or (reports and watch.is_enough)):
        began_s = watch.clock_s()
        passed = one_pass(len(reports) + 1, rng)
        took_s = max(watch.clock_s() - began_s, 1e-9)
        try:
            pnl = pnl_moments(evaluate(learner.policy()))
        except TrainingError as error:
            raise TrainingError(f"epoch {len(reports) + 1}: {error}") from error
        facts = (passed.loss, passed.accuracy, *pnl, passed.rows / took_s, *passed.more)
        report = told.kind(len(reports) + 1, schedule.epochs, *facts)
        if report.score > best:
            kept, best = report.epoch, report.score
            learner.keep()
        reports.append(report)
        if watch.checkpoint:
            standing = Standing(learner.state(), tuple(reports), kept, dict(rng.bit_generator.state))
            watch.checkpoint.save(standing)
        watch.progress(report)
    return tuple(reports), kept


def _resumed(
    learner: Kept, rng: np.random.Generator, checkpoint: Checkpoint | None
) -> tuple[list[Epoch], int]:
    """What was reported before, and the best of it; learner and generator stand where they stood."""
    standing = checkpoint.load() if checkpoint else None
    if standing is None:
        return [], 0
    learner.restore(standing.state)
    rng.bit_generator.state = standing.rng
    return list(standing.epochs), standing.kept


def _is_over(reports: Sequence[Epoch], kept: int, best: float, schedule: Schedule) -> bool:
    """After the last epoch, or where patience with a policy that earns has run out."""
    return len(reports) >= schedule.epochs or (best > 0 and len(reports) - kept >= schedule.patience)


def rate_at(config: TrainingConfig, epochs_done: float) -> float:
    """Linear warm-up, then half a cosine down to a tenth: post-norm attention diverges without the first."""
    warm = min(1.0, (epochs_done + 0.02) / WARM_UP_EPOCHS)
    cosine = 0.55 + 0.45 * math.cos(math.pi * epochs_done / config.epochs)
    return config.learning_rate * warm * cosine
