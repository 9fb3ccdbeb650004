"""The effect of one metric on one set of units, with the tuning number that its plan or its pilot fixes."""

from stats.centre import PRIOR_UNITS
from stats.design import Design, History
from stats.effect import Effect, Pair, effect
from stats.scale import blinded_variance, rate_variance, rho_of
from stats.scores import Scores, to_door
from stats.status import Metric


def metric_effect(design: Design, metric: Metric, scores: Scores, history: History) -> Effect:
    """At the door: shares, or USD a unit."""
    return effect(scores, pair_of(design, metric, scores, history)).scaled(to_door(metric))


def pair_of(design: Design, metric: Metric, scores: Scores, history: History) -> Pair:
    """How the metric is judged: nothing in it depends on which arm a unit got."""
    unit_variance = unit_variance_of(metric, scores, history)
    rho = None if unit_variance is None else rho_of(unit_variance, design.v_plan_units, design.alpha)
    return Pair(
        metric, design.treatment, design.control, design.alpha, history.prior(metric), PRIOR_UNITS, rho
    )


def unit_variance_of(metric: Metric, scores: Scores, history: History) -> float | None:
    """What the scale of the bounds is fixed by, in scores squared; None while that of money is unknown."""
    if metric != "pnl":
        return rate_variance()
    if history.pnl_sd_micro:
        return history.pnl_sd_micro**2
    return blinded_variance(scores)
