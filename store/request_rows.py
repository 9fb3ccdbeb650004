"""What was asked in units, answered or refused, in one shape: what totals are made from.

A request that was refused has neither `served_arm` nor `latency_us`; its `reason` is what a decision would
have said of a kill.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    CompoundSelect,
    Connection,
    Select,
    String,
    case,
    cast,
    null,
    select,
    union_all,
)
from sqlalchemy.sql.elements import ColumnElement

from store import tables
from store.bulk import Row, chunks
from store.sql import table_of
from store.unit_spans import Span

_DECISIONS = table_of(tables.Decision)
_REFUSALS = table_of(tables.Unserved)
_STREAMED_ROWS = 2_000
_KILLED = "killed"
_NAMES = (
    "experiment",
    "unit",
    "bot",
    "arm",
    "served_arm",
    "reason",
    "split_version",
    "weights",
    "forced",
    "eligible",
    "split_stale",
    "received_at_us",
    "started_at_us",
    "sent_started_at_us",
    "latency_us",
    "journal_id",
    "position",
)


def is_answered(row: Row) -> bool:
    """Whether it is a decision."""
    return row["served_arm"] is not None


def refused(row: Row) -> Row:
    """A row of tables.Unserved as a request."""
    reason = _KILLED if row["killed"] else row["reason"]
    return {**row, "served_arm": None, "latency_us": None, "reason": reason}


def of_units(connection: Connection, experiment: str, units: Sequence[str]) -> Iterator[Row]:
    """All requests of these units."""
    for chunk in chunks(units):
        wanted = (
            (table.c.experiment == experiment) & table.c.unit.in_(chunk) for table in (_DECISIONS, _REFUSALS)
        )
        yield from (dict(row) for row in connection.execute(_both(*wanted)).mappings())


def of_span(connection: Connection, span: Span) -> Iterator[Row]:
    """The same of all units of a span, sorted by unit and place, and never all in memory."""
    both = _both(span.holds(_DECISIONS), span.holds(_REFUSALS))
    c = both.selected_columns
    ordered = both.order_by(c.unit, c.received_at_us, c.journal_id, c.position)
    found = connection.execute(ordered, execution_options={"yield_per": _STREAMED_ROWS})
    return (dict(row) for row in found.mappings())


def _both(decisions: ColumnElement[bool], refusals: ColumnElement[bool]) -> CompoundSelect[Any]:
    answered: Select[Any] = select(*(_DECISIONS.c[name] for name in _NAMES)).where(decisions)
    return union_all(answered, select(*map(_of_refusal, _NAMES)).where(refusals))


def _of_refusal(name: str) -> ColumnElement[Any]:
    if name == "served_arm":
        return cast(null(), String).label(name)
    if name == "latency_us":
        return cast(null(), BigInteger).label(name)
    if name == "reason":
        return case((_REFUSALS.c.killed, _KILLED), else_=_REFUSALS.c.reason).label(name)
    return _REFUSALS.c[name]
