"""Intervals for one arm, one row per unit, read once (not valid under peeking: they describe, they never
decide).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.special import normal_quantile, student_t_quantile


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


def wilson(wins: int, trials: int, alpha: float = 0.05) -> Interval | None:
    """Wilson 1927 score interval of a share; finite at 0 and at all wins; None without trials."""
    if trials == 0:
        return None
    z2 = normal_quantile(1.0 - alpha / 2.0) ** 2
    share = wins / trials
    middle = (share + z2 / (2.0 * trials)) / (1.0 + z2 / trials)
    half = math.sqrt(z2 * (share * (1.0 - share) + z2 / (4.0 * trials)) / trials) / (1.0 + z2 / trials)
    low = 0.0 if wins == 0 else max(0.0, middle - half)
    return Interval(low, 1.0 if wins == trials else min(1.0, middle + half))


def t_interval(mean: float, deviations: npt.NDArray[np.float64], alpha: float = 0.05) -> Interval | None:
    """Student's t around `mean`. deviations = values - mean, taken before in exact arithmetic; None for n <
    2.
    """
    count = len(deviations)
    if count < 2:
        return None
    rest = float(deviations.mean())
    variance = float(np.sum((deviations - rest) ** 2)) / (count - 1)
    half = student_t_quantile(1.0 - alpha / 2.0, count - 1) * math.sqrt(variance / count)
    return Interval(mean - half, mean + half)
