"""Behaviour cloning, whatever the framework: what a pass over the lessons is.

A learner holds the net and its optimizer; nothing here knows tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arms.artefact import Trained
from arms.episodes import Episode, Ticks, digest_of, joined, windows
from arms.epochs import Learner, Passed, Watch, epochs_of, passed_over
from arms.training import Epoch, Evaluate, Lessons, TrainingConfig, draw, lessons_of


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
    learner: Learner[Batch], material: Material, config: TrainingConfig, evaluate: Evaluate, watch: Watch
) -> tuple[tuple[Epoch, ...], int]:
    """Every epoch's facts, and which one the learner kept.

    Clones the best action in hindsight, weighted by what it earned; a hit is a row where that came out.
    `evaluate` plays markets that are not in the material; its net PnL decides which epoch is kept and when to
    stop.
    """

    def one_pass(number: int, rng: np.random.Generator) -> Passed:
        learner.start_epoch()
        drawn = draw(material.lessons.best, config.rows_per_epoch, rng)
        weight = drawn.weight / drawn.weight.mean()

        def batch_of(part: slice) -> Batch:
            return _batch(material, drawn.index[part], weight[part])

        return passed_over(learner, len(drawn.index), batch_of, config, number, watch.batch)

    return epochs_of(learner, one_pass, config, evaluate, watch)


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
