"""Counts per assigned arm, from unit totals."""

from sqlalchemy import Connection, case, func, select

from store import tables
from store.sql import table_of

_UNITS = table_of(tables.Unit)


def by_arm(connection: Connection, experiment: str) -> dict[str, dict[str, int]]:
    """units, decisions, fallbacks, trades. unserved: units with a refused decision. reported: units whose
    bots have all reported.
    """
    c = _UNITS.c
    query = (
        select(
            c.arm,
            func.count().label("units"),
            func.sum(c.decisions).label("decisions"),
            func.sum(c.fallbacks).label("fallbacks"),
            func.sum(case((c.unserved > 0, 1), else_=0)).label("unserved"),
            func.sum(case((c.reported >= c.bots, 1), else_=0)).label("reported"),
            func.sum(c.trades).label("trades"),
        )
        .where(c.experiment == experiment)
        .group_by(c.arm)
    )
    rows = connection.execute(query).mappings()
    return {row["arm"]: {n: int(row[n]) for n in row if n != "arm"} for row in rows}
