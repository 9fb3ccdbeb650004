"""Not worse by more than a margin, and equal within one. One look; `margin` is fixed before the data.

Promotion uses the bound that holds at any time instead: better than -margin when it lies above -margin.
"""

from dataclasses import dataclass

from stats.comparison import Comparison
from stats.errors import DesignError
from stats.score_difference import mee, mee_z, miettinen_nurminen
from stats.special import normal_sf, student_t_sf
from stats.status import Status
from stats.two_by_two import TwoByTwo


@dataclass(frozen=True, slots=True, kw_only=True)
class NonInferiority:
    """p: one-sided, against "worse by the margin or more". low, high: the two-sided 1 - alpha interval of the
    difference.
    """

    status: Status = "ok"
    reason: str = ""
    estimate: float | None = None
    statistic: float | None = None
    p: float | None = None
    low: float | None = None
    high: float | None = None


def rate_not_worse(table: TwoByTwo, margin: float, alpha: float = 0.05) -> NonInferiority:
    """Farrington and Manning's score (1990) against -margin."""
    return _one_sided(mee(table, alpha, _checked(margin)))


def rate_not_worse_corrected(table: TwoByTwo, margin: float, alpha: float = 0.05) -> NonInferiority:
    """The same with Miettinen and Nurminen's N/(N-1): a little more careful."""
    return _one_sided(miettinen_nurminen(table, alpha, _checked(margin)))


def rate_equal_within(table: TwoByTwo, margin: float) -> float | None:
    """TOST (Schuirmann 1987): the larger of both one-sided score p-values; None where there is no score."""
    found = mee(table, margin=_checked(margin))
    if found.p_greater is None:
        return None
    return max(found.p_greater, normal_sf(-mee_z(table, margin)))


def not_worse(found: Comparison, margin: float) -> float | None:
    """One-sided p of any comparison that has an error, against -margin (in its unit); None without one."""
    return _beyond(found, _checked(margin))


def equal_within(found: Comparison, margin: float) -> float | None:
    """TOST of any comparison that has an error."""
    _checked(margin)
    above, below = _beyond(found, margin), _beyond(found, -margin)
    return None if above is None or below is None else max(above, 1.0 - below)


def _beyond(found: Comparison, margin: float) -> float | None:
    """P of an estimate this large or larger when the truth is -margin."""
    if found.error is None or found.estimate is None:
        return None
    distance = (found.estimate + margin) / found.error
    return normal_sf(distance) if found.df is None else student_t_sf(distance, found.df)


def _one_sided(found: Comparison) -> NonInferiority:
    return NonInferiority(
        status=found.status,
        reason=found.reason,
        estimate=found.estimate,
        statistic=found.statistic,
        p=found.p_greater,
        low=found.low,
        high=found.high,
    )


def _checked(margin: float) -> float:
    if not margin >= 0.0:
        raise DesignError(f"margin is {margin!r}: give how much worse still counts as not worse, 0 or more")
    return margin
