"""Models on whole markets that they never saw: who is examined, on what, and what came of it."""

import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arms.artefact import Artefact, artefact_within, markets_in, names_in, read_artefact
from arms.protocol import Arm, loader_of
from arms.schema import MARKET_V1
from cli.failures import Refused
from cli.settings import Settings
from market.agreement import Prober
from market.evaluation import Policy, play
from market.labels import MARKET_EXIT, ExitRule
from market.oracles import hold, mean_reversion, momentum, random_policy
from market.session import MarketResult
from market.tape import Tape

BASELINES: dict[str, Callable[[], Policy]] = {
    "hold": lambda: hold,
    "random": lambda: random_policy(0),
    "momentum": lambda: momentum,
    "mean reversion": lambda: mean_reversion,
}
DAY_US = 86_400_000_000
LATENCY_RUNS = 300


@dataclass(frozen=True, slots=True)
class Exam:
    """Whole markets to be played. exit_rule: what the labels close positions by."""

    name: str
    tapes: tuple[Tape, ...]
    exit_rule: ExitRule


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that is examined. name: as the user wrote it."""

    name: str
    artefact: Artefact
    arm: Arm

    @property
    def policy(self) -> Policy:
        """The likeliest action."""
        return lambda histories, lengths: self.prober(histories, lengths).argmax(axis=1)

    @property
    def prober(self) -> Prober:
        return lambda histories, lengths: self.arm.act(histories, lengths).probs

    def played(self, exam: Exam) -> tuple[MarketResult, ...]:
        """One result a market."""
        return play(self.policy, exam.tapes, self.arm.window)


def recorded_exam(folder: Path, days: int | None) -> Exam:
    """The playable markets of a recording; days: of its last so many alone."""
    from market.recording import read_tapes

    tapes = list(read_tapes(folder))
    if not tapes:
        raise Refused(f"{folder} holds no playable market: `abctl data info {folder}` says why")
    since_us = 0 if days is None else max(tape.end_us for tape in tapes) - days * DAY_US
    return Exam(folder.name, tuple(tape for tape in tapes if tape.end_us > since_us), MARKET_EXIT)


def simulated_exam(world: str, markets: int, seed: int) -> Exam:
    """Markets of a simulated world, from a seed of one's own."""
    from cli.lab import WORLDS

    if world not in WORLDS:
        raise Refused(f"--world must be one of {', '.join(WORLDS)}, not {world!r}")
    first = seed * 10_000_000
    room = WORLDS[world]
    return Exam(world, tuple(room.tape(first + i) for i in range(markets)), room.exit_rule)


@contextmanager
def candidate(model: str, settings: Settings) -> Generator[Candidate]:
    """A model by its folder, or by the beginning of its id in the registry."""
    folder = Path(model)
    if model and folder.is_dir():
        yield _loaded(model, artefact_within(folder))
        return
    from cli.database import existing
    from store import models

    with existing(settings) as engine, tempfile.TemporaryDirectory() as place:
        with engine.connect() as connection:
            found = models.find(connection, model)
        yield _loaded(model, models.materialise(engine, found.id, Path(place)))


def _loaded(name: str, folder: Path) -> Candidate:
    artefact = read_artefact(folder)
    return Candidate(name, artefact, loader_of(artefact.kind)(artefact, MARKET_V1))


def check_unseen(who: Candidate, exam: Exam) -> str | None:
    """Refuses markets that the model was made from; the doubt where it does not say which these were."""
    known, names = markets_in(who.artefact.trained), names_in(who.artefact.trained)
    if not known:
        return f"model {who.name} does not say which markets it was made from: make sure that none is here"
    seen = [tape.market for tape in exam.tapes if tape.digest in known or tape.name_digest in names]
    if seen:
        count = f"{len(seen)} of the {len(exam.tapes)} markets"
        raise Refused(f"{count} were in the training of model {who.name}, {seen[0]} first: give others")
    return None


def latency_ms(who: Candidate) -> NDArray[np.float64]:
    """Milliseconds of single decisions, one after the other, on this machine; of the golden histories."""
    histories = np.array(who.artefact.golden.history, dtype=np.float32)
    lengths = np.array(who.artefact.golden.length, dtype=np.int64)
    took = np.empty(LATENCY_RUNS)
    for run in range(LATENCY_RUNS):
        at = run % len(histories)
        began_s = time.perf_counter()
        who.arm.act(histories[at : at + 1], lengths[at : at + 1])
        took[run] = time.perf_counter() - began_s
    return took[LATENCY_RUNS // 10 :] * 1e3


def baselines(exam: Exam) -> dict[str, tuple[MarketResult, ...]]:
    """What needs no learning, on the same markets."""
    return {name: play(made(), exam.tapes, 1) for name, made in BASELINES.items()}


def shape_of_exam(exam: Exam) -> dict[str, Any]:
    """Which markets, and of how many days."""
    ends = [tape.end_us for tape in exam.tapes]
    return {
        "name": exam.name,
        "markets": len(exam.tapes),
        "windows": len(set(ends)),
        "days": len({end // DAY_US for end in ends}),
        "first_end_us": min(ends),
        "last_end_us": max(ends),
    }


def lessons_of(exam: Exam) -> Sequence[Any]:
    """Episodes with what each action was worth, for what models agree with."""
    from market.labels import labelled

    return labelled(exam.tapes, exam.exit_rule, 0)
