"""The comparison as it stood at the end of each day: overlap weights, predictable centre, one row per unit.

Weights a = 1 - e for the treated and e for the control (overlap weights: Li, Morgan, Zaslavsky, JASA 2018).
If the treatment changes nothing, the score (A - e)(S - mN) has mean 0 given everything but the unit's own
coin, whatever the drift of the market, the dependence between units or the changes of the split; a split of
0 or 1 drops out by itself.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from stats import boundary
from stats.centre import daily_centre
from stats.moments import Moments, group_sums, grouped_moments, merge
from stats.scores import Scores
from stats.skewness import UNITS_PER_SQUARE, running_third

MIN_EFFECTIVE_UNITS = 20.0


@dataclass(frozen=True, slots=True)
class Look:
    """All evidence up to one moment. information = sum e(1-e)N; centre_sum = sum e(1-e)N m; third: third
    central moment of a unit, both arms pooled (see `skewness`).
    """

    treatment: Moments
    control: Moments
    information: float
    centre_sum: float
    third: float

    @property
    def has_both(self) -> bool:
        return self.treatment.weight > 0.0 and self.control.weight > 0.0

    @property
    def ready(self) -> bool:
        """The bound is asymptotic in units: it is withheld below 20 effective units in either arm."""
        return self.smaller >= MIN_EFFECTIVE_UNITS

    @property
    def smaller(self) -> float:
        """Effective units of the smaller arm."""
        return min(self.treatment.effective_units, self.control.effective_units)

    @property
    def near_normal(self) -> bool:
        """n >= 5 G^2 in the smaller arm; see stats.skewness."""
        return math.sqrt(UNITS_PER_SQUARE) * abs(self.third) <= self.error**3 * self.smaller**2

    @property
    def skewness(self) -> float:
        """G: of one unit, on the scale that the standard error has now; needs an error above 0."""
        return abs(self.third) / (self.error * math.sqrt(self.smaller)) ** 3

    @property
    def needed(self) -> float:
        """Effective units that each arm needs before money is judged."""
        return max(MIN_EFFECTIVE_UNITS, UNITS_PER_SQUARE * self.skewness**2)

    @property
    def effect(self) -> float:
        return self.treatment.ratio - self.control.ratio

    @property
    def error(self) -> float:
        """Standard error of the effect."""
        return math.sqrt(self.treatment.ratio_variance + self.control.ratio_variance)

    @property
    def error_df(self) -> float:
        """Degrees of freedom of `error`: (v1 + v0)^2 / (v1^2/(K1-1) + v0^2/(K0-1)), K the effective units of
        an arm (Welch 1947; Satterthwaite 1946); of a look that is ready.
        """
        arms = self.treatment, self.control
        spent = sum(arm.ratio_variance**2 / (arm.effective_units - 1.0) for arm in arms)
        return self.error**4 / spent

    @property
    def total(self) -> float:
        """S of the boundary: effect x information."""
        return self.effect * self.information

    @property
    def variance(self) -> float:
        """V of the boundary, on the scale of `total`."""
        return (self.error * self.information) ** 2

    @property
    def centre(self) -> float:
        """Mean centre under the overlap weights: added to both ratios it gives rates that differ by the
        effect.
        """
        return self.centre_sum / self.information

    def half_width(self, rho: float, alpha: float) -> float:
        return boundary.radius(self.variance, rho, alpha) / self.information

    def half_width_one_sided(self, rho: float, alpha: float) -> float:
        return boundary.radius_one_sided(self.variance, rho, alpha) / self.information

    def log_e(self, rho: float) -> float:
        return boundary.log_e(self.total, self.variance, rho)


def looks(scores: Scores, prior: float, prior_units: float, decay: float) -> list[Look]:
    """One look per day with units, each over everything up to that day's end; the last one is now.

    prior: centre before the first day, in the shifted units of `scores`. Empty without units.
    """
    if len(scores.day) == 0:
        return []
    day = np.cumsum(np.diff(scores.day, prepend=scores.day[:1]) != 0, dtype=np.int64)
    days = int(day[-1]) + 1
    sums, trials = group_sums(day, scores.sums, days), group_sums(day, scores.trials, days)
    return list(_running(scores, day, daily_centre(sums, trials, prior, prior_units, decay)))


def _running(scores: Scores, day: npt.NDArray[np.int64], centres: npt.NDArray[np.float64]) -> Iterator[Look]:
    days, judged = len(centres), scores.judged
    kept, at = (scores, day) if bool(judged.all()) else (scores.take(judged), day[judged])
    e, treated, trials = kept.e, kept.treated, kept.trials
    centred = kept.sums - centres[at] * trials
    weight = np.where(treated, 1.0 - e, e)
    per_arm = grouped_moments(2 * at + treated, 2 * days, weight, trials, centred)
    shares = group_sums(at, e * (1.0 - e) * trials, days)
    yield from map(
        Look,
        accumulate(per_arm[1::2], merge),
        accumulate(per_arm[0::2], merge),
        np.cumsum(shares).tolist(),
        np.cumsum(shares * centres).tolist(),
        running_third(at, days, treated, kept.sums).tolist(),
    )
