"""Fixed-sample two-sample tests, valid for one look at independent rows. They never move traffic."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.interval import Interval
from stats.special import normal_sf, student_t_quantile, student_t_sf


@dataclass(frozen=True, slots=True)
class ZTest:
    z: float
    p: float


def pooled_z(wins_1: int, trials_1: int, wins_0: int, trials_0: int) -> ZTest | None:
    """Two-proportion z with the pooled variance, two-sided; None when an arm is empty.

    All or no wins in both arms is 0/0: z = 0, p = 1, as the exact tests say.
    """
    if trials_1 == 0 or trials_0 == 0:
        return None
    pooled = (wins_1 + wins_0) / (trials_1 + trials_0)
    if pooled in (0.0, 1.0):
        return ZTest(0.0, 1.0)
    error = math.sqrt(pooled * (1.0 - pooled) * (1.0 / trials_1 + 1.0 / trials_0))
    z = (wins_1 / trials_1 - wins_0 / trials_0) / error
    return ZTest(z, min(1.0, 2.0 * normal_sf(abs(z))))


@dataclass(frozen=True, slots=True)
class Welch:
    difference: float
    t: float
    df: float
    p: float
    interval: Interval


def welch(
    treatment: npt.NDArray[np.float64], control: npt.NDArray[np.float64], alpha: float = 0.05
) -> Welch | None:
    """Unequal-variance t test of mean(treatment) - mean(control); None below 2 rows or without any variance.

    Two passes around each arm's mean: an offset of 1e9 costs no digits (a sum of squares would lose all).
    """
    if len(treatment) < 2 or len(control) < 2:
        return None
    share_1, share_0 = _mean_variance(treatment), _mean_variance(control)
    variance = share_1 + share_0
    if variance == 0.0:
        return None
    difference = float(treatment.mean() - control.mean())
    df = variance**2 / (share_1**2 / (len(treatment) - 1) + share_0**2 / (len(control) - 1))
    t = difference / math.sqrt(variance)
    half = student_t_quantile(1.0 - alpha / 2.0, df) * math.sqrt(variance)
    p = min(1.0, 2.0 * student_t_sf(abs(t), df))
    return Welch(difference, t, df, p, Interval(difference - half, difference + half))


def _mean_variance(values: npt.NDArray[np.float64]) -> float:
    """Variance of the mean."""
    return float(np.sum((values - values.mean()) ** 2)) / ((len(values) - 1) * len(values))
