"""About how many more units it would take: rough figures for planning, and none at all when nothing is
known.
"""

import math

from stats import boundary
from stats.scale import plan_information, rate_variance, rho_of
from stats.sequence import MIN_EFFECTIVE_UNITS
from stats.special import normal_quantile

POWER = 0.8
MOST_TIMES_MORE = 10_000.0
_DOUBLINGS = 60


def units_needed(
    effect: float, units: int, information: float, variance: float, rho: float, alpha: float
) -> int | None:
    """More units until the interval leaves 0 in 80% of runs, if the true difference is `effect`.

    units, information, variance: what has been seen (V of the boundary), on the scale of `effect`; more of
    the same split is assumed. Counts the last look only, so it errs upwards. None when the effect
    is 0, the variance unknown, or more than 10,000 times the units seen would be needed.
    """
    if effect == 0.0 or units == 0 or information <= 0.0 or variance <= 0.0:
        return None
    low, high = 1.0 / units, MOST_TIMES_MORE
    if not _enough(high, abs(effect), information, variance, rho, alpha):
        return None
    for _ in range(_DOUBLINGS):
        middle = math.sqrt(low * high)
        if _enough(middle, abs(effect), information, variance, rho, alpha):
            high = middle
        else:
            low = middle
    return max(0, math.ceil(units * (high - 1.0)))


def _enough(
    times: float, effect: float, information: float, variance: float, rho: float, alpha: float
) -> bool:
    spread = times * variance
    luck = normal_quantile(POWER) * math.sqrt(spread)
    return boundary.radius(spread, rho, alpha) + luck <= effect * times * information


def units_until_ready(
    effective: float, units: int, share: float, target: float = MIN_EFFECTIVE_UNITS
) -> int | None:
    """More units of the pair until the arm has `target` effective ones, by its pace or, without any, by its
    share.

    None where the share is 0, or where the arm should have had 20 by now and has none (it does not trade).
    """
    if effective == 0.0 and units * share >= MIN_EFFECTIVE_UNITS:
        return None
    if effective > 0.0:
        return max(0, math.ceil(units * (target - effective) / effective))
    return math.ceil(MIN_EFFECTIVE_UNITS / share) if share > 0.0 else None


def units_for_rate(effect: float, share: float, plan_units: int, alpha: float) -> int | None:
    """Units of the pair in all to show a difference of `effect` in a rate at treatment share `share`, from
    nothing seen.

    Uses the widest variance a rate can have, 1/4; None at a share of 0 or 1.
    """
    information = share * (1.0 - share)
    if information <= 0.0:
        return None
    count = round(plan_information(plan_units) / information)
    rho = rho_of(rate_variance(), plan_units, alpha)
    more = units_needed(effect, count, information * count, rate_variance() * information * count, rho, alpha)
    if more is None or more > 0:
        return None if more is None else count + more
    return count - _spare(effect, count, information, rho, alpha)


def _spare(effect: float, count: int, information: float, rho: float, alpha: float) -> int:
    low, high = 1, count
    while low < high:
        middle = (low + high) // 2
        seen = information * middle
        if _enough(1.0, abs(effect), seen, rate_variance() * seen, rho, alpha):
            high = middle
        else:
            low = middle + 1
    return count - high
