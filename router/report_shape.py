"""The report's JSON shape, from what SQL says: the judgement and its descriptions. Asks no database."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from router import remarks
from router.cohort import counts_of
from router.question import Question
from router.report_rows import DAY_US, Judged, Read, Rows
from router.slicing import slice_names
from router.splits import rfc3339, split_shape
from router.window import window, with_edges
from stats import report as judging
from stats.curves import curves
from stats.delays import SHARES, delay_quantiles
from stats.dependence import dependence
from stats.design import Design, History
from stats.headline import arrivals_per_day, headline
from stats.served import served
from stats.shape import as_dict
from stats.slices import slices
from store.unit_columns import UnitColumns

SCHEMA = "abctl.report/1"
_PACE_US = 7 * DAY_US
_HISTORY = History()


def shape_of(rows: Rows, question: Question) -> dict[str, Any]:
    """Everything that docs/report.md names."""
    found, judged = rows.found, rows.judged
    design, counts = design_of(found), counts_of(found.experiment, found.columns, judged.cohort)
    told = judging.report(design, judged.units, counts, found.stages)
    whole = as_dict(told)
    first = _headline(design, told, found, judged)
    table = window(found.experiment, found.columns, judged.cohort, judged.mask, found.stages, rows.since_us)
    return {
        "schema": SCHEMA,
        "experiment": question.key,
        "days": question.days,
        "as_of": rfc3339(judged.now_us),
        "fill": judged.fill,
        "headline": first,
        "split": split_shape(found.split),
        **whole,
        **_described(design, told, found, judged),
        "slices": _slices(design, found, judged, question),
        "window": with_edges(table, rows.edges),
        "excluded": _excluded(found.columns, judged) | found.odd,
        "warnings": [*whole["warnings"], *_warnings(found, judged)],
    }


def _headline(design: Design, told: judging.Report, found: Read, judged: Judged) -> dict[str, Any]:
    columns = found.columns
    pair = np.isin(columns.arm, (design.control, design.treatment)) & ~judged.cohort.excluded
    per_day = arrivals_per_day(columns.first_at_us[pair], judged.now_us, _PACE_US)
    return asdict(headline(design, told, per_day, judged.now_us))


def _described(design: Design, told: judging.Report, found: Read, judged: Judged) -> dict[str, Any]:
    """What explains the effect and decides nothing."""
    units, rows = judged.units, judged.rows
    path = curves(
        design,
        units,
        judged.cohort.matured_at_us[rows],
        {told.metric: told.effect, "pnl": told.pnl_effect},
        _HISTORY,
    )
    return {
        "dependence": asdict(dependence(design, units, found.columns.started_at_us[rows])),
        "served": asdict(served(design, units, _HISTORY)),
        "curves": asdict(path),
        "delays": _delays(found, judged),
    }


def _delays(found: Read, judged: Judged) -> dict[str, Any]:
    """From a unit's start to its last outcome, of those that came too late as well."""
    columns, arms = found.columns, found.experiment.arms
    late = judged.cohort.late & (columns.fill == judged.fill)
    rows = np.flatnonzero(judged.mask | late)
    index = {arm: i for i, arm in enumerate(arms)}
    arm = np.array([index[name] for name in columns.arm[rows]], dtype=np.int64)
    taken_us = columns.settled_at_us[rows] - columns.started_at_us[rows]
    return {"shares": SHARES, "seconds": delay_quantiles(arm, taken_us, arms)}


def _slices(design: Design, found: Read, judged: Judged, question: Question) -> dict[str, Any] | None:
    if question.by is None or found.named is None:
        return None
    names = slice_names(question.by, found.experiment, found.named, found.bots, found.promotions)
    picked = [names[row] for row in judged.rows.tolist()]
    return asdict(slices(design, judged.units, question.by, picked, _HISTORY))


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
    )


def _excluded(columns: UnitColumns, judged: Judged) -> dict[str, int]:
    """Units that are left out, by reason, and oddities that are counted though nothing is left out."""
    cohort = judged.cohort
    reasons = Counter(columns.excluded[cohort.excluded].tolist())
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
