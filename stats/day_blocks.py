"""The effect with whole days as its clusters: would it stand if every day were one observation?

Units of one day share a market. The bound that moves traffic allows for that by its design (the coin), not by
its variance; this one asks the days themselves, at one look, and so reads as a second opinion. Weights and
centre are those of `stats.sequence`. A day's score is what its units add to r1 - r0, their ratios' own errors
to the first order (delta method); the variance is D/(D - 1) times the sum of squared day scores, with t on
D - 1 (CR1: Liang and Zeger 1986, with the usual factor for few clusters).
"""

import math

import numpy as np
import numpy.typing as npt

from stats.centre import DECAY_PER_DAY, PRIOR_UNITS, daily_centre
from stats.comparison import check_alpha
from stats.moments import group_sums
from stats.scores import Scores
from stats.special import student_t_quantile

FEWEST_DAYS = 5


def day_block_low(scores: Scores, prior: float, alpha: float) -> float | None:
    """Lower bound of treatment minus control at one look, one-sided 1 - alpha, in the unit of the scores.

    prior: centre before the first day, unshifted. None where fewer than 5 days have units of the pair whose
    coin could have fallen either way, or an arm has none.
    """
    check_alpha(alpha)
    by_day, estimate = _day_scores(scores, prior - scores.reference)
    days = len(by_day)
    if days < FEWEST_DAYS or estimate is None:
        return None
    error = math.sqrt(days / (days - 1) * float(np.sum(by_day**2)))
    return estimate - student_t_quantile(1.0 - alpha, days - 1) * error


def day_places(day: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Of each unit the place of its day among the days that have units: 0, 1, ... without a sort."""
    if len(day) == 0:
        return day
    since_first = day - day.min()
    places = np.cumsum(np.bincount(since_first) > 0, dtype=np.int64) - 1
    found: npt.NDArray[np.int64] = np.take(places, since_first)
    return found


def _day_scores(scores: Scores, prior: float) -> tuple[npt.NDArray[np.float64], float | None]:
    """What each day adds, and the effect; nothing where an arm is missing."""
    day = day_places(scores.day)
    days = int(day.max()) + 1 if len(day) else 0
    sums, trials = group_sums(day, scores.sums, days), group_sums(day, scores.trials, days)
    centres = daily_centre(sums, trials, prior, PRIOR_UNITS, DECAY_PER_DAY)
    kept = scores.judged
    at, e, treated = day[kept], scores.e[kept], scores.treated[kept]
    own = scores.trials[kept]
    centred = scores.sums[kept] - centres[at] * own
    weight = np.where(treated, 1.0 - e, e)
    sides = treated.astype(np.float64), (~treated).astype(np.float64)
    wholes = [float(np.sum(weight * own * side)) for side in sides]
    if min(wholes, default=0.0) <= 0.0:
        return np.zeros(0), None
    ratios = [
        float(np.sum(weight * centred * side)) / whole for side, whole in zip(sides, wholes, strict=True)
    ]
    ratio = np.where(treated, ratios[0], ratios[1])
    sign = np.where(treated, 1.0 / wholes[0], -1.0 / wholes[1])
    added = group_sums(at, sign * weight * (centred - ratio * own), days)
    there = np.bincount(at, minlength=days) > 0
    return added[there], ratios[0] - ratios[1]
