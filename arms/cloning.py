"""Behaviour cloning, whatever the framework: epochs, rate, judging by net PnL, the best epoch kept.

A `Learner` holds the net and its optimizer; nothing here knows tensors.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arms.artefact import Trained
from arms.checkpoint import State
from arms.episodes import Episode, Ticks, digest_of, joined, windows
from arms.epochs import Passed, Progress, Watch, epochs_of, rate_at
from arms.errors import TrainingError
from arms.training import Epoch, Evaluate, Lessons, Policy, TrainingConfig, draw, lessons_of


@dataclass(frozen=True, slots=True)
class Batch:
    """history: float32[n,window,F]; length: int64[n]; gains, values: float32[n,3]; weight: float32[n]; best:
    int64[n]."""

    history: NDArray[np.float32]
    length: NDArray[np.int64]
    gains: NDArray[np.float32]
    values: NDArray[np.float32]
    weight: NDArray[np.float32]
    best: NDArray[np.int64]


class Learner(Protocol):
    """A net that learns. The running mean of its weights is what plays and what is kept."""

    def start_epoch(self) -> None:
        """Turns to learning, dropout included."""
        ...

    def step(self, batch: Batch, rate: float) -> tuple[float, int]:
        """One step of the optimizer at a learning rate: (mean loss, rows where the best action came out)."""
        ...

    def policy(self) -> Policy:
        """The greedy policy of the mean weights."""
        ...

    def keep(self) -> None:
        """Remembers the mean weights as the best so far."""
        ...

    def state(self) -> State:
        """All that it needs to go on, its framework's generator included."""
        ...

    def restore(self, state: State) -> None:
        """Goes on from there, to the bit."""
        ...


@dataclass(frozen=True, slots=True)
class Material:
    """What is learned from."""

    ticks: Ticks
    lessons: Lessons
    window: int


def material_of(episodes: Sequence[Episode], window: int) -> Material:
    """Whole markets as lessons. Raises EpisodeError where they teach nothing."""
    ticks = joined(episodes)
    return Material(ticks, lessons_of(ticks), window)


def clone(
    learner: Learner,
    material: Material,
    config: TrainingConfig,
    evaluate: Evaluate,
    progress: Progress = lambda epoch: None,
    clock_s: Callable[[], float] = time.perf_counter,
) -> tuple[tuple[Epoch, ...], int]:
    """`cloned` with nothing kept on the way."""
    return cloned(learner, material, config, evaluate, Watch(progress, clock_s))


def cloned(
    learner: Learner, material: Material, config: TrainingConfig, evaluate: Evaluate, watch: Watch
) -> tuple[tuple[Epoch, ...], int]:
    """Every epoch's facts, and which one the learner kept.

    Clones the best action in hindsight, weighted by what it earned. `evaluate` plays markets that are not in
    the material; its net PnL decides which epoch is kept and when to stop. Where the watch has a checkpoint
    it goes on from there, and gives the same to the bit as one that was never interrupted.
    """

    def one_pass(number: int, rng: np.random.Generator) -> Passed:
        return _epoch(learner, material, config, (number, rng), watch.batch)

    return epochs_of(learner, one_pass, config, evaluate, watch)


def _epoch(
    learner: Learner,
    material: Material,
    config: TrainingConfig,
    turn: tuple[int, np.random.Generator],
    told: Callable[[float], None],
) -> Passed:
    """turn: the epoch's number, and what draws its lessons."""
    number, rng = turn
    learner.start_epoch()
    drawn = draw(material.lessons.best, config.rows_per_epoch, rng)
    weight = drawn.weight / drawn.weight.mean()
    size, rows = config.batch_size, len(drawn.index)
    losses, hits = 0.0, 0
    for start in range(0, rows, size):
        index = drawn.index[start : start + size]
        rate = rate_at(config, number - 1 + start / rows)
        loss, hit = learner.step(_batch(material, index, weight[start : start + size]), rate)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of epoch {number}, batch {start // size + 1} is {loss}: lower the learning rate "
                f"({config.learning_rate:g}) or look for outliers in the values of these markets"
            )
        losses += loss * len(index)
        hits += hit
        told(min(1.0, (start + size) / rows))
    return Passed(losses / rows, hits / rows, rows)


def _batch(material: Material, index: NDArray[np.int64], weight: NDArray[np.float32]) -> Batch:
    lessons = material.lessons
    history, length = windows(material.ticks, lessons.rows[index], material.window)
    return Batch(history, length, lessons.gains[index], lessons.values[index], weight, lessons.best[index])


def trained_of(episodes: Sequence[Episode], config: TrainingConfig, report: Epoch) -> Trained:
    """What the artefact says of its making; report: of the epoch that was kept."""
    metrics = {"loss": report.loss, "accuracy": report.accuracy, "pnl_per_market_usd": report.pnl_usd}
    return Trained(
        data_digest=digest_of(episodes),
        seed=config.seed,
        epochs=report.epoch,
        metrics={name: round(value, 6) for name, value in metrics.items()},
        origin="behaviour cloning",
    )


def seen_by(
    histories: NDArray[np.float32], lengths: NDArray[np.int64], window: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Histories of any length >= 1 as a net of this window reads them."""
    seen = np.zeros((len(histories), window, histories.shape[2]), dtype=np.float32)
    reach = min(window, histories.shape[1])
    seen[:, window - reach :] = histories[:, histories.shape[1] - reach :]
    return seen, np.minimum(lengths, window).astype(np.int64)
