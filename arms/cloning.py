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
from arms.checkpoint import Checkpoint, Standing, State
from arms.episodes import Episode, Ticks, digest_of, joined, windows
from arms.errors import TrainingError
from arms.training import Epoch, Evaluate, Lessons, Policy, TrainingConfig, draw, lessons_of, pnl_moments

Progress = Callable[[Epoch], None]
WARM_UP_EPOCHS = 0.5


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
    rng = np.random.default_rng(config.seed)
    reports, kept = _resumed(learner, rng, watch.checkpoint)
    watch.begun(tuple(reports))
    while not (_is_over(reports, kept, config) or (reports and watch.is_enough)):
        began_s = watch.clock_s()
        loss, accuracy, rows = _epoch(learner, material, config, len(reports) + 1, rng, watch.batch)
        took_s = max(watch.clock_s() - began_s, 1e-9)
        pnl, error = pnl_moments(evaluate(learner.policy()))
        report = Epoch(len(reports) + 1, config.epochs, loss, accuracy, pnl, error, rows / took_s)
        if not kept or report.score > reports[kept - 1].score:
            kept = report.epoch
            learner.keep()
        reports.append(report)
        if watch.checkpoint:
            standing = Standing(learner.state(), tuple(reports), kept, dict(rng.bit_generator.state))
            watch.checkpoint.save(standing)
        watch.progress(report)
    return tuple(reports), kept


def _resumed(
    learner: Learner, rng: np.random.Generator, checkpoint: Checkpoint | None
) -> tuple[list[Epoch], int]:
    """What was reported before, and the best of it; learner and generator stand where they stood."""
    standing = checkpoint.load() if checkpoint else None
    if standing is None:
        return [], 0
    learner.restore(standing.state)
    rng.bit_generator.state = standing.rng
    return list(standing.epochs), standing.kept


def _is_over(reports: Sequence[Epoch], kept: int, config: TrainingConfig) -> bool:
    """After the last epoch, or where patience with a policy that earns has run out."""
    if len(reports) >= config.epochs:
        return True
    return bool(reports) and reports[kept - 1].score > 0 and len(reports) - kept >= config.patience


def _epoch(
    learner: Learner,
    material: Material,
    config: TrainingConfig,
    number: int,
    rng: np.random.Generator,
    told: Callable[[float], None],
) -> tuple[float, float, int]:
    """Mean loss, accuracy and number of rows of one pass."""
    learner.start_epoch()
    drawn = draw(material.lessons.best, config.rows_per_epoch, rng)
    weight = drawn.weight / drawn.weight.mean()
    size, rows = config.batch_size, len(drawn.index)
    losses, hits = 0.0, 0
    for start in range(0, rows, size):
        index = drawn.index[start : start + size]
        rate = _rate(config, number - 1 + start / rows)
        loss, hit = learner.step(_batch(material, index, weight[start : start + size]), rate)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of epoch {number}, batch {start // size + 1} is {loss}: lower the learning rate "
                f"({config.learning_rate:g}) or look for outliers in the values of these markets"
            )
        losses += loss * len(index)
        hits += hit
        told(min(1.0, (start + size) / rows))
    return losses / rows, hits / rows, rows


def _batch(material: Material, index: NDArray[np.int64], weight: NDArray[np.float32]) -> Batch:
    lessons = material.lessons
    history, length = windows(material.ticks, lessons.rows[index], material.window)
    return Batch(history, length, lessons.gains[index], lessons.values[index], weight, lessons.best[index])


def _rate(config: TrainingConfig, epochs_done: float) -> float:
    """Linear warm-up, then half a cosine down to a tenth: post-norm attention diverges without the first."""
    warm = min(1.0, (epochs_done + 0.02) / WARM_UP_EPOCHS)
    cosine = 0.55 + 0.45 * math.cos(math.pi * epochs_done / config.epochs)
    return config.learning_rate * warm * cosine


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
