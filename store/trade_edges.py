"""What trades brought over the price they paid, added up by the database per assigned arm."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, Connection, and_, case, cast, func, select

from store import tables
from store.sql import table_of

_UNITS = table_of(tables.Unit)
_OUTCOMES = table_of(tables.Outcome)
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Matured:
    """Units that matured from `since_us` to `now_us`. span_us: from a start to its maturity."""

    experiment: str
    since_us: int
    now_us: int
    span_us: int


@dataclass(frozen=True, slots=True)
class Edge:
    """Of the trades that say both prices. gained_micro: the sum of exit minus entry price in millionths of a
    contract that pays 1: whole numbers, so the sum does not depend on order.
    """

    trades: int
    gained_micro: int


def trade_edges(connection: Connection, matured: Matured) -> dict[tuple[str, str], Edge]:
    """By fill and arm. A look at each unit of the window and at its outcomes; no decision is read."""
    u, o = _UNITS.c, _OUTCOMES.c
    same = and_(o.experiment == u.experiment, o.unit == u.unit, o.fill == u.fill)
    gained = _whole(o.exit_price) - _whole(o.entry_price)
    query = (
        select(u.fill, u.arm, func.count(), func.sum(gained))
        .select_from(_UNITS.join(_OUTCOMES, same))
        .where(u.experiment == matured.experiment, _has_matured(matured))
        .where(o.kind == "trade", o.entry_price.is_not(None), o.exit_price.is_not(None))
        .group_by(u.fill, u.arm)
    )
    found = connection.execute(query)
    return {(fill, arm): Edge(int(trades), int(total)) for fill, arm, trades, total in found}


def _whole(price: ColumnElement[float | None]) -> ColumnElement[int]:
    return cast(func.round(price * _MICRO), BigInteger)


def _has_matured(matured: Matured) -> ColumnElement[bool]:
    """The rule of the report's cohort."""
    u = _UNITS.c
    closes_us = u.started_at_us + matured.span_us
    in_time = and_(u.settled_at_us <= closes_us, closes_us <= matured.now_us)
    has_closed = and_(in_time, closes_us >= matured.since_us)
    has_settled = u.settled_at_us >= matured.since_us
    complete = and_(u.bots > 0, u.reported >= u.bots, u.excluded.is_(None))
    return and_(complete, case((u.fill == "replay", has_settled), else_=has_closed))
