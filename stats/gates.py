"""The gates of an experiment: how its own setting decides promotion, and the watch that rolls back.

Nothing is answered while the assignment is broken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stats.conditions import Condition
from stats.design import Design, History
from stats.effect import Effect
from stats.gate import (
    Asked,
    Gate,
    Gates,
    NamedLook,
    all_of,
    closed,
    promotion,
    promotion_bounds,
    rollback,
)
from stats.gate_planned import Planned, hybrid_gate, planned_gate
from stats.metric_effect import pair_of, unit_variance_of
from stats.missing import MissingBounds
from stats.scale import plan_variance
from stats.scores import Scores, to_door
from stats.status import Metric


@dataclass(frozen=True, slots=True)
class Evidence:
    """effects, at the door, and missing: of the design's metric and of "pnl". share: the treatment's in the
    pair, now. closed_rows: how many of the scores had matured by the plan's deadline, None while it is ahead.
    conditions: what promotion asks beside its bounds.
    """

    scores: Mapping[Metric, Scores]
    effects: Mapping[Metric, Effect]
    missing: Mapping[Metric, MissingBounds]
    history: History
    share: float
    closed_rows: int | None
    conditions: tuple[Condition, ...] = ()


def gates(design: Design, found: Evidence, broken: str | None) -> Gates:
    """broken: why the assignment does not hold, or None."""
    if broken is not None:
        nothing = closed(broken, design.alpha)
        return Gates(kind=design.gate, promote=nothing, rollback=nothing)
    metrics = _metrics(design, found)
    asked = [one.asked for one in metrics]
    promote, looks = _promotion(design, metrics, found)
    return Gates(
        kind=design.gate,
        promote=promote,
        rollback=rollback(asked, design.alpha, design.unit_name),
        looks=looks,
        conditions=found.conditions,
        may_promote=all_of([promote.answer, *(one.answer for one in found.conditions)]),
    )


def _promotion(
    design: Design, metrics: Sequence[Planned], found: Evidence
) -> tuple[Gate, tuple[NamedLook, ...]]:
    if design.gate == "planned":
        return planned_gate(design, metrics, found.closed_rows, found.share)
    if design.gate == "hybrid":
        return hybrid_gate(design, metrics, found.closed_rows)
    bounds = promotion_bounds([one.asked for one in metrics], design.alpha)
    return promotion(bounds, design.alpha, design.unit_name), ()


def _metrics(design: Design, found: Evidence) -> list[Planned]:
    """The design's metric must be better; net PnL beside it not worse than its margin."""
    names = dict.fromkeys((design.metric, "pnl"))
    return [_planned(design, name, found) for name in names]


def _planned(design: Design, metric: Metric, found: Evidence) -> Planned:
    scores = found.scores[metric]
    unit_variance = unit_variance_of(metric, scores, found.history)
    asked = Asked(
        effect=found.effects[metric],
        missing=found.missing[metric],
        to_door=to_door(metric),
        limit=0.0 if metric == design.metric else 0.0 - design.pnl_margin_usd,
        v_plan=None if unit_variance is None else plan_variance(unit_variance, design.v_plan_units),
    )
    return Planned(asked, scores, pair_of(design, metric, scores, found.history))
