"""Decisions as SQL rows: of each id the first in (received_at, journal, position) stays.

One that is sent again is a duplicate. One of another unit is none, but an answer without a row: it is handed
back, so that it is kept elsewhere and counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, and_, delete, select

from store import tables
from store.bulk import Row, add_new
from store.lookup import EXPERIMENT, Lookup
from store.records import Decision
from store.sql import table_of

_TABLE = table_of(tables.Decision)
_DERIVED = {"weights", "prob_hold", "prob_buy", "prob_sell", "schema_hash", "journal_id", "position"}
_OWN = _TABLE.c.experiment == EXPERIMENT
_WHOLE = Lookup(select(_TABLE).where(_OWN), _TABLE.c.decision_id)
_PLACE = ("received_at_us", "journal_id", "position")
_PLACES = Lookup(
    select(*(_TABLE.c[name] for name in ("decision_id", "unit", *_PLACE))).where(_OWN), _TABLE.c.decision_id
)
_COPIED = tuple(c.name for c in _TABLE.columns if c.name not in _DERIVED)


@dataclass(frozen=True, slots=True)
class StoredDecisions:
    """What a batch changed. new: rows of ids that SQL did not have.

    moved: decisions that took the place of a later one of their id. robbed: units that lost one so.
    reused: decisions without a row, because another unit has their id.
    """

    new: Sequence[Row] = ()
    moved: Sequence[Row] = ()
    robbed: frozenset[str] = frozenset()
    reused: Sequence[Row] = ()
    duplicates: int = 0


def store(connection: Connection, experiment: str, decisions: Sequence[Row]) -> StoredDecisions:
    """Settles a batch of one experiment against what is there."""
    first: dict[str, Row] = {}
    for row in sorted(decisions, key=place):
        first.setdefault(row["decision_id"], row)
    new = add_new(connection, _TABLE, list(first.values()), ("decision_id",))
    if len(new) == len(decisions):
        return StoredDecisions(new)
    added = {row["decision_id"] for row in new}
    known = [row for decision_id, row in first.items() if decision_id not in added]
    held = {row["decision_id"]: row for row in _held(connection, experiment, known)}
    moved = [row for row in known if place(row) < place(held[row["decision_id"]])]
    lost = _ousted(connection, experiment, moved, held)
    _replace(connection, experiment, moved)
    stays = held | {row["decision_id"]: row for row in [*new, *moved]}
    reused = [row for row in decisions if row["unit"] != stays[row["decision_id"]]["unit"]]
    robbed = frozenset(held[row["decision_id"]]["unit"] for row in moved)
    return StoredDecisions(new, moved, robbed, [*reused, *lost], len(decisions) - len(new) - len(reused))


def _ousted(
    connection: Connection, experiment: str, moved: Sequence[Row], held: Mapping[str, Row]
) -> list[Row]:
    """The decisions of other units whose rows are about to be replaced."""
    ids = [row["decision_id"] for row in moved if row["unit"] != held[row["decision_id"]]["unit"]]
    return [row._asdict() for row in _WHOLE.rows(connection, experiment, ids)]


def _replace(connection: Connection, experiment: str, rows: Sequence[Row]) -> None:
    for row in rows:
        key = and_(_TABLE.c.experiment == experiment, _TABLE.c.decision_id == row["decision_id"])
        connection.execute(delete(_TABLE).where(key))
        connection.execute(_TABLE.insert(), row)


def _held(connection: Connection, experiment: str, rows: Sequence[Row]) -> Iterator[Row]:
    ids = [row["decision_id"] for row in rows]
    return (row._asdict() for row in _PLACES.rows(connection, experiment, ids))


def place(row: Row) -> tuple[int, str, int]:
    """What decides which of two rows came first: total, and the same on every node."""
    return (row["received_at_us"], row["journal_id"], row["position"])


def row_of(record: Decision, journal_id: str, position: int) -> Row:
    """The columns of tables.Decision, of a record at its place in a journal."""
    row = msgspec.structs.asdict(record)
    row["weights"] = msgspec.json.encode(row["weights"]).decode()
    row["prob_hold"], row["prob_buy"], row["prob_sell"] = row.pop("probs")
    row["schema_hash"] = row.pop("schema")
    row["journal_id"], row["position"] = journal_id, position
    return row


def record_of(row: Row) -> Decision:
    """The decision that `row_of` made the row of."""
    return Decision(
        **{name: row[name] for name in _COPIED},
        weights=msgspec.json.decode(row["weights"], type=dict[str, float]),
        probs=(row["prob_hold"], row["prob_buy"], row["prob_sell"]),
        schema=row["schema_hash"],
    )
