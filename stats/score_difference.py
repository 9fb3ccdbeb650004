"""The score test of a difference of two win rates, with the variance that holds under the difference tested.

Miettinen and Nurminen 1985 (variance x N/(N-1)); Farrington and Manning 1990 and Mee 1984 (without). The
rates under p1 - p0 = d are the restricted maximum likelihood estimates, the root of a cubic. statsmodels'
cubic holds a wrong term for d != 0 (its issue 10269: count0 * d where nobs0 * d belongs).
"""

import math
from collections.abc import Callable

from stats.comparison import Comparison, check_alpha
from stats.errors import DesignError
from stats.root import crossing
from stats.special import normal_quantile, normal_sf
from stats.two_by_two import TwoByTwo, unreadable

_ROUNDING = 1e-15

Score = Callable[[TwoByTwo, float], float]


def mee_z(table: TwoByTwo, difference: float) -> float:
    """z of "p1 - p0 is `difference`"; at 0 the pooled z. Infinite where no variance is left to that
    difference.
    """
    gap = table.difference - difference
    rate_0 = _restricted(table, difference)
    rate_1 = min(1.0, max(0.0, rate_0 + difference))
    variance = rate_1 * (1.0 - rate_1) / table.trials_1 + rate_0 * (1.0 - rate_0) / table.trials_0
    if variance <= 0.0:
        return 0.0 if abs(gap) < _ROUNDING else math.copysign(math.inf, gap)
    return gap / math.sqrt(variance)


def miettinen_nurminen_z(table: TwoByTwo, difference: float) -> float:
    return mee_z(table, difference) * math.sqrt((table.units - 1) / table.units)


def miettinen_nurminen(table: TwoByTwo, alpha: float = 0.05, margin: float = 0.0) -> Comparison:
    """The interval of all differences that the score does not reject; statistic and p against -margin."""
    return _inverted(miettinen_nurminen_z, table, alpha, margin)


def mee(table: TwoByTwo, alpha: float = 0.05, margin: float = 0.0) -> Comparison:
    """As `miettinen_nurminen` without N/(N-1): Mee's interval, Farrington and Manning's z against -margin."""
    return _inverted(mee_z, table, alpha, margin)


def _inverted(score: Score, table: TwoByTwo, alpha: float, margin: float) -> Comparison:
    if not -1.0 < margin < 1.0:
        raise DesignError(f"margin is {margin!r}: a difference of two rates lies inside (-1, 1)")
    check_alpha(alpha)
    blocked = unreadable(table)
    if blocked is not None:
        return blocked
    z, enough = score(table, -margin), normal_quantile(1.0 - alpha / 2.0)
    gap = table.difference
    return Comparison(
        estimate=gap,
        statistic=z,
        p=min(1.0, 2.0 * normal_sf(abs(z))),
        low=min(gap, crossing(lambda d: score(table, d) - enough, -1.0, gap)),
        high=max(gap, crossing(lambda d: score(table, d) + enough, gap, 1.0)),
    )


def _restricted(table: TwoByTwo, difference: float) -> float:
    """The control's rate that makes the data likeliest while the treatment's is larger by `difference`.

    The closed root of the cubic (Farrington and Manning 1990, appendix), then two Newton steps for the digits
    that the arc cosine loses where roots meet.
    """
    wins, units = table.wins_1 + table.wins_0, table.units
    cubic = (
        float(units),
        (units + table.trials_0) * difference - units - wins,
        (table.trials_0 * difference - units - 2.0 * table.wins_0) * difference + wins,
        table.wins_0 * difference * (1.0 - difference),
    )
    lowest, highest = max(0.0, -difference), min(1.0, 1.0 - difference)
    if wins in (0, units):
        return lowest if wins == 0 else highest
    rate = min(max(_closed_root(cubic), lowest), highest)
    for _ in range(2):
        rate = min(max(_newton(cubic, rate), lowest), highest)
    return rate


def _closed_root(cubic: tuple[float, float, float, float]) -> float:
    third = cubic[1] / (3.0 * cubic[0])
    q = third**3 - third * cubic[2] / (2.0 * cubic[0]) + cubic[3] / (2.0 * cubic[0])
    p = math.copysign(math.sqrt(max(0.0, third**2 - cubic[2] / (3.0 * cubic[0]))), q)
    if p == 0.0:
        return -third
    angle = (math.pi + math.acos(min(1.0, max(-1.0, q / p**3)))) / 3.0
    return 2.0 * p * math.cos(angle) - third


def _newton(cubic: tuple[float, float, float, float], rate: float) -> float:
    value = ((cubic[0] * rate + cubic[1]) * rate + cubic[2]) * rate + cubic[3]
    slope = (3.0 * cubic[0] * rate + 2.0 * cubic[1]) * rate + cubic[2]
    return rate - value / slope if slope != 0.0 else rate
