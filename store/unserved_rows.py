"""Refused decisions as SQL rows: each once, known by its place in the journal."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from store import tables
from store.bulk import Row, add_new
from store.records import Unserved
from store.sql import table_of
from store.stamped import Stamped

_TABLE = table_of(tables.Unserved)
_COPIED = tuple(c.name for c in _TABLE.columns if c.name not in {"weights", "journal_id", "position"})


def store(connection: Connection, refusals: Sequence[Stamped[Unserved]]) -> list[Row]:
    """Adds a batch of one experiment; returns the rows that SQL did not have."""
    return add_new(connection, _TABLE, [row_of(s) for s in refusals], ("journal_id", "position"))


def row_of(stamped: Stamped[Unserved]) -> Row:
    """The columns of tables.Unserved."""
    record = stamped.record
    row = {name: getattr(record, name) for name in _COPIED}
    row["weights"] = msgspec.json.encode(record.weights).decode()
    row["journal_id"], row["position"] = stamped.journal_id, stamped.position
    return row
