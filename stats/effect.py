"""The difference between two arms as one result: numbers where they can be said, a reason where they
cannot.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from stats.boundary import e_from_log, p_from_log_e
from stats.centre import DECAY_PER_DAY
from stats.scores import Scores
from stats.sequence import Look, looks
from stats.status import Metric, Status

MOST_UNLOGGED_SHARE = 0.001

_DEGENERATE = "all units of an arm came out alike, in both arms: there is no variation to judge by"
_UNSCALED = "fewer than 20 units with a fill, or all alike: the scale of the PnL is not known yet"


@dataclass(frozen=True, slots=True)
class Pair:
    """How one metric of one pair is judged. prior: centre at the start; rho: None while its scale is unknown.

    prior and rho are in the unit of the scores (shares, or micro-USD and micro-USD squared)."""

    metric: Metric
    treatment: str
    control: str
    alpha: float
    prior: float
    prior_units: float
    rho: float | None


@dataclass(frozen=True, slots=True)
class Effect:
    """treatment - control; a share for rates, micro-USD a unit for money (see `scaled`).

    low, high: two-sided 1 - alpha, together valid at every moment; lower_one_sided, upper_one_sided: each
    alone. e_value: now; p: 1 / the largest E at any day's end or now. adjusted_*: arm rates whose difference
    is the estimate. estimate may stand without an interval while not_ready; everything else is None then.
    """

    metric: Metric
    status: Status
    reason: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    lower_one_sided: float | None = None
    upper_one_sided: float | None = None
    e_value: float | None = None
    p: float | None = None
    adjusted_treatment: float | None = None
    adjusted_control: float | None = None
    units: int = 0
    unlogged: int = 0
    look: Look | None = None
    rho: float | None = None

    def scaled(self, factor: float) -> "Effect":
        """The same in another unit of money; `look` and `rho` stay as they are."""
        return replace(
            self,
            estimate=_times(self.estimate, factor),
            low=_times(self.low, factor),
            high=_times(self.high, factor),
            lower_one_sided=_times(self.lower_one_sided, factor),
            upper_one_sided=_times(self.upper_one_sided, factor),
            adjusted_treatment=_times(self.adjusted_treatment, factor),
            adjusted_control=_times(self.adjusted_control, factor),
        )


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def effect(scores: Scores, pair: Pair) -> Effect:
    """Judge the pair on everything in `scores`."""
    return effect_on(path_of(scores, pair), scores, pair)


def path_of(scores: Scores, pair: Pair) -> list[Look]:
    """The evidence at the end of each day."""
    return looks(scores, pair.prior - scores.reference, pair.prior_units, DECAY_PER_DAY)


def effect_on(path: list[Look], scores: Scores, pair: Pair) -> Effect:
    """The same as `effect`, for who has the path already."""
    begun = _begin(scores, pair, path[-1] if path else None)
    invalid = _invalid(scores)
    if invalid is not None:
        return Effect(pair.metric, "invalid_design", invalid, units=begun.units, unlogged=begun.unlogged)
    waiting = _not_ready(begun, pair)
    if waiting is not None:
        return replace(begun, status="not_ready", reason=waiting)
    constants = _constants(scores)
    if constants is not None:
        return _degenerate(begun, *constants)
    skewed = _skewed(begun, pair)
    if skewed is not None:
        return replace(begun, status="not_ready", reason=skewed)
    if pair.rho is None:
        return replace(begun, status="not_ready", reason=_UNSCALED)
    return _judged(begun, pair.alpha, pair.rho, path)


def _begin(scores: Scores, pair: Pair, look: Look | None) -> Effect:
    judged = int(np.count_nonzero(scores.judged))
    begun = Effect(pair.metric, "ok", "", units=judged, unlogged=scores.unlogged, look=look, rho=pair.rho)
    if look is None or not look.has_both:
        return begun
    level = look.centre + scores.reference
    return replace(
        begun,
        estimate=look.effect,
        adjusted_treatment=look.treatment.ratio + level,
        adjusted_control=look.control.ratio + level,
    )


def _judged(begun: Effect, alpha: float, rho: float, path: list[Look]) -> Effect:
    look = path[-1]
    low, high = interval(look, begun.metric, rho, alpha)
    lower, upper = bounds_one_sided(look, begun.metric, rho, alpha)
    largest = max(past.log_e(rho) for past in path if enough(past, begun.metric))
    return replace(
        begun,
        reason=f"{begun.units} units whose coin could have fallen either way; valid at any look",
        low=low,
        high=high,
        lower_one_sided=lower,
        upper_one_sided=upper,
        e_value=e_from_log(look.log_e(rho)),
        p=p_from_log_e(largest),
    )


def enough(look: Look, metric: Metric) -> bool:
    """Whether the bound, which is asymptotic in units, may be shown at this moment."""
    return look.has_both and look.ready and (metric != "pnl" or look.near_normal)


def interval(look: Look, metric: Metric, rho: float, alpha: float) -> tuple[float, float]:
    """Two-sided 1 - alpha at all moments together, in the unit of the scores; of a look that is `enough`."""
    return _bounds(look.effect, look.half_width(rho, alpha), metric)


def bounds_one_sided(look: Look, metric: Metric, rho: float, alpha: float) -> tuple[float, float]:
    """Each alone 1 - alpha at all moments together; as `interval`."""
    return _bounds(look.effect, look.half_width_one_sided(rho, alpha), metric)


def _bounds(estimate: float, half_width: float, metric: Metric) -> tuple[float, float]:
    """Around an estimate; two shares differ by 1 at the most."""
    room = -math.inf if metric == "pnl" else -1.0
    return _least(estimate, half_width, room), -_least(-estimate, half_width, room)


def _least(estimate: float, half_width: float, room: float) -> float:
    """The bound below an estimate, within what is possible (a parameter cannot leave its space, so cutting
    the interval there keeps its coverage), but never above the estimate."""
    return min(estimate, max(estimate - half_width, room))


def _degenerate(begun: Effect, treated: float, control: float) -> Effect:
    """The plain difference: a centre that moves between days would only add noise to it."""
    return replace(
        begun,
        status="degenerate",
        reason=_DEGENERATE,
        estimate=treated - control,
        adjusted_treatment=treated,
        adjusted_control=control,
    )


def _invalid(scores: Scores) -> str | None:
    total = scores.unlogged + len(scores.e)
    if total == 0 or scores.unlogged <= MOST_UNLOGGED_SHARE * total:
        return None
    share = 100.0 * scores.unlogged / total
    return (
        f"{scores.unlogged} of {total} units ({share:.1f}%) have no usable propensity (not logged, or 0 for"
        " the arm they got); at most 0.1% may: log every arm's share when the unit is bound"
    )


def _not_ready(begun: Effect, pair: Pair) -> str | None:
    if begun.units == 0 or begun.look is None:
        return "no unit yet has an outcome in time and a coin that could have fallen either way"
    if begun.look.ready:
        return None
    treated, controls = begun.look.treatment.effective_units, begun.look.control.effective_units
    what = " with a fill" if pair.metric == "win_rate" else ""
    return (
        f"{pair.treatment} has {treated:.0f} and {pair.control} {controls:.0f} effective units{what};"
        " an interval needs 20 in each"
    )


def _skewed(begun: Effect, pair: Pair) -> str | None:
    """Money only: a rate is judged by the widest variance a rate can have, rare losses or not."""
    look = begun.look
    if look is None or enough(look, pair.metric):
        return None
    return (
        f"the PnL is too skewed (skewness {look.skewness:.1f}): an interval needs about"
        f" {math.ceil(look.needed):,} effective units in each arm;"
        f" {pair.treatment} has {look.treatment.effective_units:,.0f} and {pair.control}"
        f" {look.control.effective_units:,.0f}"
    )


def _constants(scores: Scores) -> tuple[float, float] | None:
    """What every unit brought, per trial, in (treatment, control); None where either arm's units differ."""
    counted = scores.judged & (scores.trials > 0.0)
    rows = (np.flatnonzero(counted & scores.treated), np.flatnonzero(counted & ~scores.treated))
    treated, control = (scores.sums[at] / scores.trials[at] for at in rows)
    if np.any(treated != treated[0]) or np.any(control != control[0]):
        return None
    return float(treated[0]) + scores.reference, float(control[0]) + scores.reference
