"""Decisions as SQL rows: of each id the first in (received_at, journal, position) stays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, and_, delete, select

from store import tables
from store.bulk import Row, add_new, chunks
from store.records import Decision
from store.sql import table_of
from store.stamped import Stamped
from store.unit_spans import Span

_TABLE = table_of(tables.Decision)
_DERIVED = {"weights", "prob_hold", "prob_buy", "prob_sell", "schema_hash", "journal_id", "position"}
_COPIED = tuple(c.name for c in _TABLE.columns if c.name not in _DERIVED)
_STREAMED_ROWS = 2_000
_FOR_TOTALS = (
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
    "journal_id",
    "position",
)


@dataclass(frozen=True, slots=True)
class StoredDecisions:
    """What a batch changed. new: rows of ids that SQL did not have.

    moved: decisions that took the place of a later one of their id. robbed: units that lost one so.
    """

    new: Sequence[Row] = ()
    moved: Sequence[Row] = ()
    robbed: frozenset[str] = frozenset()
    duplicates: int = 0


def store(connection: Connection, experiment: str, decisions: Sequence[Stamped[Decision]]) -> StoredDecisions:
    """Settles a batch of one experiment against what is there."""
    first: dict[str, Row] = {}
    for stamped in sorted(decisions, key=lambda s: s.order):
        if stamped.record.decision_id not in first:
            first[stamped.record.decision_id] = row_of(stamped)
    new = add_new(connection, _TABLE, list(first.values()), ("decision_id",))
    added = {row["decision_id"] for row in new}
    moved, robbed = _replace_later(connection, experiment, [r for k, r in first.items() if k not in added])
    return StoredDecisions(new, moved, robbed, len(decisions) - len(new))


def _replace_later(
    connection: Connection, experiment: str, rows: Sequence[Row]
) -> tuple[list[Row], frozenset[str]]:
    held = {row["decision_id"]: row for row in _held(connection, experiment, rows)}
    earlier = [row for row in rows if place(row) < place(held[row["decision_id"]])]
    for row in earlier:
        key = and_(_TABLE.c.experiment == experiment, _TABLE.c.decision_id == row["decision_id"])
        connection.execute(delete(_TABLE).where(key))
        connection.execute(_TABLE.insert(), row)
    return earlier, frozenset(held[row["decision_id"]]["unit"] for row in earlier)


def _held(connection: Connection, experiment: str, rows: Sequence[Row]) -> Iterator[Row]:
    c = _TABLE.c
    query = select(c.decision_id, c.unit, c.received_at_us, c.journal_id, c.position)
    for chunk in chunks([row["decision_id"] for row in rows]):
        found = query.where(c.experiment == experiment, c.decision_id.in_(chunk))
        yield from (dict(row) for row in connection.execute(found).mappings())


def of_units(connection: Connection, experiment: str, units: Sequence[str]) -> Iterator[Row]:
    """All decisions of these units, as far as totals need them."""
    c = _TABLE.c
    query = select(*(c[name] for name in _FOR_TOTALS))
    for chunk in chunks(units):
        found = connection.execute(query.where(c.experiment == experiment, c.unit.in_(chunk)))
        yield from (dict(row) for row in found.mappings())


def of_span(connection: Connection, span: Span) -> Iterator[Row]:
    """The same of all units of a span, sorted by unit and place, and never all in memory."""
    c = _TABLE.c
    query = select(*(c[name] for name in _FOR_TOTALS)).where(span.holds(_TABLE))
    ordered = query.order_by(c.unit, c.received_at_us, c.journal_id, c.position)
    found = connection.execute(ordered, execution_options={"yield_per": _STREAMED_ROWS})
    return (dict(row) for row in found.mappings())


def place(row: Row) -> tuple[int, str, int]:
    """What decides which of two rows came first: total, and the same on every node."""
    return (row["received_at_us"], row["journal_id"], row["position"])


def row_of(stamped: Stamped[Decision]) -> Row:
    """The columns of tables.Decision."""
    record = stamped.record
    row = {name: getattr(record, name) for name in _COPIED}
    row["weights"] = msgspec.json.encode(record.weights).decode()
    row["prob_hold"], row["prob_buy"], row["prob_sell"] = record.probs
    row["schema_hash"] = record.schema
    row["journal_id"] = stamped.journal_id
    row["position"] = stamped.position
    return row
