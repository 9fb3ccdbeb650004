"""Intervals for one arm, one row per unit, read once (not valid under peeking: they describe, they never
decide).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.special import beta_quantile, normal_quantile, student_t_quantile


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


def wilson_corrected(wins: int, trials: int, alpha: float = 0.05) -> Interval | None:
    """`wilson` with a continuity correction (Newcombe 1998): nearly as wide as the exact one."""
    if trials == 0:
        return None
    z2 = normal_quantile(1.0 - alpha / 2.0) ** 2
    low = 0.0 if wins == 0 else max(0.0, _corrected_edge(wins, trials, z2))
    return Interval(
        low, 1.0 if wins == trials else min(1.0, 1.0 - _corrected_edge(trials - wins, trials, z2))
    )


def _corrected_edge(wins: int, trials: int, z2: float) -> float:
    share = wins / trials
    under_root = z2 - 2.0 - 1.0 / trials + 4.0 * share * (trials * (1.0 - share) + 1.0)
    return (2.0 * wins + z2 - 1.0 - math.sqrt(z2 * max(0.0, under_root))) / (2.0 * (trials + z2))


def clopper_pearson(wins: int, trials: int, alpha: float = 0.05) -> Interval | None:
    """Clopper and Pearson 1934: exact, so wider than it must be; None without trials."""
    if trials == 0:
        return None
    low = beta_quantile(alpha / 2.0, wins, trials - wins + 1) if wins > 0 else 0.0
    high = beta_quantile(1.0 - alpha / 2.0, wins + 1, trials - wins) if wins < trials else 1.0
    return Interval(low, high)


def agresti_coull(wins: int, trials: int, alpha: float = 0.05) -> Interval | None:
    """Wald's around Wilson's middle (Agresti and Coull 1998), cut at 0 and 1; None without trials."""
    if trials == 0:
        return None
    z = normal_quantile(1.0 - alpha / 2.0)
    count = trials + z**2
    middle = (wins + z**2 / 2.0) / count
    half = z * math.sqrt(middle * (1.0 - middle) / count)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


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
