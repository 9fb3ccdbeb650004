"""The relative effect R1/R0 - 1 of a ratio metric, units as rows. One look.

Asked only where the control's ratio is above 0: a PnL may not be, and then the difference is what there is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from stats.clusters import Clusters
from stats.comparison import Comparison, by_normal, by_student, check_alpha
from stats.ratio import satterthwaite, unready
from stats.status import Status

MOST_LOG = 300.0
MOST_TIMES = 1e60


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """value, low, high: shares (0.1 is 10% more). None with a reason where they cannot be said. error: of
    ln(R1/R0), or of the lift itself for `delta_lift`; p: two-sided, of "no lift".
    """

    status: Status = "ok"
    reason: str = ""
    value: float | None = None
    error: float | None = None
    p: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class _Arms:
    """Ratios, their variances, and units - 1, of (treatment, control)."""

    ratios: tuple[float, float]
    variances: tuple[float, float]
    dfs: tuple[int, int]

    @property
    def lift(self) -> float:
        return self.ratios[0] / self.ratios[1] - 1.0

    @property
    def log_errors(self) -> tuple[float, float]:
        """Standard errors of ln R."""
        error_1, error_0 = (math.sqrt(variance) for variance in self.variances)
        return error_1 / self.ratios[0], error_0 / self.ratios[1]


def log_lift(treatment: Clusters, control: Clusters, alpha: float = 0.05) -> Lift:
    """Var(ln R) = Var(R)/R^2, Satterthwaite's t, then exponentiated; both ratios must be above 0."""
    return _said(treatment, control, alpha, _log_t)


def log_lift_z(treatment: Clusters, control: Clusters, alpha: float = 0.05) -> Lift:
    """`log_lift` with a normal quantile: for many units."""
    return _said(treatment, control, alpha, _log_z)


def delta_lift(treatment: Clusters, control: Clusters, alpha: float = 0.05) -> Lift:
    """Symmetric, by the plain delta method on the difference's degrees of freedom: also where the
    treatment's ratio is 0 or below.
    """
    return _said(treatment, control, alpha, _plain)


def _log_t(arms: _Arms, alpha: float) -> Lift:
    error_1, error_0 = arms.log_errors if arms.ratios[0] > 0.0 else (math.inf, math.inf)
    if max(error_1, error_0) > MOST_LOG:
        return _no_logarithm(arms)
    df = satterthwaite((error_1**2, error_0**2), arms.dfs)
    return _exponentiated(arms, by_student(_log(arms), math.hypot(error_1, error_0), df, alpha))


def _log_z(arms: _Arms, alpha: float) -> Lift:
    error_1, error_0 = arms.log_errors if arms.ratios[0] > 0.0 else (math.inf, math.inf)
    if max(error_1, error_0) > MOST_LOG:
        return _no_logarithm(arms)
    return _exponentiated(arms, by_normal(_log(arms), math.hypot(error_1, error_0), alpha))


def _plain(arms: _Arms, alpha: float) -> Lift:
    error_1, error_0 = (math.sqrt(variance) / arms.ratios[1] for variance in arms.variances)
    error = math.hypot(error_1, error_0 * (1.0 + arms.lift))
    found = by_student(arms.lift, error, satterthwaite(arms.variances, arms.dfs), alpha)
    return Lift(
        status=found.status,
        reason=found.reason,
        value=arms.lift,
        error=found.error,
        p=found.p,
        low=found.low,
        high=found.high,
    )


def _exponentiated(arms: _Arms, logs: Comparison) -> Lift:
    if logs.low is None or logs.high is None or max(abs(logs.low), abs(logs.high)) > MOST_LOG:
        return _no_logarithm(arms)
    low, high = math.expm1(logs.low), math.expm1(logs.high)
    return Lift(
        value=arms.lift, error=logs.error, p=logs.p, low=min(arms.lift, low), high=max(arms.lift, high)
    )


def _log(arms: _Arms) -> float:
    return math.log(arms.ratios[0]) - math.log(arms.ratios[1])


def _no_logarithm(arms: _Arms) -> Lift:
    reason = (
        "the treatment's ratio is not above 0, or hardly: its logarithm says nothing; read the difference"
    )
    return Lift(status="degenerate", reason=reason, value=arms.lift)


def _said(
    treatment: Clusters, control: Clusters, alpha: float, interval: Callable[[_Arms, float], Lift]
) -> Lift:
    check_alpha(alpha)
    blocked = unready(treatment, control)
    if blocked is not None:
        return Lift(status=blocked.status, reason=blocked.reason)
    moments = (treatment.moments, control.moments)
    arms = _Arms(
        (moments[0].ratio + treatment.reference, moments[1].ratio + control.reference),
        (moments[0].ratio_variance, moments[1].ratio_variance),
        (len(treatment) - 1, len(control) - 1),
    )
    if arms.ratios[1] <= 0.0 or abs(arms.ratios[0]) > MOST_TIMES * arms.ratios[1]:
        reason = "the control's ratio is not above 0, or hardly: no relative effect; read the difference"
        return Lift(status="degenerate", reason=reason)
    if sum(arms.variances) == 0.0:
        return Lift(status="degenerate", reason="there is no variation to judge by", value=arms.lift)
    return interval(arms, alpha)
