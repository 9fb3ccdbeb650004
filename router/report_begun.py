"""What a report asks SQL for, all of it in one go, while a process that is new still loads its statistics.

Imports no numpy: the columns of the units are made aside, by whom numpy is loaded.
"""

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from router.question import Question
from store import experiments, models, records
from store.latencies import Latencies, latencies
from store.models import AliasChange
from store.oddities import Counted, odd_counts
from store.records import Experiment
from store.trade_edges import Edge, Matured, trade_edges
from store.unit_texts import UnitTexts, fetch_units

if TYPE_CHECKING:
    from store.unit_columns import UnitColumns

DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Told:
    """What SQL says beside the units. edges, latencies: of the window, by fill and arm."""

    stored: Sequence[records.Split]
    starts: Sequence[tuple[int, int]]
    odd: dict[str, int]
    promotions: list[AliasChange]
    edges: dict[tuple[str, str], Edge]
    latencies: dict[tuple[str, str], Latencies]


@dataclass(frozen=True, slots=True)
class Begun:
    """asked: the columns to come, and the rest; None where slices, or blocks of families, need the units by
    name: then they are read row by row.
    """

    experiment: Experiment
    asked: "tuple[Future[UnitColumns], Told] | None"


def begun(connection: Connection, question: Question, now_us: int, aside: Executor) -> Begun:
    """The units first, for theirs is the longest question; they become columns during the others."""
    experiment = experiments.get(connection, question.key)
    if question.by is not None or is_by_family(experiment):
        return Begun(experiment, None)
    texts = fetch_units(connection, question.key)
    columns = aside.submit(_columns, texts)
    return Begun(experiment, (columns, told(connection, experiment, question, now_us, texts.counted)))


def told(
    connection: Connection, experiment: Experiment, question: Question, now_us: int, units: Counted
) -> Told:
    """Never reads decisions. Ask after the units, so that no unit has a version that is not there."""
    key = experiment.key
    matured = _matured(experiment, now_us - question.days * DAY_US, now_us)
    return Told(
        experiments.splits(connection, key),
        experiments.stage_starts(connection, key),
        odd_counts(connection, key, units),
        models.alias_history(connection),
        trade_edges(connection, matured),
        latencies(connection, matured),
    )


def is_by_family(experiment: Experiment) -> bool:
    """Whether a unit's name says which coin it had."""
    return experiment.assignment == "switchback" and experiment.block_by == "family"


def _matured(experiment: Experiment, since_us: int, now_us: int) -> Matured:
    span_us = (experiment.unit_duration_s + experiment.attribution_s) * 1_000_000
    return Matured(experiment.key, since_us, now_us, span_us)


def _columns(texts: UnitTexts) -> "UnitColumns":
    from store.unit_columns import columns_of

    return columns_of(texts)
