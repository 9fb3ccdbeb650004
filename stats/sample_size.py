"""Units for a fixed test of two arms, one planned look; what it can see; both ways.

`Plan.ratio` = n0 / n1: 9 at a 10% share of the treatment. Counts of units come unrounded: round them up.
Clustered decisions: times `design_effect`. The test that may be looked at any time needs more: `needed`.
"""

import math
from dataclasses import dataclass

from stats.comparison import check_alpha
from stats.errors import DesignError
from stats.root import crossing
from stats.special import noncentral_t_cdf, normal_quantile, normal_sf, student_t_quantile

MOST_UNITS = 1e12


@dataclass(frozen=True, slots=True)
class Plan:
    """alpha: two-sided. power: chance to reject when the difference is there."""

    alpha: float = 0.05
    power: float = 0.8
    ratio: float = 1.0

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if not self.alpha < self.power < 1.0:
            raise DesignError(f"power is {self.power!r}: choose one between alpha and 1, say 0.8")
        if not 0.0 < self.ratio < math.inf:
            raise DesignError(f"ratio is {self.ratio!r}: give n0/n1, above 0, say 9 for a 10% share")

    @property
    def critical(self) -> float:
        return normal_quantile(1.0 - self.alpha / 2.0)

    @property
    def reach(self) -> float:
        """How many standard errors the true difference must measure."""
        return self.critical + normal_quantile(self.power)


def units_for_rates(rate_1: float, rate_0: float, plan: Plan) -> float | None:
    """Treatment units to tell two win rates apart, each with its own variance; None for equal rates."""
    gap = _gap(rate_1, rate_0)
    return plan.reach**2 * _unit_variance(rate_1, rate_0, plan.ratio) / gap**2 if gap else None


def units_for_rates_pooled(rate_1: float, rate_0: float, plan: Plan) -> float | None:
    """The same for the pooled z, whose variance under no difference is the mixture's (Fleiss 1981)."""
    gap = _gap(rate_1, rate_0)
    if not gap:
        return None
    spread = math.sqrt(_unit_variance(rate_1, rate_0, plan.ratio))
    under_none = math.sqrt(_pooled_variance(rate_1, rate_0, plan.ratio))
    return ((plan.critical * under_none + normal_quantile(plan.power) * spread) / gap) ** 2


def units_for_rates_arcsine(rate_1: float, rate_0: float, plan: Plan) -> float | None:
    """By Cohen's h, on which every rate has the same variance (Cohen 1988)."""
    gap = _arcsine(rate_1, rate_0)
    return units_for_means(gap, 1.0, plan)


def power_for_rates(units_1: float, rate_1: float, rate_0: float, plan: Plan) -> float:
    """Chance that the pooled z of `units_1` treatment units rejects; `plan.power` plays no part."""
    gap = _gap(rate_1, rate_0)
    spread = math.sqrt(_unit_variance(rate_1, rate_0, plan.ratio) / _some(units_1))
    edge = plan.critical * math.sqrt(_pooled_variance(rate_1, rate_0, plan.ratio) / units_1)
    if spread == 0.0:
        return 1.0 if abs(gap) > edge else 0.0
    return normal_sf((edge - gap) / spread) + normal_sf((edge + gap) / spread)


def power_for_rates_arcsine(units_1: float, rate_1: float, rate_0: float, plan: Plan) -> float:
    shift = _arcsine(rate_1, rate_0) * math.sqrt(_some(units_1) / (1.0 + 1.0 / plan.ratio))
    return normal_sf(plan.critical - shift) + normal_sf(plan.critical + shift)


def difference_for_rates(units_1: float, rate_0: float, plan: Plan) -> float | None:
    """Smallest rise above `rate_0` that `units_1` treatment units show; None when even a rise to 1 is too
    small.
    """
    _gap(rate_0, rate_0)
    _some(units_1)

    def spare(gap: float) -> float:
        return gap - plan.reach * math.sqrt(_unit_variance(rate_0 + gap, rate_0, plan.ratio) / units_1)

    most = 1.0 - rate_0
    return crossing(spare, 0.0, most) if spare(most) > 0.0 else None


def units_for_means(gap: float, sd: float, plan: Plan) -> float | None:
    """Treatment units for a difference of means, both arms with this standard deviation; None for no
    difference.
    """
    if not 0.0 < sd < math.inf:
        raise DesignError(f"sd is {sd!r}: give a unit's standard deviation, above 0")
    if gap == 0.0:
        return None
    return (1.0 + 1.0 / plan.ratio) * (plan.reach * sd / gap) ** 2


def units_for_means_t(gap: float, sd: float, plan: Plan) -> float | None:
    """The same for Student's t, by the noncentral t: a unit or two more an arm; None beyond 10^12."""
    rough = units_for_means(gap, sd, plan)
    if rough is None or rough > MOST_UNITS:
        return None

    def short(units_1: float) -> float:
        return plan.power - _power_t(units_1, abs(gap) / sd, plan)

    least = max(1.01, 2.02 / (1.0 + plan.ratio))
    return crossing(short, least, 2.0 * rough + 20.0)


def difference_for_means(units_1: float, sd: float, plan: Plan) -> float:
    """Smallest difference of means that `units_1` treatment units show."""
    return plan.reach * sd * math.sqrt((1.0 + 1.0 / plan.ratio) / _some(units_1))


def _power_t(units_1: float, gap: float, plan: Plan) -> float:
    df = units_1 * (1.0 + plan.ratio) - 2.0
    shift = gap * math.sqrt(units_1 / (1.0 + 1.0 / plan.ratio))
    edge = student_t_quantile(1.0 - plan.alpha / 2.0, df)
    return 1.0 - noncentral_t_cdf(edge, df, shift) + noncentral_t_cdf(-edge, df, shift)


def _unit_variance(rate_1: float, rate_0: float, ratio: float) -> float:
    """Variance of the difference times n1."""
    return rate_1 * (1.0 - rate_1) + rate_0 * (1.0 - rate_0) / ratio


def _pooled_variance(rate_1: float, rate_0: float, ratio: float) -> float:
    pooled = (rate_1 + ratio * rate_0) / (1.0 + ratio)
    return pooled * (1.0 - pooled) * (1.0 + 1.0 / ratio)


def _arcsine(rate_1: float, rate_0: float) -> float:
    _gap(rate_1, rate_0)
    return 2.0 * (math.asin(math.sqrt(rate_1)) - math.asin(math.sqrt(rate_0)))


def _gap(rate_1: float, rate_0: float) -> float:
    if not (0.0 <= rate_1 <= 1.0 and 0.0 <= rate_0 <= 1.0):
        raise DesignError(f"rates are {rate_1!r} and {rate_0!r}: a win rate lies in [0, 1]")
    return rate_1 - rate_0


def _some(units_1: float) -> float:
    if not 0.0 < units_1 < math.inf:
        raise DesignError(f"units_1 is {units_1!r}: give the treatment's units, above 0")
    return units_1
