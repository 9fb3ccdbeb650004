"""Outcomes as SQL rows: of each key the first in (received_at, journal, position) stays.

Law: the outcomes of a key fall into groups of equal content, each known by its earliest; the earliest group
is the outcome, the others are conflicts, kept for audit. So nothing depends on the order of arrival.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, and_, delete, select

from store import tables
from store.bulk import Row, add_new, set_columns
from store.decision_rows import place
from store.lookup import EXPERIMENT, Lookup
from store.records import MarketOutcome, TradeOutcome
from store.sql import table_of

_TABLE = table_of(tables.Outcome)
_CONFLICTS = table_of(tables.OutcomeConflict)
_DECISIONS = table_of(tables.Decision)
_PLACE = ("received_at_us", "journal_id", "position")
_NAMES = tuple(c.name for c in _TABLE.columns)
_BLANK: Row = dict.fromkeys(_NAMES)
_CONTENT = tuple(n for n in _NAMES if n not in (*_PLACE, "unit", "bot"))

_KINDS = ("market", "trade")
_HELD = Lookup(
    select(_TABLE).where(_TABLE.c.experiment == EXPERIMENT, _TABLE.c.kind.in_(_KINDS)), _TABLE.c.key
)
_LOST = Lookup(
    select(_CONFLICTS).where(_CONFLICTS.c.experiment == EXPERIMENT, _CONFLICTS.c.kind.in_(_KINDS)),
    _CONFLICTS.c.key,
)
_OPENING = Lookup(
    select(_DECISIONS.c.decision_id, _DECISIONS.c.unit, _DECISIONS.c.bot).where(
        _DECISIONS.c.experiment == EXPERIMENT
    ),
    _DECISIONS.c.decision_id,
)
_BEFORE = Lookup(
    select(_TABLE.c.key, _TABLE.c.unit, _TABLE.c.bot).where(
        _TABLE.c.experiment == EXPERIMENT, _TABLE.c.kind == "trade", _TABLE.c.unit.is_not(None)
    ),
    _TABLE.c.key,
)

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a batch of outcomes, and whose totals changed."""

    new: int = 0
    duplicates: int = 0
    conflicts: int = 0
    units: frozenset[str] = frozenset()


def market_key(unit: str, bot: str) -> str:
    """The key of a market outcome: injective, whatever the names hold."""
    return msgspec.json.encode([unit, bot]).decode()


def row_of(record: TradeOutcome | MarketOutcome, journal_id: str, position: int) -> Row:
    """The columns of tables.Outcome; the unit of a trade is filled in where its decision is known."""
    row = _BLANK | msgspec.structs.asdict(record)
    row["journal_id"], row["position"] = journal_id, position
    if isinstance(record, TradeOutcome):
        row["kind"], row["key"] = "trade", record.decision_id
    else:
        row["kind"], row["key"] = "market", market_key(record.unit, record.bot)
    return row


def content_of(row: Row) -> str:
    """Two outcomes of a key that say the same have the same content.

    Conflicts that were stored before there was a `winner` know no such column.
    """
    said = {name: row[name] for name in _CONTENT if name != "winner" or row[name] is not None}
    return msgspec.json.encode(said).decode()


def store(connection: Connection, experiment: str, outcomes: Sequence[Row]) -> Settled:
    """Settles a batch of one experiment against what is there. The batch's decisions are stored before."""
    if not outcomes:
        return Settled()
    rows = sorted(outcomes, key=place)
    _fill_units(connection, experiment, rows)
    firsts: dict[Key, Row] = {}
    for row in rows:
        firsts.setdefault((row["kind"], row["key"]), row)
    added = add_new(connection, _TABLE, list(firsts.values()), ("kind", "key"))
    units = frozenset(row["unit"] for row in rows if row["unit"] is not None)
    if len(added) == len(rows):
        return Settled(len(rows), units=units)
    conflicts = _contest(connection, experiment, _contested(rows, added))
    return Settled(len(added), len(rows) - len(added) - conflicts, conflicts, units)


def _contested(rows: Sequence[Row], added: Sequence[Row]) -> dict[Key, list[Row]]:
    """The keys that somebody else claims too, here or in SQL, and who does here."""
    by_key: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        by_key[row["kind"], row["key"]].append(row)
    fresh = {(row["kind"], row["key"]) for row in added}
    return {key: group for key, group in by_key.items() if key not in fresh or len(group) > 1}


def _contest(connection: Connection, experiment: str, contested: dict[Key, list[Row]]) -> int:
    """Settles keys that more than one outcome claims; returns how many contents are new conflicts."""
    keys = sorted({key for _, key in contested})
    holders = {(r["kind"], r["key"]): r for r in _existing(connection, experiment, keys)}
    losers: dict[Key, dict[str, Row]] = defaultdict(dict)
    for row in _existing_conflicts(connection, experiment, keys):
        losers[row["kind"], row["key"]][row["payload"]] = row
    new_conflicts = 0
    for key, rows in contested.items():
        holder = holders[key]
        held = {content_of(holder): holder} | losers[key]
        groups = earliest(held, rows)
        new_conflicts += len(groups) - len(held)
        if groups != held:
            _write(connection, holder, groups)
    return new_conflicts


def earliest(held: dict[str, Row], rows: Iterable[Row]) -> dict[str, Row]:
    """The earliest outcome of every content."""
    groups = dict(held)
    for row in rows:
        content = content_of(row)
        if content not in groups or place(row) < place(groups[content]):
            groups[content] = row
    return groups


def _write(connection: Connection, holder: Row, groups: dict[str, Row]) -> None:
    winner = min(groups, key=lambda content: place(groups[content]))
    names = ("experiment", "kind", "key")
    if groups[winner] is not holder:
        row = _outcome(holder, winner, groups[winner])
        connection.execute(delete(_TABLE).where(and_(*(_TABLE.c[n] == holder[n] for n in names))))
        connection.execute(_TABLE.insert(), row)
    connection.execute(delete(_CONFLICTS).where(and_(*(_CONFLICTS.c[n] == holder[n] for n in names))))
    lost = [
        {n: row[n] for n in (*names, *_PLACE)} | {"payload": content}
        for content, row in groups.items()
        if content != winner
    ]
    if lost:
        connection.execute(_CONFLICTS.insert(), lost)


def _outcome(holder: Row, content: str, row: Row) -> Row:
    """A row of tables.Outcome from an outcome row or a conflict row of the holder's key."""
    said = msgspec.json.decode(content, type=dict[str, object])
    kept = {"unit": holder["unit"], "bot": holder["bot"]}
    return said | kept | {name: row[name] for name in _PLACE}


def _existing(connection: Connection, experiment: str, keys: Sequence[str]) -> Iterator[Row]:
    return (row._asdict() for row in _HELD.rows(connection, experiment, keys))


def _existing_conflicts(connection: Connection, experiment: str, keys: Sequence[str]) -> Iterator[Row]:
    return (row._asdict() for row in _LOST.rows(connection, experiment, keys))


def _fill_units(connection: Connection, experiment: str, rows: Sequence[Row]) -> None:
    """Gives trades the unit of their decision; those whose decision has not arrived stay parked.

    Where the decision was pruned a trade of the same key that was stored before says whose it is.
    """
    wanted = sorted({r["decision_id"] for r in rows if r["kind"] == "trade"})
    units = {key: whose for key, *whose in _OPENING.rows(connection, experiment, wanted)}
    others = [key for key in wanted if key not in units]
    units |= {key: whose for key, *whose in _BEFORE.rows(connection, experiment, others)}
    for row in rows:
        if row["kind"] == "trade":
            row["unit"], row["bot"] = units.get(row["decision_id"], (None, None))


def unpark(
    connection: Connection, experiment: str, new: Sequence[Row], moved: Sequence[Row]
) -> frozenset[str]:
    """Gives trades that came before their decision its unit; returns the units concerned.

    A moved decision may have another unit than the one it replaced: its trades follow it.
    """
    if not new and not moved:
        return frozenset()
    query = select(_TABLE.c.decision_id).where(
        _TABLE.c.experiment == experiment, _TABLE.c.unit.is_(None), _TABLE.c.kind == "trade"
    )
    parked = set(connection.execute(query).scalars())
    owners = [row for row in new if row["decision_id"] in parked] + list(moved)
    claims = [
        {
            "experiment": experiment,
            "kind": "trade",
            "key": row["decision_id"],
            "unit": row["unit"],
            "bot": row["bot"],
        }
        for row in owners
    ]
    set_columns(connection, _TABLE, claims)
    return frozenset(row["unit"] for row in owners)
