"""Decisions as SQL rows: inserted once, never changed."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from store import tables
from store.records import Decision
from store.sql import insert_new, table_of
from store.stamped import Stamped

_TABLE = table_of(tables.Decision)
_COPIED = tuple(
    c.name
    for c in _TABLE.columns
    if c.name
    not in {"weights", "prob_hold", "prob_buy", "prob_sell", "schema_hash", "journal_id", "position"}
)


def store(connection: Connection, decisions: Sequence[Stamped[Decision]]) -> list[Stamped[Decision]]:
    """Inserts what is new by (experiment, decision_id) and returns exactly that; the first of a key stays."""
    if not decisions:
        return []
    first: dict[str, Stamped[Decision]] = {}
    for stamped in sorted(decisions, key=lambda s: s.order):
        first.setdefault(stamped.record.decision_id, stamped)
    statement = insert_new(connection, _TABLE).returning(_TABLE.c.decision_id)
    inserted = connection.execute(statement, [row_of(s) for s in first.values()]).scalars()
    return [first[decision_id] for decision_id in inserted]


def row_of(stamped: Stamped[Decision]) -> dict[str, Any]:
    """The columns of tables.Decision."""
    record = stamped.record
    row = {name: getattr(record, name) for name in _COPIED}
    row["weights"] = msgspec.json.encode(record.weights).decode()
    row["prob_hold"], row["prob_buy"], row["prob_sell"] = record.probs
    row["schema_hash"] = record.schema
    row["journal_id"] = stamped.journal_id
    row["position"] = stamped.position
    return row
