"""Whether a log can say anything about another policy, and what it says: overlap first, then the estimates.

Overlap is judged before the values are believed: an estimate of 0 with a narrow interval is what importance
weights give where the log never did what the other policy does.
"""

from dataclasses import dataclass, replace

import numpy as np

from stats.off_policy import Logged, Model, Value, doubly_robust, ips, snips, support
from stats.ratio import FEW_UNITS
from stats.status import Status

UNSUPPORTED_MOST = 0.01
"""A hundredth of the other policy's probability where the log cannot look: what it earns there is unknown."""
WRONG_ALPHA = 0.001
"""Of the check that the mean weight may be 1: a rare alarm, as for a sample ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How much of the log speaks about the other policy. Weights are cut at `cap` only for the estimates.

    effective: (sum w)^2 / sum w^2 (Kish); effective_capped: the same of the cut weights. mean_weight: its
    expectation is 1 where the log covers all that the policy does. unsupported: mean probability of a
    decision that the log could not have shown; None without decisions.
    """

    status: Status
    reason: str
    rows: int
    units: int
    cap: float
    effective: float
    effective_capped: float
    largest: float
    mean_weight: Value
    clipped: int
    unsupported: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Mean reward per row, intervals by unit. logged: of the log as it is; the others: of the candidate."""

    logged: Value
    ips: Value
    snips: Value
    dr: Value


def overlap(log: Logged, unsupported: float | None, cap: float, alpha: float = 0.05) -> Overlap:
    """unsupported: of `unsupported_mass`."""
    found = support(log)
    capped = Logged(log.rewards, np.minimum(log.weights, cap), log.unit, log.stateless)
    units = len(np.unique(log.unit))
    status, reason = _judged(units, found.effective, mean_weight(log, WRONG_ALPHA), unsupported)
    return Overlap(
        status=status,
        reason=reason,
        rows=len(log),
        units=units,
        cap=cap,
        effective=found.effective,
        effective_capped=support(capped).effective,
        largest=found.largest,
        mean_weight=mean_weight(log, alpha),
        clipped=int(np.count_nonzero(log.weights > cap)),
        unsupported=unsupported,
    )


def mean_weight(log: Logged, alpha: float = 0.05) -> Value:
    """The mean of the weights themselves, clustered: its interval should hold 1."""
    return ips(Logged(np.ones(len(log)), log.weights, log.unit, log.stateless), alpha=alpha)


def values(log: Logged, model: Model, cap: float, alpha: float = 0.05) -> Values:
    """All estimates with weights cut at `cap`."""
    as_it_is = Logged(log.rewards, np.ones(len(log)), log.unit, log.stateless)
    return Values(
        logged=ips(as_it_is, alpha=alpha),
        ips=ips(log, cap, alpha),
        snips=snips(log, cap, alpha),
        dr=doubly_robust(log, model, cap, alpha),
    )


def under(found: Values, status: Status, reason: str) -> Values:
    """The same in the light of the whole screening: doubted where that is not ready, and without a word about
    the other policy where a fault is known.
    """
    if status == "ok":
        return found
    names = ("ips", "snips", "dr")
    if status == "not_ready":
        return replace(found, **{n: _doubted(getattr(found, n), reason) for n in names})
    return replace(found, **dict.fromkeys(names, Value(status=status, reason=reason)))


def _doubted(value: Value, reason: str) -> Value:
    return value if value.status != "ok" else replace(value, status="not_ready", reason=reason)


def _judged(units: int, effective: float, mean: Value, unsupported: float | None) -> tuple[Status, str]:
    reasons = [
        *_no_overlap(units, effective),
        *_no_support(unsupported),
        *_few(units, effective),
        *_uncovered(mean),
    ]
    if not reasons:
        return "ok", ""
    return reasons[0][0], "; ".join(reason for _, reason in reasons)


def _no_overlap(units: int, effective: float) -> list[tuple[Status, str]]:
    if units and not effective:
        reason = "no overlap: the log never took what the other policy takes, and says nothing about it"
        return [("degenerate", reason)]
    return []


def _no_support(unsupported: float | None) -> list[tuple[Status, str]]:
    if unsupported is None or unsupported <= UNSUPPORTED_MOST:
        return []
    reason = (
        f"{unsupported:.1%} of the other policy's probability lies on actions that the log could not take"
    )
    return [("invalid_design", reason)]


def _few(units: int, effective: float) -> list[tuple[Status, str]]:
    if not units:
        return [("not_ready", "no unit of the log can be weighed")]
    if 0.0 < effective < FEW_UNITS:
        reason = f"{units:,} units are worth {effective:.1f} effective ones, below {FEW_UNITS}"
        return [("not_ready", reason)]
    return []


def _uncovered(mean: Value) -> list[tuple[Status, str]]:
    """Where nothing else is wrong this means that logged propensities are not those of the actions."""
    if mean.low is None or mean.high is None or not mean.estimate or mean.low <= 1.0 <= mean.high:
        return []
    reason = f"the mean weight is {mean.estimate:.3g} ({mean.low:.3g} to {mean.high:.3g}) and should be 1"
    return [("invalid_design", reason)]
