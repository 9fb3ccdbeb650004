"""What another policy would have earned on the log, by importance weights: screening before a ramp, never
evidence for promotion.

w = target / propensity: how likely the policy in question takes the logged action, over how likely the
logging one did. A weight is per decision, so it is right only where a decision does not change what comes
next; decisions of an episode that do are first made one row (`whole_episodes`).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.clusters import Clusters, check_finite
from stats.comparison import check_alpha
from stats.errors import DesignError, UnitsError
from stats.moments import group_sums
from stats.ratio import FEW_UNITS
from stats.special import student_t_quantile
from stats.status import Status

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CAP = 10.0
LARGEST_WEIGHT = 1e50


@dataclass(frozen=True, slots=True)
class Logged:
    """One row per decision. weights: w >= 0. unit: whose coin, or episode, it was. stateless: a decision
    changes nothing but its own reward.
    """

    rewards: Floats
    weights: Floats
    unit: Ints
    stateless: bool

    def __post_init__(self) -> None:
        if not len(self.rewards) == len(self.weights) == len(self.unit):
            raise UnitsError("rewards, weights and unit differ in length: give one of each per decision")
        check_finite("rewards", self.rewards)
        check_finite("weights", self.weights)
        if np.any(self.weights < 0.0):
            raise UnitsError("weights holds a negative value: an importance weight is 0 or more")

    def __len__(self) -> int:
        return len(self.rewards)


def weights_of(target: Floats, propensity: Floats) -> Floats:
    """target: the other policy's probability of the logged action, in [0, 1]; propensity: the logging one's,
    in (0, 1].
    """
    if len(target) != len(propensity):
        raise UnitsError("target and propensity differ in length: give one of each per decision")
    if not np.all((propensity > 0.0) & (propensity <= 1.0)):
        raise UnitsError("propensity holds a value outside (0, 1]: the action was taken, so it was possible")
    if not np.all((target >= 0.0) & (target <= 1.0)):
        raise UnitsError("target holds a value outside [0, 1]: give the probability of the logged action")
    result: Floats = np.minimum(target / propensity, LARGEST_WEIGHT)
    return result


@dataclass(frozen=True, slots=True)
class Model:
    """Predicted rewards. taken: of the logged action. wanted: mean over what the other policy would do."""

    taken: Floats
    wanted: Floats


@dataclass(frozen=True, slots=True)
class Support:
    """How much of the log speaks about the other policy. effective: (sum w)^2 / sum w^2. mean_weight: near 1
    when the log covers what the policy does; far below: it does what was never tried.
    """

    effective: float
    largest: float
    mean_weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """Mean reward per decision under the other policy, clustered by unit, with t on units - 1."""

    status: Status = "ok"
    reason: str = ""
    estimate: float | None = None
    error: float | None = None
    low: float | None = None
    high: float | None = None


def support(log: Logged) -> Support:
    weights = log.weights
    if len(weights) == 0 or not weights.any():
        return Support(0.0, 0.0, 0.0)
    near_one = weights / weights.max()  # the squares of an episode's tiny weights would be 0
    effective = float(near_one.sum() ** 2 / np.sum(near_one**2))
    return Support(effective, float(weights.max()), float(weights.mean()))


def unsupported_mass(wanted: Floats, possible: Floats) -> float | None:
    """Mean probability that the other policy puts on actions which the logging one never takes. Both: rows of
    probabilities, one column per action; None without rows.
    """
    if wanted.shape != possible.shape:
        raise UnitsError("wanted and possible differ in shape: give one column per action for both")
    return float(np.where(possible > 0.0, 0.0, wanted).sum(axis=1).mean()) if len(wanted) else None


def whole_episodes(log: Logged) -> Logged:
    """One row per unit: rewards added, weights multiplied along it. Right whatever decisions change,
    and soon useless: few episodes keep a weight.
    """
    names, at = np.unique(log.unit, return_inverse=True)
    with np.errstate(divide="ignore"):
        logs = group_sums(at, np.log(log.weights), len(names))
    weights = np.exp(np.minimum(logs, math.log(LARGEST_WEIGHT)))
    return Logged(group_sums(at, log.rewards, len(names)), weights, names, stateless=True)


def ips(log: Logged, cap: float = math.inf, alpha: float = 0.05) -> Value:
    """mean w r (Horvitz and Thompson 1952), weights cut at `cap`; 0 without overlap."""
    return _mean(log, _capped(log, cap) * log.rewards, alpha)


def snips(log: Logged, cap: float = math.inf, alpha: float = 0.05) -> Value:
    """sum w r / sum w (Swaminathan and Joachims 2015); nothing without overlap."""
    weights = _capped(log, cap)
    if weights.any():
        weights = weights / weights.max()
    return _ratio(log, weights, weights * log.rewards, alpha)


def direct(log: Logged, model: Model, alpha: float = 0.05) -> Value:
    """The model's word alone."""
    return _mean(log, model.wanted, alpha)


def doubly_robust(log: Logged, model: Model, cap: float = math.inf, alpha: float = 0.05) -> Value:
    """mean q + w (r - q) (Dudik, Langford, Li 2011): right if either the model or the propensities are."""
    return _mean(log, model.wanted + _capped(log, cap) * (log.rewards - model.taken), alpha)


def self_normalised_doubly_robust(log: Logged, model: Model, alpha: float = 0.05) -> Value:
    """mean q + sum w (r - q) / sum w; nothing without overlap."""
    weights = log.weights
    if not weights.any():
        return _no_overlap()
    return _mean(log, model.wanted + weights / weights.mean() * (log.rewards - model.taken), alpha)


def switch_doubly_robust(log: Logged, model: Model, most: float, alpha: float = 0.05) -> Value:
    """Doubly robust where w <= most, the model elsewhere (Wang, Agarwal, Dudik 2017)."""
    weights = np.where(log.weights <= most, log.weights, 0.0)
    return _mean(log, model.wanted + weights * (log.rewards - model.taken), alpha)


def shrunk_doubly_robust(log: Logged, model: Model, shrinkage: float, alpha: float = 0.05) -> Value:
    """Weights lambda w / (w^2 + lambda): optimistic shrinkage (Su, Dimakopoulou, Krishnamurthy 2020)."""
    if not shrinkage > 0.0:
        raise DesignError(f"shrinkage is {shrinkage!r}: give lambda above 0")
    weights = shrinkage * log.weights / (log.weights**2 + shrinkage)
    return _mean(log, model.wanted + weights * (log.rewards - model.taken), alpha)


def _capped(log: Logged, cap: float) -> Floats:
    if not cap > 0.0:
        raise DesignError(f"cap is {cap!r}: give the largest weight to keep, say {CAP:g}")
    return np.minimum(log.weights, cap)


def _mean(log: Logged, values: Floats, alpha: float) -> Value:
    return _ratio(log, np.ones(len(log)), values, alpha)


def _ratio(log: Logged, below: Floats, above: Floats, alpha: float) -> Value:
    """sum above / sum below, clustered by unit."""
    check_alpha(alpha)
    if len(log) == 0:
        return Value(status="not_ready", reason="the log is empty")
    names, at = np.unique(log.unit, return_inverse=True)
    if not log.stateless and len(names) < len(log):
        reason = "decisions of a unit change what comes next: weigh `whole_episodes`, or run an experiment"
        return Value(status="invalid_design", reason=reason)
    if not below.any():
        return _no_overlap()
    units = Clusters(group_sums(at, below, len(names)), group_sums(at, above, len(names)))
    if len(units) < 2:
        return Value(status="not_ready", reason="a single unit", estimate=units.moments.ratio)
    error = math.sqrt(units.moments.ratio_variance)
    half = student_t_quantile(1.0 - alpha / 2.0, len(units) - 1) * error
    estimate, few = units.moments.ratio, len(units) < FEW_UNITS
    return Value(
        status="not_ready" if few else "ok",
        reason=f"{len(units)} units: below {FEW_UNITS} the interval is rough" if few else "",
        estimate=estimate,
        error=error,
        low=estimate - half,
        high=estimate + half,
    )


def _no_overlap() -> Value:
    reason = "the log never took an action that the other policy takes: it says nothing about it"
    return Value(status="degenerate", reason=reason)
