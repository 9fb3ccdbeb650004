"""Counts what SQL keeps and no statistic uses, so that a report can say so."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, select
from sqlalchemy.sql.elements import ColumnElement

from store import tables
from store.sql import table_of

_UNITS = table_of(tables.Unit)
_BOTS = table_of(tables.UnitBot)
_OUTCOMES = table_of(tables.Outcome)
_CONFLICTS = table_of(tables.OutcomeConflict)
_DEAD = table_of(tables.DeadLetter)


class Counted(NamedTuple):
    """What the units of an experiment say of others: their bots, and the outcomes that they count."""

    bots: int
    reported: int
    trades: int


def sums() -> tuple[ColumnElement[int], ...]:
    """To be asked of the units; `counted_of` makes Counted of the answer."""
    columns = (_UNITS.c[name] for name in Counted._fields)
    return tuple(func.coalesce(func.sum(column), 0) for column in columns)


def counted_of(row: Iterable[int]) -> Counted:
    """PostgreSQL says decimals."""
    return Counted(*map(int, row))


def counted(connection: Connection, experiment: str) -> Counted:
    """Of all units; who reads the units anyway asks for `sums` with them."""
    return counted_of(connection.execute(select(*sums()).where(_UNITS.c.experiment == experiment)).one())


def odd_counts(connection: Connection, experiment: str, units: Counted) -> dict[str, int]:
    """parked_outcomes: their decision or unit is not known yet. stranger_outcomes: of bots that did not
    ask in the unit. late_bots: first asked in a unit that was mature, so do not count.
    other_fill_trades: of another fill than their unit's. conflicts: contradict an earlier outcome.
    dead_letters: could not be stored.
    """
    return {
        **_odd_outcomes(connection, experiment, units),
        "late_bots": _count(connection, _BOTS.c.experiment == experiment) - units.bots,
        "conflicts": _count(connection, _CONFLICTS.c.experiment == experiment),
        "dead_letters": _count(connection, _DEAD.c.experiment == experiment),
    }


def _odd_outcomes(connection: Connection, experiment: str, units: Counted) -> dict[str, int]:
    """Where units count all outcomes none is looked at."""
    o = _OUTCOMES.c
    own = o.experiment == experiment
    unit = and_(_UNITS.c.experiment == experiment, _UNITS.c.unit == o.unit)
    bot = and_(_BOTS.c.experiment == experiment, _BOTS.c.unit == o.unit, _BOTS.c.bot == o.bot)
    market, trade = and_(own, o.kind == "market"), and_(own, o.kind == "trade")
    known = select(_UNITS.c.unit).where(unit).exists()
    asked = select(_BOTS.c.bot).where(bot).exists()
    other = and_(unit, _UNITS.c.fill != "mixed", _UNITS.c.fill != o.fill)
    elsewhere = select(_UNITS.c.unit).where(other).exists()
    counts: dict[str, int] = {"parked_outcomes": 0, "stranger_outcomes": 0, "other_fill_trades": 0}
    if _count(connection, market) != units.reported:
        counts["parked_outcomes"] += _count(connection, market, ~known)
        counts["stranger_outcomes"] += _count(connection, market, known, ~asked)
    if _count(connection, trade) != units.trades:
        counts["parked_outcomes"] += _count(connection, trade, o.unit.is_(None))
        counts["other_fill_trades"] += _count(connection, trade, elsewhere)
    return counts


def _count(connection: Connection, *rows: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count()).where(*rows)).scalar_one())
