"""How often a policy chooses what its lessons say, and how well its probabilities know that. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arms.episodes import Episode, Ticks, joined, windows

Prober = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]
"""histories float32[n,k,F] front-padded with 0, lengths int64[n] -> probabilities float32[n,3]."""
BINS = 10
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over ticks that are worth judging. best: the action with the highest value there, costs paid.

    accuracy: share of ticks where the likeliest action is the best. balanced_accuracy: the mean of that share
    over the actions that are ever best, for hold nearly always is. calibration_error: the mean gap between
    the likeliest action's probability and how often it is best, over ten bins of equal width by their ticks
    (ECE; Guo, Pleiss, Sun, Weinberger, ICML 2017).
    """

    ticks: int
    accuracy: float
    balanced_accuracy: float
    calibration_error: float


def agreement(prober: Prober, episodes: Sequence[Episode], window: int) -> Agreement | None:
    """None where no tick is marked for use."""
    ticks = joined(episodes)
    if not len(ticks.usable):
        return None
    best = ticks.values[ticks.usable].argmax(axis=1)
    probs = _probs(prober, ticks, window)
    chosen = probs.argmax(axis=1)
    hits = chosen == best
    recalls = [hits[best == action].mean() for action in np.unique(best)]
    return Agreement(
        ticks=len(best),
        accuracy=float(hits.mean()),
        balanced_accuracy=float(np.mean(recalls)),
        calibration_error=calibration_error(probs.max(axis=1).astype(np.float64), hits),
    )


def calibration_error(confidence: NDArray[np.float64], hits: NDArray[np.bool_]) -> float:
    """Of probabilities in [0, 1] against what came true."""
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    said = np.bincount(bins, confidence, BINS)
    came = np.bincount(bins, hits.astype(np.float64), BINS)
    return float(np.abs(said - came).sum() / len(hits))


def _probs(prober: Prober, ticks: Ticks, window: int) -> NDArray[np.float32]:
    parts = [
        prober(*windows(ticks, ticks.usable[start : start + _BATCH], window))
        for start in range(0, len(ticks.usable), _BATCH)
    ]
    return np.concatenate(parts)
