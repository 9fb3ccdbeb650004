"""Makes the evidence of a rollout from what SQL held at a moment, with the statistics of the report.

The moment is a little past, so that what was answered then has reached SQL by now: the same moment asked
for again gives the same numbers, and their digest (`reread`). Only the kills and the time of looking are
not SQL's: they are handed in.
"""

import math
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from sqlalchemy import Connection, Engine

from router.arrivals import resolution_of
from router.before import known_before
from router.cohort import counts_of
from router.evidence import Bound, Check, Evidence
from router.question import Question
from router.report_rows import Judged, Read, Rows, rows_of
from router.report_shape import design_of
from router.rollout_plan import Guardrail, Plan, Spending, spending
from router.rollout_shadow import shadow_of
from router.rollout_steps import Open
from router.splits import rfc3339
from stats import report as judging
from stats.contamination import contamination
from stats.design import Design, History
from stats.errors import StatsError
from stats.gate import lower_bound, upper_bound
from stats.grounds import agreement_p, compared_days, days_low, stage_effects
from stats.guardrails import WATCHED, Slow, guardrail
from stats.guardrails import Guardrail as GuardrailRow
from stats.metric_effect import metric_effect, unit_variance_of
from stats.missing import missing_of
from stats.resolution import Resolution
from stats.scale import PROMOTION_SHARE, ROLLBACK_SHARE, plan_variance
from stats.scores import pair_scores, to_door
from stats.special import student_t_quantile
from stats.status import Metric
from stats.units import ArmCounts
from store.as_of import as_of
from store.errors import MomentPruned
from store.latencies import SLOW_US
from store.models import CHAMPION
from store.state_ages import STALE_US, state_ages

SETTLED_US = 60_000_000
"""How far back the moment lies: journals have long been shipped by then."""
MICRO = 1e-6


_STALE = f"decisions on a state older than {STALE_US / 1e6:g} s when it came, of those that say its time"


@dataclass(frozen=True, slots=True)
class Beside:
    """What the units do not say. shadow: of paper, UNSET where the plan does not ask. stale_rate: of the
    treatment's decisions, None where nothing is known. swapped: as in Evidence.
    """

    shadow: Bound | msgspec.UnsetType = msgspec.UNSET
    stale_rate: float | None = None
    swapped: str | msgspec.UnsetType = msgspec.UNSET


NOTHING_BESIDE = Beside()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was read and judged of a moment."""

    plan: Plan
    spent: Spending
    design: Design
    history: History
    found: Read
    judged: Judged
    counts: dict[str, ArmCounts]
    told: judging.Report
    arrived: Resolution


def moment_of(open_: Open, now_us: int) -> int:
    """The moment to be judged: settled, but never before the last step, whose split it must know."""
    steps_us = [event.at_us for event in open_.course.events]
    return min(now_us, max(now_us - SETTLED_US, open_.history[-1].created_at_us, *steps_us))


def evidence_of(engine: Engine, open_: Open, killed: tuple[str, ...], now_us: int) -> Evidence:
    """Of now."""
    try:
        found = _at(engine, open_, moment_of(open_, now_us), killed, now_us)
    except StatsError as error:
        return failed(open_, killed, now_us, str(error))
    return msgspec.structs.replace(found, looked_at_us=now_us)


def reread(engine: Engine, open_: Open, was: Evidence, now_us: int) -> Evidence:
    """The evidence of the moment of `was` again, from what SQL says now about then. Raises MomentPruned."""
    with as_of(engine, open_.experiment.key, was.as_of_us, now_us) as connection:
        rows, beside = _read(connection, open_, was.as_of_us)
    found = evidence_from(rows, open_.plan, was.killed, beside)
    return msgspec.structs.replace(found, looked_at_us=was.looked_at_us)


def failed(open_: Open, killed: tuple[str, ...], now_us: int, why: str) -> Evidence:
    """Evidence that says only that there is none, and who is killed."""
    nothing = Bound(status="not_ready", reason=why)
    return Evidence(
        experiment=open_.experiment.key,
        as_of_us=now_us,
        looked_at_us=now_us,
        since_us=open_.history[0].effective_at_us,
        split_version=open_.history[-1].version,
        share=open_.history[-1].weights[open_.rollout.treatment],
        killed=killed,
        failed=why,
        primary=nothing,
        money=nothing,
    )


def _at(engine: Engine, open_: Open, at_us: int, killed: tuple[str, ...], now_us: int) -> Evidence:
    """What SQL held then. Where a prune took the decisions that would say so, its totals of now, cut at
    then.
    """
    try:
        with as_of(engine, open_.experiment.key, at_us, now_us) as connection:
            rows, beside = _read(connection, open_, at_us)
    except MomentPruned:
        with engine.connect() as connection:
            rows, beside = _read(connection, open_, at_us)
    return evidence_from(rows, open_.plan, killed, beside)


def _read(connection: Connection, open_: Open, at_us: int) -> tuple[Rows, Beside]:
    key, plan, arm = open_.experiment.key, open_.plan, open_.rollout.treatment
    rows = rows_of(connection, Question(key=key), at_us)
    asks_ages = any(guardrail.name == "stale_rate" for guardrail in plan.guardrails)
    stale_rate = state_ages(connection, key, arm).stale_rate if asks_ages else None
    shadow = shadow_of(connection, rows, plan, arm, open_.events[0].at_us)
    return rows, Beside(shadow, stale_rate, _swapped(rows, open_))


def _swapped(rows: Rows, open_: Open) -> str | msgspec.UnsetType:
    """Whether what was shown is of other models than those that would be promoted, or compared with."""
    pair, since_us = {open_.rollout.treatment, open_.experiment.control}, open_.events[0].at_us
    for change in rows.found.promotions:
        if change.alias == CHAMPION and change.arm in pair and change.at_us > since_us:
            said = f"{change.arm} serves another model since {rfc3339(change.at_us)}: nothing was shown of it"
            return f"{said}; `abctl rollout abort`, and start another one"
    return msgspec.UNSET


def evidence_from(
    rows: Rows, plan: Plan, killed: tuple[str, ...], beside: Beside = NOTHING_BESIDE
) -> Evidence:
    """From what SQL said of a moment."""
    found, judged = rows.found, rows.judged
    design = design_of(found)
    counts = counts_of(found.experiment, found.columns, judged.cohort)
    history = known_before(design, found, judged)
    told = judging.report(design, judged.units, counts, found.stages, history)
    arrived = resolution_of(design, found, judged)
    seen = _Seen(plan, spending(plan), design, history, found, judged, counts, told, arrived)
    scores = pair_scores(judged.units, *design.pair, design.metric)
    effects = stage_effects(design, scores, judged.units, history)
    return Evidence(
        experiment=found.experiment.key,
        as_of_us=judged.now_us,
        since_us=design.started_us,
        split_version=found.split.version,
        share=found.split.weights[design.treatment],
        killed=killed,
        broken=_broken(seen, contamination(design, counts)),
        primary=_bound(seen, design.metric),
        money=_bound(seen, "pnl"),
        tests=tuple(_test(seen, g) for g in plan.guardrails if g.is_test),
        limits=_limits(seen, beside.stale_rate),
        stage_units=_stage_units(seen),
        whole_days=compared_days(scores),
        day_block_low=_finite(days_low(design, scores, history, seen.spent.promotion_split)),
        stage_effects=len(effects),
        stages_p=_finite(agreement_p(effects)),
        shadow=beside.shadow,
        swapped=beside.swapped,
    )


def _broken(seen: _Seen, contaminated: str | None) -> str:
    """Why nothing may be concluded; empty where nothing says so."""
    if seen.told.srm.alarm:
        return f"units did not fall on the arms as the split says ({seen.told.srm.rule})"
    if contaminated is not None:
        return contaminated
    invalid = [e.reason for e in (seen.told.effect, seen.told.pnl_effect) if e.status == "invalid_design"]
    return invalid[0] if invalid else ""


def _bound(seen: _Seen, metric: Metric) -> Bound:
    """One metric's bounds at the levels of the plan, missing outcomes against the gate that each is for."""
    scores = pair_scores(seen.judged.units, *seen.design.pair, metric)
    effect = metric_effect(seen.design, metric, scores, seen.history)
    variance = unit_variance_of(metric, scores, seen.history)
    if effect.status != "ok" or effect.look is None or variance is None:
        return Bound(status=effect.status, reason=effect.reason, estimate=_finite(effect.estimate))
    v_plan, door = plan_variance(variance, seen.design.v_plan_units), to_door(metric)
    promoting, back = seen.spent.promotion_split, seen.spent.level(metric)
    missing = missing_of(seen.design, effect, seen.told.arms, seen.counts, seen.judged.units)
    low = lower_bound(effect.look, metric, v_plan, PROMOTION_SHARE, promoting) * door
    upper = upper_bound(effect.look, metric, v_plan, ROLLBACK_SHARE, back) * door
    fewest = max(1.0, effect.look.smaller - 1.0)
    once = (effect.look.effect - student_t_quantile(1.0 - promoting, fewest) * effect.look.error) * door
    return Bound(
        status=effect.status,
        reason=effect.reason,
        estimate=_finite(effect.estimate),
        low=_finite(low + missing.worst),
        high=_finite(upper + missing.best),
        upper=_finite(upper),
        planned_low=_finite(once + missing.worst),
    )


def _test(seen: _Seen, asked: Guardrail) -> Check:
    """The report's guardrail of that name, asked at the plan's level."""
    level = seen.spent.level(asked.name)
    row = _asked_at(seen, level, asked.name)
    return Check(
        name=asked.name,
        value=_finite(row.treatment),
        difference=_finite(row.difference),
        low=_finite(row.low),
        high=_finite(row.high),
        is_shown=row.p is not None and row.p <= level,
        reason=row.reason,
    )


def _asked_at(seen: _Seen, level: float, name: str) -> GuardrailRow:
    """The report divides its alpha over its questions: as many times the level is asked for."""
    if name not in {"missing_rate", "delay_s"}:
        design = replace(seen.design, alpha=min(level * WATCHED, 0.999))
        return guardrail(name, design, seen.judged.units, seen.arrived, _slow(seen))
    design = replace(seen.design, alpha=min(level * (len(seen.arrived.ages) + 1), 0.999))
    arrived = resolution_of(design, seen.found, seen.judged)
    return guardrail(name, design, seen.judged.units, arrived, _slow(seen))


def _slow(seen: _Seen) -> Slow:
    columns, rows = seen.found.columns, seen.judged.rows
    return Slow(SLOW_US / 1000, columns.timed[rows], columns.slow[rows])


def _limits(seen: _Seen, stale_rate: float | None) -> tuple[Check, ...]:
    """What the treatment itself has come to, for the plan's limits."""
    named = sorted({g.name for g in seen.plan.guardrails if not g.is_test})
    own = _own(seen) if {"error_rate", "loss_usd"} & set(named) else {}
    own["stale_rate"] = (stale_rate, _STALE if stale_rate is not None else "no state of it says its `as_of`")
    values = {name: own[name] if name in own else _row(seen, name) for name in named}
    return tuple(Check(name=name, value=_finite(value), reason=why) for name, (value, why) in values.items())


def _row(seen: _Seen, name: str) -> tuple[float | None, str]:
    row = guardrail(name, seen.design, seen.judged.units, seen.arrived, _slow(seen))
    return row.treatment, row.reason


def _own(seen: _Seen) -> dict[str, tuple[float | None, str]]:
    """Refused units, and what was lost in all, of the treatment."""
    design, columns = seen.design, seen.found.columns
    mine = columns.arm == design.treatment
    units, refused = int(np.count_nonzero(mine)), int(np.count_nonzero(columns.unserved[mine] > 0))
    pnl_micro = seen.judged.units.pnl_micro[seen.judged.units.arm == design.pair[0]]
    return {
        "error_rate": (refused / units if units else None, "units of which a decision was refused"),
        "loss_usd": (max(0.0, -float(pnl_micro.sum()) * MICRO), "what its mature units lost, all together"),
    }


def _stage_units(seen: _Seen) -> int:
    """Mature units of the smaller arm, of those that the newest stage assigned."""
    newest = seen.told.stages[-1]
    return min(newest.mature[seen.design.treatment], newest.mature[seen.design.control])


def _finite(value: float | None) -> float | None:
    """None for what JSON cannot hold: it would be no number in the digest either."""
    return value if value is not None and math.isfinite(value) else None
