"""Builds the report of an experiment from unit totals: one function behind HTTP and CLI. Knows no FastAPI."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine

from router import remarks
from router.assignment import Split
from router.cohort import Bools, Cohort, cohort_of, counts_of, first_fill, order_of, stage_index, units_of
from router.question import Question
from router.slicing import slice_names
from router.split_log import history_of
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
from stats.units import Stage, Units
from store import experiments, models, records
from store.as_of import as_of
from store.models import AliasChange
from store.named_units import NamedUnits, bots_of_units, read_named_units
from store.oddities import odd_counts
from store.records import Experiment, Fill
from store.trade_edges import Matured, trade_edges
from store.unit_columns import UnitColumns, read_units

SCHEMA = "abctl.report/1"
_DAY_US = 86_400_000_000
_PACE_US = 7 * _DAY_US
_HISTORY = History()


@dataclass(frozen=True, slots=True)
class Read:
    """What SQL says. Units are read before splits, so no unit has a version that is not there.

    named: the units again, with their names and bots, where slices need them.
    """

    experiment: Experiment
    columns: UnitColumns
    split: Split
    stages: list[Stage]
    odd: dict[str, int]
    promotions: list[AliasChange]
    named: NamedUnits | None
    bots: dict[str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """Units by how far they are. units: the mature ones of the judged fill, at `rows` of the columns."""

    now_us: int
    fill: str
    cohort: Cohort
    mask: Bools
    rows: np.ndarray[Any, np.dtype[np.int64]]
    units: Units


def build_report(
    engine: Engine, key: str, days: int, now_us: int, fill: Fill | None = None
) -> dict[str, Any]:
    """The report of now, without slices."""
    return report_of(engine, Question(key=key, days=days, fill=fill), now_us)


def report_of(engine: Engine, question: Question, now_us: int) -> dict[str, Any]:
    """The report in its JSON shape (docs/report.md), as it is or was; now_us: the present."""
    if question.as_of_us is None:
        with engine.connect() as connection:
            return _built(connection, question, now_us)
    with as_of(engine, question.key, question.as_of_us, now_us) as connection:
        return _built(connection, question, question.as_of_us)


def _built(connection: Connection, question: Question, now_us: int) -> dict[str, Any]:
    found = read(connection, question)
    judged = _judged(found, question, now_us)
    design, counts = _design(found), counts_of(found.experiment, found.columns, judged.cohort)
    told = judging.report(design, judged.units, counts, found.stages)
    whole = as_dict(told)
    first = _headline(design, told, found, judged)
    since_us = now_us - question.days * _DAY_US
    table = window(found.experiment, found.columns, judged.cohort, judged.mask, found.stages, since_us)
    edges = trade_edges(connection, _matured(found.experiment, judged, since_us))
    return {
        "schema": SCHEMA,
        "experiment": question.key,
        "days": question.days,
        "as_of": rfc3339(now_us),
        "fill": judged.fill,
        "headline": first,
        "split": split_shape(found.split),
        **whole,
        **_described(design, told, found, judged),
        "slices": _slices(design, found, judged, question),
        "window": with_edges(table, edges),
        "excluded": _excluded(found.columns, judged) | found.odd,
        "warnings": [*whole["warnings"], *_warnings(found, judged)],
    }


def read(connection: Connection, question: Question) -> Read:
    """Unit totals and splits; never the decisions."""
    key = question.key
    experiment = experiments.get(connection, key)
    named = None if question.by is None else read_named_units(connection, key)
    columns = read_units(connection, key) if named is None else named.columns
    bots = bots_of_units(connection, key) if question.by == "bot" else {}
    stored = experiments.splits(connection, key)
    starts = experiments.stage_starts(connection, key)
    stages = _stages(experiment, columns, stored, starts)
    split = history_of(experiment, stored)[-1]
    odd = odd_counts(connection, key)
    return Read(experiment, columns, split, stages, odd, models.alias_history(connection), named, bots)


def _judged(found: Read, question: Question, now_us: int) -> Judged:
    cohort = cohort_of(found.experiment, found.columns, now_us)
    fill = question.fill or first_fill(found.columns, cohort)
    mask = cohort.mature & (found.columns.fill == fill)
    units = units_of(found.experiment, found.columns, cohort, mask, found.stages)
    return Judged(now_us, fill, cohort, mask, order_of(cohort, mask), units)


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


def _matured(experiment: Experiment, judged: Judged, since_us: int) -> Matured:
    span_us = (experiment.unit_duration_s + experiment.attribution_s) * 1_000_000
    return Matured(experiment.key, judged.fill, since_us, judged.now_us, span_us)


def _stages(
    experiment: Experiment,
    columns: UnitColumns,
    stored: Sequence[records.Split],
    starts: Sequence[tuple[int, int]],
) -> list[Stage]:
    """The stages with the units that were assigned in each, mature or not, excluded ones left out."""
    by_version = {split.version: experiments.weights(split) for split in stored}
    counted = columns.excluded == None  # noqa: E711 - element by element
    index = stage_index(columns, [version for version, _ in starts])
    stages = []
    for i, (version, started_us) in enumerate(starts):
        arms = Counter(columns.arm[counted & (index == i)].tolist())
        weights = tuple(by_version[version].get(arm, 0.0) for arm in experiment.arms)
        stages.append(Stage(version, weights, tuple(arms[a] for a in experiment.arms), started_us))
    return stages


def _design(found: Read) -> Design:
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
    return [*remarks.other_fills(found.columns, judged.cohort, judged.fill), *said]
