"""What trades brought over the price they paid, added up by the database per assigned arm."""

from dataclasses import dataclass

from sqlalchemy import CTE, BigInteger, ColumnElement, Connection, and_, case, cast, func, or_, select

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
    ended, o = _ended(matured), _OUTCOMES.c
    same = and_(o.experiment == matured.experiment, o.unit == ended.c.unit, o.fill == ended.c.fill)
    gained = _whole(o.exit_price) - _whole(o.entry_price)
    query = (
        select(ended.c.fill, ended.c.arm, func.count(), func.sum(gained))
        .select_from(ended.join(_OUTCOMES, same))
        .where(o.kind == "trade", o.entry_price.is_not(None), o.exit_price.is_not(None))
        .group_by(ended.c.fill, ended.c.arm)
    )
    found = connection.execute(query)
    return {(fill, arm): Edge(int(trades), int(total)) for fill, arm, trades, total in found}


def _ended(matured: Matured) -> CTE:
    """Units of the window, found before their outcomes: a planner that guesses too few trades would look at
    all of them, and for the unit of each.
    """
    u = _UNITS.c
    rule = (u.experiment == matured.experiment, may_have_matured(matured), has_matured(matured))
    return select(u.unit, u.fill, u.arm).where(*rule).cte("ended").prefix_with("MATERIALIZED")


def _whole(price: ColumnElement[float | None]) -> ColumnElement[int]:
    return cast(func.round(price * _MICRO), BigInteger)


def may_have_matured(matured: Matured) -> ColumnElement[bool]:
    """Cheaper than the rule, and true of whatever it is true of: most units are older than the window, and
    a planner that is told so begins with the few that are not.
    """
    u = _UNITS.c
    since_us = matured.since_us
    return or_(u.started_at_us >= since_us - matured.span_us, u.settled_at_us >= since_us)


def has_matured(matured: Matured) -> ColumnElement[bool]:
    """Whether a unit is one of them, by the rule of the report's cohort."""
    u = _UNITS.c
    closes_us = u.started_at_us + matured.span_us
    in_time = and_(u.settled_at_us <= closes_us, closes_us <= matured.now_us)
    has_closed = and_(in_time, closes_us >= matured.since_us)
    has_settled = u.settled_at_us >= matured.since_us
    complete = and_(u.bots > 0, u.reported >= u.bots, u.excluded.is_(None))
    return and_(complete, case((u.fill == "replay", has_settled), else_=has_closed))
