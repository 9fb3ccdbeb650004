"""What one method says of two arms at one look: the common result of all second opinions.

Each holds for a single look that was planned; none of them moves traffic. The report's own statistic, valid
at every look, is `effect`.
"""

import math
from dataclasses import dataclass, replace

from stats.errors import DesignError
from stats.special import normal_quantile, normal_sf, student_t_quantile, student_t_sf
from stats.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """treatment minus control, unless the function says otherwise. None: this method does not give it, or
    cannot say.

    error: standard error. statistic: z where df is None, else t on df degrees of freedom. p: two-sided.
    low, high: at 1 - alpha. not_ready and degenerate may carry numbers; `reason` then says how far to trust
    them.
    """

    status: Status = "ok"
    reason: str = ""
    estimate: float | None = None
    error: float | None = None
    statistic: float | None = None
    df: float | None = None
    p: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def p_greater(self) -> float | None:
        """One-sided p against "the treatment is not better"."""
        if self.statistic is None:
            return None
        if self.df is None:
            return normal_sf(self.statistic)
        return student_t_sf(self.statistic, self.df)


def by_normal(estimate: float, error: float, alpha: float) -> Comparison:
    """estimate +- z error; degenerate without a spread to judge by."""
    check_alpha(alpha)
    if not 0.0 < error < math.inf:
        return no_variation(estimate) if error == 0.0 else _too_wide(estimate)
    z, half = estimate / error, normal_quantile(1.0 - alpha / 2.0) * error
    p = min(1.0, 2.0 * normal_sf(abs(z)))
    return Comparison(
        estimate=estimate, error=error, statistic=z, p=p, low=estimate - half, high=estimate + half
    )


def by_student(estimate: float, error: float, df: float, alpha: float) -> Comparison:
    """estimate +- t error on df degrees of freedom; degenerate without a spread to judge by."""
    check_alpha(alpha)
    if not 0.0 < error < math.inf:
        return no_variation(estimate) if error == 0.0 else _too_wide(estimate)
    t, half = estimate / error, student_t_quantile(1.0 - alpha / 2.0, df) * error
    p = min(1.0, 2.0 * student_t_sf(abs(t), df))
    return Comparison(
        estimate=estimate, error=error, statistic=t, df=df, p=p, low=estimate - half, high=estimate + half
    )


def not_ready(reason: str, estimate: float | None = None) -> Comparison:
    return Comparison(status="not_ready", reason=reason, estimate=estimate)


def no_variation(estimate: float) -> Comparison:
    reason = "all units of an arm came out alike, in both arms: there is no variation to judge by"
    return Comparison(status="degenerate", reason=reason, estimate=estimate)


def _too_wide(estimate: float) -> Comparison:
    return Comparison(
        status="degenerate", reason="the spread is more than a float can hold", estimate=estimate
    )


def refused(reason: str, estimate: float | None = None) -> Comparison:
    """The method does not fit how the data were made."""
    return Comparison(status="invalid_design", reason=reason, estimate=estimate)


def doubted(found: Comparison, status: Status, reason: str) -> Comparison:
    """The same numbers, with a doubt that the reader must see."""
    return replace(found, status=status, reason=reason)


def check_alpha(alpha: float) -> None:
    """Raise DesignError unless 0 < alpha < 1."""
    if not 0.0 < alpha < 1.0:
        raise DesignError(f"alpha is {alpha!r}: choose one inside (0, 1), say 0.05")
