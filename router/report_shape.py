"""The report's JSON shape, from what SQL says: the judgement and its descriptions. Asks no database."""

from dataclasses import asdict
from typing import Any

import numpy as np

from router import remarks
from router.arrivals import resolution_of
from router.before import closed_units, history_shape, known_before
from router.cohort import arm_index, counts_of
from router.instants import instant_us
from router.question import Question
from router.report_begun import DAY_US
from router.report_rows import Judged, Read, Rows
from router.slicing import slice_names
from router.splits import rfc3339, split_shape
from router.window import window, with_edges, with_latencies
from stats import report as judging
from stats.curves import curves
from stats.delays import SHARES, delay_quantiles
from stats.dependence import dependence
from stats.design import Design, History
from stats.guardrails import Slow, guardrails
from stats.headline import arrivals_per_day, headline
from stats.served import served
from stats.shape import as_dict
from stats.slices import slices
from store.latencies import SLOW_US
from store.unit_columns import UnitColumns

SCHEMA = "abctl.report/1"
_PACE_US = 7 * DAY_US


def shape_of(rows: Rows, question: Question) -> dict[str, Any]:
    """Everything that docs/report.md names."""
    found, judged = rows.found, rows.judged
    design, counts = design_of(found), counts_of(found.experiment, found.columns, judged.cohort)
    history, closed = known_before(design, found, judged), closed_units(found, judged)
    told = judging.report(design, judged.units, counts, found.stages, history, closed)
    whole = as_dict(told)
    first = _headline(design, told, found, judged)
    arrived = resolution_of(design, found, judged)
    table = window(found, judged, rows.since_us)
    return {
        "schema": SCHEMA,
        "experiment": question.key,
        "days": question.days,
        "as_of": rfc3339(judged.now_us),
        "fill": judged.fill,
        "headline": first,
        "split": split_shape(found.split),
        **whole,
        "history": history_shape(design, found, history),
        **_described(design, told, history, found, judged),
        "resolution": asdict(arrived),
        "guardrails": [
            asdict(row) for row in guardrails(design, judged.units, arrived, _slow(found, judged))
        ],
        "slices": _slices(design, history, rows, question),
        "window": with_latencies(with_edges(table, rows.edges), rows.latencies),
        "excluded": _excluded(found.columns, judged) | found.odd,
        "warnings": [
            *whole["warnings"],
            *([arrived.sentence] if arrived.sentence else []),
            *_warnings(found, judged),
        ],
    }


def _headline(design: Design, told: judging.Report, found: Read, judged: Judged) -> dict[str, Any]:
    columns = found.columns
    pair = columns.arm.each(lambda arm: arm in {design.control, design.treatment}, np.bool_)
    pair &= ~judged.cohort.excluded
    per_day = arrivals_per_day(columns.first_at_us[pair], judged.now_us, _PACE_US)
    return asdict(headline(design, told, per_day, judged.now_us))


def _described(
    design: Design, told: judging.Report, history: History, found: Read, judged: Judged
) -> dict[str, Any]:
    """What explains the effect and decides nothing."""
    units, rows = judged.units, judged.rows
    path = curves(
        design,
        units,
        judged.cohort.matured_at_us[rows],
        {told.metric: told.effect, "pnl": told.pnl_effect},
        history,
    )
    return {
        "dependence": asdict(dependence(design, units, found.columns.started_at_us[rows])),
        "served": asdict(served(design, units, history, told.effect)),
        "curves": asdict(path),
        "delays": _delays(found, judged),
    }


def _delays(found: Read, judged: Judged) -> dict[str, Any]:
    """From a unit's start to its last outcome, of those that came too late as well."""
    columns, arms = found.columns, found.experiment.arms
    late = judged.cohort.late & (columns.fill == judged.fill)
    rows = np.flatnonzero(judged.mask | late)
    arm = arm_index(found.experiment, columns.arm[rows])
    taken_us = columns.settled_at_us[rows] - columns.started_at_us[rows]
    return {"shares": SHARES, "seconds": delay_quantiles(arm, taken_us, arms)}


def _slow(found: Read, judged: Judged) -> Slow:
    """Of the judged units."""
    columns, rows = found.columns, judged.rows
    return Slow(SLOW_US / 1000, columns.timed[rows], columns.slow[rows])


def _slices(design: Design, history: History, rows: Rows, question: Question) -> dict[str, Any] | None:
    found, judged = rows.found, rows.judged
    if question.by is None or found.named is None:
        return None
    names = slice_names(question.by, found.experiment, found.named, found.bots, found.promotions)
    picked = [names[row] for row in judged.rows.tolist()]
    return asdict(slices(design, judged.units, question.by, picked, history))


def design_of(found: Read) -> Design:
    """How the experiment is judged."""
    experiment = found.experiment
    return Design(
        arms=experiment.arms,
        control=experiment.control,
        treatment=experiment.treatment,
        metric=experiment.metric,
        alpha=experiment.alpha,
        started_us=found.stages[0].started_us,
        unit_name=experiment.unit_kind,
        attribution_s=experiment.attribution_s,
        win="with a net profit" if experiment.win == "pnl" else "reported as won",
        looked_at="once" if experiment.imported else "often",
        v_plan_units=experiment.plan_units,
        pnl_margin_usd=experiment.pnl_margin_usd,
        gate=experiment.gate,
        looks=experiment.looks,
        until_us=None if experiment.until is None else instant_us(experiment.until, "until"),
    )


def _excluded(columns: UnitColumns, judged: Judged) -> dict[str, int]:
    """Units that are left out, by reason, and oddities that are counted though nothing is left out."""
    cohort = judged.cohort
    reasons = columns.excluded[cohort.excluded].counts()
    counts = {reason: reasons[reason] for reason in ("forced", "killed", "ineligible")}
    counts["beyond_range"] = int(cohort.beyond.sum())
    counts["other_fill"] = int((cohort.mature & ~judged.mask).sum())
    counts["mixed_fill"] = int((columns.fill == "mixed").sum())
    counts["contaminated"] = int(columns.contaminated.sum())
    counts["start_conflicts"] = int((columns.start_conflicts > 0).sum())
    counts["late"] = int(cohort.late.sum())
    counts["reused"] = int(cohort.reused.sum())
    counts["unserved"] = int((columns.unserved > 0).sum())
    return counts


def _warnings(found: Read, judged: Judged) -> list[str]:
    said = remarks.remarks(found.experiment, found.columns, judged.cohort, found.odd, found.promotions)
    fills = remarks.other_fills(found.columns, judged.cohort, judged.fill)
    return [*fills, *remarks.clocks(found.columns, judged.now_us), *said]
