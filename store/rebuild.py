"""Repairs what verify names: totals and the units of trades, from decisions and outcomes.

Each step is one transaction in the writers' turn, with its own audit row: killed in between, it leaves totals
that are right as far as it came, and the next run does the rest. A run after a whole one changes nothing.
Trades come first: the totals of their units follow from where they stand.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, and_, delete

from store import differences, shadow_lives, tables, trade_units
from store.audit import record_change
from store.bulk import upsert
from store.differences import Difference
from store.expected import Book, expected, held
from store.sql import in_transaction, table_of
from store.turns import take_turn
from store.unit_spans import Span, next_span
from store.verify import Checked, Counts, checked, counts_of

_UNITS = table_of(tables.Unit)
_BOTS = table_of(tables.UnitBot)
_TRADES_A_STEP = 400
_NAMED_IN_AUDIT = 100


def rebuild(engine: Engine, experiment: str, actor: str, now_us: int) -> Iterator[Checked]:
    """All of one experiment, step by step; the differences are those that were repaired."""
    while True:
        step = in_transaction(engine, partial(_repair_trades, experiment, actor, now_us))
        yield step
        if not step.differences:
            break
    after: str | None = None
    while True:
        span, step = in_transaction(engine, partial(_repair_next, experiment, after, actor, now_us))
        yield step
        if span.upto is None:
            return
        after = span.upto


def _repair_trades(experiment: str, actor: str, now_us: int, connection: Connection) -> Checked:
    take_turn(connection, experiment)
    trades = list(trade_units.misplaced(connection, experiment, _TRADES_A_STEP))
    trade_units.put_right(connection, experiment, trades)
    step = checked(Counts(), tuple(d for t in trades for d in trade_units.differences_of(experiment, t)))
    _note(connection, experiment, step.differences, actor, now_us)
    return step


def _repair_next(
    experiment: str, after: str | None, actor: str, now_us: int, connection: Connection
) -> tuple[Span, Checked]:
    take_turn(connection, experiment)
    span = next_span(connection, experiment, after)
    stored = held(connection, span)
    must = expected(connection, span, stored)
    lives = shadow_lives.held(connection, span)
    lived = shadow_lives.expected(connection, span, lives, stored.pruned)
    found = (*differences.between(experiment, stored, must.book), *shadow_lives.between(span, lives, lived))
    _repair(connection, experiment, stored, must.book)
    shadow_lives.repair(connection, span, lives, lived)
    _note(connection, experiment, found, actor, now_us)
    return span, checked(counts_of(stored, must), found)


def _repair(connection: Connection, experiment: str, stored: Book, must: Book) -> None:
    for unit in stored.units.keys() - must.units.keys():
        connection.execute(delete(_UNITS).where(_UNITS.c.experiment == experiment, _UNITS.c.unit == unit))
    for unit, bot in stored.bots.keys() - must.bots.keys():
        own = and_(_BOTS.c.experiment == experiment, _BOTS.c.unit == unit, _BOTS.c.bot == bot)
        connection.execute(delete(_BOTS).where(own))
    units = [row for unit, row in must.units.items() if stored.units.get(unit) != row]
    bots = [
        {"experiment": experiment, "unit": unit, "bot": bot, "first_at_us": at_us}
        for (unit, bot), at_us in must.bots.items()
        if stored.bots.get((unit, bot)) != at_us
    ]
    upsert(connection, _UNITS, units)
    upsert(connection, _BOTS, bots)


def _note(
    connection: Connection, experiment: str, found: Sequence[Difference], actor: str, now_us: int
) -> None:
    if not found:
        return
    named: list[Any] = [[d.table, *d.key, d.column, d.stored, d.derived] for d in found[:_NAMED_IN_AUDIT]]
    detail = msgspec.json.encode({"repaired": len(found), "differences": named}).decode()
    record_change(connection, now_us, actor, "db.rebuild", experiment, detail)
