"""Refused decisions as SQL rows: each once, known by its place in the journal."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from store import tables
from store.bulk import Row, add_new
from store.records import Unserved
from store.sql import table_of

_TABLE = table_of(tables.Unserved)
_COPIED = tuple(c.name for c in _TABLE.columns if c.name not in {"weights", "journal_id", "position"})


def store(connection: Connection, refusals: Sequence[Row]) -> list[Row]:
    """Adds a batch of one experiment; returns the rows that SQL did not have."""
    return add_new(connection, _TABLE, refusals, ("journal_id", "position"))


def row_of(record: Unserved, journal_id: str, position: int) -> Row:
    """The columns of tables.Unserved, of a record at its place in a journal."""
    row = {name: getattr(record, name) for name in _COPIED}
    row["weights"] = msgspec.json.encode(record.weights).decode()
    row["journal_id"], row["position"] = journal_id, position
    return row
