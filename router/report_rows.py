"""What SQL holds for a report: all that is read, and nothing that is judged. Imports no statistics."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection

from router.assignment import Split
from router.cohort import Bools, Cohort, cohort_of, first_fill, order_of, stage_index, units_of
from router.question import Question
from router.report_begun import DAY_US, Begun, Told, begun, told
from router.split_log import history_of
from stats.units import Stage, Units
from store import experiments, records
from store.latencies import Latencies
from store.models import AliasChange
from store.named_units import NamedUnits, bots_of_units, read_named_units
from store.oddities import counted
from store.records import Experiment
from store.trade_edges import Edge
from store.unit_columns import UnitColumns


@dataclass(frozen=True, slots=True)
class Read:
    """What SQL says. Units are read before splits, so no unit has a version that is not there.

    named: the units again, with their names and bots, where slices need them. edges, latencies: of the
    window, by fill and arm.
    """

    experiment: Experiment
    columns: UnitColumns
    split: Split
    stages: list[Stage]
    odd: dict[str, int]
    promotions: list[AliasChange]
    named: NamedUnits | None
    bots: dict[str, str]
    edges: dict[tuple[str, str], Edge]
    latencies: dict[tuple[str, str], Latencies]


@dataclass(frozen=True, slots=True)
class Judged:
    """Units by how far they are. units: the mature ones of the judged fill, at `rows` of the columns."""

    now_us: int
    fill: str
    cohort: Cohort
    mask: Bools
    rows: np.ndarray[Any, np.dtype[np.int64]]
    units: Units


@dataclass(frozen=True, slots=True)
class Rows:
    """All of it. edges: what trades of the window brought over their price, by arm; latencies: how long its
    decisions took; since_us: its begin.
    """

    found: Read
    judged: Judged
    since_us: int
    edges: dict[str, Edge]
    latencies: dict[str, Latencies]


def rows_of(connection: Connection, question: Question, now_us: int) -> Rows:
    """Everything that the report of a moment is made from."""
    with ThreadPoolExecutor(1, "columns") as aside:
        return rows_from(connection, begun(connection, question, now_us, aside), question, now_us)


def rows_from(connection: Connection, asked: Begun, question: Question, now_us: int) -> Rows:
    """The same, where SQL has been asked."""
    found = _read(connection, asked, question, now_us)
    judged = judged_of(found, question, now_us)
    edges = {arm: edge for (fill, arm), edge in found.edges.items() if fill == judged.fill}
    took = {arm: its for (fill, arm), its in found.latencies.items() if fill == judged.fill}
    return Rows(found, judged, now_us - question.days * DAY_US, edges, took)


def _read(connection: Connection, asked: Begun, question: Question, now_us: int) -> Read:
    """Unit totals and splits; never the decisions."""
    experiment = asked.experiment
    if asked.asked is not None:
        coming, its = asked.asked
        return _put_together(experiment, coming.result(), its, None, {})
    named = read_named_units(connection, experiment.key)
    bots = bots_of_units(connection, experiment.key) if question.by == "bot" else {}
    its = told(connection, experiment, question, now_us, counted(connection, experiment.key))
    return _put_together(experiment, named.columns, its, named, bots)


def _put_together(
    experiment: Experiment, columns: UnitColumns, its: Told, named: NamedUnits | None, bots: dict[str, str]
) -> Read:
    split = history_of(experiment, its.stored)[-1]
    stages = _stages(experiment, columns, its.stored, its.starts)
    rest = (its.odd, its.promotions, named, bots, its.edges, its.latencies)
    return Read(experiment, columns, split, stages, *rest)


def judged_of(found: Read, question: Question, now_us: int) -> Judged:
    """How far each unit was then."""
    cohort = cohort_of(found.experiment, found.columns, now_us)
    fill = question.fill or first_fill(found.columns, cohort)
    mask = cohort.mature & (found.columns.fill == fill)
    rows = order_of(cohort, mask)
    units = units_of(found.experiment, found.columns, cohort, rows, found.stages)
    return Judged(now_us, fill, cohort, mask, rows, units)


def _stages(
    experiment: Experiment,
    columns: UnitColumns,
    stored: Sequence[records.Split],
    starts: Sequence[tuple[int, int]],
) -> list[Stage]:
    """The stages with the units that were assigned in each, mature or not, excluded ones left out."""
    by_version = {split.version: experiments.weights(split) for split in stored}
    counted = columns.excluded == None  # noqa: E711 - element by element
    index = stage_index(columns.split_version, [version for version, _ in starts])
    stages = []
    for i, (version, started_us) in enumerate(starts):
        arms = columns.arm[counted & (index == i)].counts()
        weights = tuple(by_version[version].get(arm, 0.0) for arm in experiment.arms)
        stages.append(Stage(version, weights, tuple(arms[a] for a in experiment.arms), started_us))
    return stages
