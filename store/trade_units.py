"""The unit and bot that a trade outcome carries are those of its decision; parked ones have none.

A trade keeps the unit of a decision that was pruned.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, Executable, and_, or_, select

from store import tables
from store.bulk import Row, set_columns
from store.differences import Difference
from store.sql import table_of

_OUTCOMES = table_of(tables.Outcome)
_DECISIONS = table_of(tables.Decision)
_UNITS = table_of(tables.Unit)
_STREAMED_ROWS = 2_000


def misplaced(connection: Connection, experiment: str, limit: int | None = None) -> Iterator[Row]:
    """Trades that are not where their decision is: key, unit, bot, and what both must be."""
    found = connection.execute(_query(experiment, limit), execution_options={"yield_per": _STREAMED_ROWS})
    return (dict(row) for row in found.mappings())


def _query(experiment: str, limit: int | None) -> Executable:
    o, d, u = _OUTCOMES.c, _DECISIONS.c, _UNITS.c
    opened = and_(d.experiment == o.experiment, d.decision_id == o.decision_id)
    own = and_(u.experiment == o.experiment, u.unit == o.unit)
    differs = or_(o.unit.is_distinct_from(d.unit), o.bot.is_distinct_from(d.bot))
    return (
        select(o.key, o.unit, o.bot, d.unit.label("its_unit"), d.bot.label("its_bot"))
        .select_from(_OUTCOMES.outerjoin(_DECISIONS, opened).outerjoin(_UNITS, own))
        .where(o.experiment == experiment, o.kind == "trade", differs, u.pruned_at_us.is_(None))
        .limit(limit)
    )


def differences_of(experiment: str, trade: Row) -> Iterator[Difference]:
    """A misplaced trade's columns that must be others."""
    for name in ("unit", "bot"):
        if trade[name] != trade[f"its_{name}"]:
            key = ("trade", trade["key"])
            yield Difference(experiment, "outcome", key, name, trade[name], trade[f"its_{name}"])


def put_right(connection: Connection, experiment: str, trades: Sequence[Row]) -> None:
    """Sets units and bots; the totals of the units are another step."""
    rows = [
        {
            "experiment": experiment,
            "kind": "trade",
            "key": trade["key"],
            "unit": trade["its_unit"],
            "bot": trade["its_bot"],
        }
        for trade in trades
    ]
    set_columns(connection, _OUTCOMES, rows)
