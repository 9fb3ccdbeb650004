"""Outcomes as SQL rows: of each key the first in (received_at, journal, position) stays, others are kept for audit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, delete, select, update

from store import tables
from store.records import Decision, MarketOutcome, TradeOutcome
from store.sql import table_of
from store.stamped import Stamped

_TABLE = table_of(tables.Outcome)
_CONFLICTS = table_of(tables.OutcomeConflict)
_DECISIONS = table_of(tables.Decision)
_CHUNK = 400
_PLACE = ("received_at_us", "journal_id", "position")
_NAMES = tuple(c.name for c in _TABLE.columns)
_CONTENT = tuple(n for n in _NAMES if n not in (*_PLACE, "unit"))

Row = dict[str, Any]


@dataclass(slots=True)
class Settled:
    """What became of a batch of outcomes, and whose totals changed."""

    new: int = 0
    duplicates: int = 0
    conflicts: int = 0
    units: set[str] = field(default_factory=set)


def market_key(unit: str, bot: str) -> str:
    """The key of a market outcome: injective, whatever the names hold."""
    return msgspec.json.encode([unit, bot]).decode()


def row_of(stamped: Stamped[TradeOutcome | MarketOutcome]) -> Row:
    """The columns of tables.Outcome; the unit of a trade is filled in where its decision is known."""
    record = stamped.record
    row = {name: getattr(record, name, None) for name in _NAMES}
    row["journal_id"], row["position"] = stamped.journal_id, stamped.position
    if isinstance(record, TradeOutcome):
        row["kind"], row["key"] = "trade", record.decision_id
    else:
        row["kind"], row["key"] = "market", market_key(record.unit, record.bot)
    return row


def store(
    connection: Connection, experiment: str, outcomes: Sequence[Stamped[TradeOutcome | MarketOutcome]]
) -> Settled:
    """Settles a batch against what is there."""
    settled = Settled()
    if not outcomes:
        return settled
    rows = [row_of(s) for s in sorted(outcomes, key=lambda s: s.order)]
    _fill_units(connection, experiment, rows)
    held = {(r["kind"], r["key"]): r for r in _existing(connection, experiment, rows)}
    fresh: dict[tuple[str, str], Row] = {}
    for row in rows:
        _settle(connection, row, held, fresh, settled)
    if fresh:
        connection.execute(_TABLE.insert(), list(fresh.values()))
    settled.new = len(fresh)
    return settled


def _settle(
    connection: Connection,
    row: Row,
    held: dict[tuple[str, str], Row],
    fresh: dict[tuple[str, str], Row],
    settled: Settled,
) -> None:
    """One outcome against the holder of its key."""
    key = (row["kind"], row["key"])
    holder = held.get(key) or fresh.get(key)
    if holder is None:
        fresh[key] = row
    elif _content(row) == _content(holder):
        settled.duplicates += 1
        return
    else:
        settled.conflicts += 1
        loser = row
        if key in held and _place(row) < _place(holder):
            loser, held[key] = holder, row
            connection.execute(delete(_TABLE).where(_is_key(row)))
            connection.execute(_TABLE.insert(), row)
        connection.execute(_CONFLICTS.insert(), _conflict(loser))
    if row["unit"] is not None:
        settled.units.add(row["unit"])


def _is_key(row: Row) -> Any:
    return and_(
        _TABLE.c.experiment == row["experiment"],
        _TABLE.c.kind == row["kind"],
        _TABLE.c.key == row["key"],
    )


def _place(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in _PLACE)


def _content(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in _CONTENT)


def _conflict(row: Row) -> Row:
    payload = msgspec.json.encode({name: row[name] for name in _CONTENT}).decode()
    kept = ("experiment", "kind", "key", *_PLACE)
    return {**{name: row[name] for name in kept}, "payload": payload}


def _existing(connection: Connection, experiment: str, rows: Sequence[Row]) -> Iterable[Row]:
    keys = sorted({r["key"] for r in rows})
    for chunk in chunks(keys):
        query = select(_TABLE).where(_TABLE.c.experiment == experiment, _TABLE.c.key.in_(chunk))
        for found in connection.execute(query).mappings():
            yield dict(found)


def _fill_units(connection: Connection, experiment: str, rows: Sequence[Row]) -> None:
    """Gives trades the unit of their decision; those whose decision has not arrived stay parked."""
    wanted = sorted({r["decision_id"] for r in rows if r["kind"] == "trade"})
    units = {}
    for chunk in chunks(wanted):
        query = select(_DECISIONS.c.decision_id, _DECISIONS.c.unit, _DECISIONS.c.bot).where(
            _DECISIONS.c.experiment == experiment, _DECISIONS.c.decision_id.in_(chunk)
        )
        units.update({r.decision_id: (r.unit, r.bot) for r in connection.execute(query)})
    for row in rows:
        if row["kind"] == "trade":
            row["unit"], row["bot"] = units.get(row["decision_id"], (None, None))


def unpark(connection: Connection, experiment: str, decisions: Sequence[Stamped[Decision]]) -> set[str]:
    """Gives trades that came before their decision their unit; returns the units concerned."""
    if not decisions:
        return set()
    query = select(_TABLE.c.decision_id).where(
        _TABLE.c.experiment == experiment, _TABLE.c.unit.is_(None), _TABLE.c.kind == "trade"
    )
    parked = set(connection.execute(query).scalars())
    units = set()
    for stamped in decisions:
        record = stamped.record
        if record.decision_id in parked:
            units.add(record.unit)
            connection.execute(
                update(_TABLE)
                .where(
                    _TABLE.c.experiment == experiment,
                    _TABLE.c.kind == "trade",
                    _TABLE.c.key == record.decision_id,
                )
                .values(unit=record.unit, bot=record.bot)
            )
    return units


def chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    """Runs of at most 400: short enough for every engine's parameter limit."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
