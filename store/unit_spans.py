"""Walks over the units of an experiment a few at a time, in the database's own order: little memory."""

from dataclasses import dataclass

from sqlalchemy import Connection, Table, and_, func, select, union_all
from sqlalchemy.sql.elements import ColumnElement

from store import tables
from store.sql import table_of

# About so many rows of a table in a span; those of one unit are never parted.
_ROWS = (
    (table_of(tables.Unit), 400),
    (table_of(tables.UnitBot), 4_000),
    (table_of(tables.Decision), 20_000),
    (table_of(tables.Unserved), 20_000),
    (table_of(tables.ShadowTick), 20_000),
)


@dataclass(frozen=True, slots=True)
class Span:
    """The units of an experiment behind `after`, up to and with `upto`. None: from the first, to the last."""

    experiment: str
    after: str | None
    upto: str | None

    def holds(self, table: Table) -> ColumnElement[bool]:
        """The rows of a table that belong to the span."""
        c = table.c
        bounds = [c.experiment == self.experiment]
        if self.after is not None:
            bounds.append(c.unit > self.after)
        if self.upto is not None:
            bounds.append(c.unit <= self.upto)
        return and_(*bounds)


def next_span(connection: Connection, experiment: str, after: str | None) -> Span:
    """The span that begins behind a unit; `upto` is None where it is the last."""
    rest = Span(experiment, after, None)
    ends = [
        select(table.c.unit).where(rest.holds(table)).order_by(table.c.unit).offset(rows - 1).limit(1)
        for table, rows in _ROWS
    ]
    found = union_all(*(select(end.subquery().c.unit) for end in ends)).subquery()
    return Span(experiment, after, connection.execute(select(func.min(found.c.unit))).scalar())
