"""What SQL holds for a report: all that is read, and nothing that is judged. Imports no statistics."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import Connection

from router.assignment import Split
from router.cohort import Bools, Cohort, cohort_of, first_fill, order_of, stage_index, units_of
from router.question import Question
from router.split_log import history_of
from stats.units import Stage, Units
from store import experiments, models, records
from store.models import AliasChange
from store.named_units import NamedUnits, bots_of_units, read_named_units
from store.oddities import odd_counts
from store.records import Experiment
from store.trade_edges import Edge, Matured, trade_edges
from store.unit_columns import UnitColumns, columns_of, fetch_units

DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Read:
    """What SQL says. Units are read before splits, so no unit has a version that is not there.

    named: the units again, with their names and bots, where slices need them. edges: by fill and arm.
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
    """All of it. edges: what trades of the window brought over their price, by arm; since_us: its begin."""

    found: Read
    judged: Judged
    since_us: int
    edges: dict[str, Edge]


def rows_of(connection: Connection, question: Question, now_us: int) -> Rows:
    """Everything that the report of a moment is made from."""
    since_us = now_us - question.days * DAY_US
    found = _read(connection, question, since_us, now_us)
    judged = _judged(found, question, now_us)
    edges = {arm: edge for (fill, arm), edge in found.edges.items() if fill == judged.fill}
    return Rows(found, judged, since_us, edges)


def _read(connection: Connection, question: Question, since_us: int, now_us: int) -> Read:
    """Unit totals and splits; never the decisions. Units become columns while SQL answers other questions."""
    key = question.key
    experiment = experiments.get(connection, key)
    named = None if question.by is None else read_named_units(connection, key)
    with ThreadPoolExecutor(1, "columns") as aside:
        columns = aside.submit(_columns(connection, key, named))
        bots = bots_of_units(connection, key) if question.by == "bot" else {}
        stored = experiments.splits(connection, key)
        starts = experiments.stage_starts(connection, key)
        odd = odd_counts(connection, key)
        promotions = models.alias_history(connection)
        edges = trade_edges(connection, _matured(experiment, since_us, now_us))
    split = history_of(experiment, stored)[-1]
    stages = _stages(experiment, columns.result(), stored, starts)
    return Read(experiment, columns.result(), split, stages, odd, promotions, named, bots, edges)


def _columns(connection: Connection, key: str, named: NamedUnits | None) -> Callable[[], UnitColumns]:
    """How to make the columns of what SQL says now; asks it nothing later."""
    if named is not None:
        return lambda: named.columns
    return partial(columns_of, fetch_units(connection, key))


def _judged(found: Read, question: Question, now_us: int) -> Judged:
    cohort = cohort_of(found.experiment, found.columns, now_us)
    fill = question.fill or first_fill(found.columns, cohort)
    mask = cohort.mature & (found.columns.fill == fill)
    units = units_of(found.experiment, found.columns, cohort, mask, found.stages)
    return Judged(now_us, fill, cohort, mask, order_of(cohort, mask), units)


def _matured(experiment: Experiment, since_us: int, now_us: int) -> Matured:
    span_us = (experiment.unit_duration_s + experiment.attribution_s) * 1_000_000
    return Matured(experiment.key, since_us, now_us, span_us)


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
