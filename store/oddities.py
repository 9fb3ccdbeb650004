"""Counts what SQL keeps and no statistic uses, so that a report can say so."""

from sqlalchemy import Connection, and_, func, select
from sqlalchemy.sql.elements import ColumnElement

from store import tables
from store.sql import table_of

_UNITS = table_of(tables.Unit)
_BOTS = table_of(tables.UnitBot)
_OUTCOMES = table_of(tables.Outcome)
_CONFLICTS = table_of(tables.OutcomeConflict)
_DEAD = table_of(tables.DeadLetter)


def odd_counts(connection: Connection, experiment: str) -> dict[str, int]:
    """parked_outcomes: their decision or unit is not known yet. stranger_outcomes: of bots that did not
    ask in the unit. late_bots: first asked in a unit that was mature, so do not count.
    other_fill_trades: of another fill than their unit's. conflicts: contradict an earlier outcome.
    dead_letters: could not be stored.
    """
    o = _OUTCOMES.c
    own = o.experiment == experiment
    unit = and_(_UNITS.c.experiment == experiment, _UNITS.c.unit == o.unit)
    bot = and_(_BOTS.c.experiment == experiment, _BOTS.c.unit == o.unit, _BOTS.c.bot == o.bot)
    market, trade = o.kind == "market", o.kind == "trade"
    known = select(_UNITS.c.unit).where(unit).exists()
    decided = select(_BOTS.c.bot).where(bot).exists()
    other = and_(unit, _UNITS.c.fill != "mixed", _UNITS.c.fill != o.fill)
    elsewhere = select(_UNITS.c.unit).where(other).exists()
    return {
        "parked_outcomes": _count(connection, own, o.unit.is_(None))
        + _count(connection, own, market, ~known),
        "stranger_outcomes": _count(connection, own, market, known, ~decided),
        "late_bots": _late_bots(connection, experiment),
        "other_fill_trades": _count(connection, own, trade, elsewhere),
        "conflicts": _count(connection, _CONFLICTS.c.experiment == experiment),
        "dead_letters": _count(connection, _DEAD.c.experiment == experiment),
    }


def _late_bots(connection: Connection, experiment: str) -> int:
    bots = _count(connection, _BOTS.c.experiment == experiment)
    counted = select(func.sum(_UNITS.c.bots)).where(_UNITS.c.experiment == experiment)
    return bots - int(connection.execute(counted).scalar() or 0)


def _count(connection: Connection, *rows: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count()).where(*rows)).scalar_one())
