"""How long decisions took, counted in fixed buckets, as part of the totals of a unit.

Buckets add up over decisions, units, days and arms, and follow from decision rows like every other total; no
report reads decisions for them. Their edges are part of the tables: they never change, more may be added.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, func, select

from store import tables
from store.bulk import Row
from store.sql import table_of
from store.trade_edges import Matured, has_matured, may_have_matured

_UNITS = table_of(tables.Unit)

EDGES_US = (500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000)
"""Microseconds: a bucket holds what took more than the edge before and at most its own."""
SLOW_US = 10_000
COLUMNS = (*(f"latency_to_{edge_us}_us" for edge_us in EDGES_US), f"latency_over_{EDGES_US[-1]}_us")
"""Of tables.Unit: a bucket each."""


def counted(rows: Iterable[Row]) -> dict[str, int]:
    """The buckets of answered decisions. latency_us 0 is not known (of a foreign log), and counts nowhere."""
    counts = [0] * len(COLUMNS)
    for row in rows:
        if row["latency_us"] > 0:
            counts[bisect_left(EDGES_US, row["latency_us"])] += 1
    return dict(zip(COLUMNS, counts, strict=True))


def timed() -> ColumnElement[int]:
    """Decisions of a unit whose latency is known."""
    return _sum(COLUMNS)


def slow() -> ColumnElement[int]:
    """Those of them that took longer than SLOW_US."""
    return _sum(COLUMNS[EDGES_US.index(SLOW_US) + 1 :])


def _sum(names: Sequence[str]) -> ColumnElement[int]:
    first, *rest = (_UNITS.c[name] for name in names)
    total: ColumnElement[int] = first
    for column in rest:
        total = total + column
    return total


@dataclass(frozen=True, slots=True)
class Latencies:
    """counts: decisions by bucket, in the order of COLUMNS."""

    counts: tuple[int, ...]

    @property
    def timed(self) -> int:
        return sum(self.counts)

    def within_us(self, share: float) -> int | None:
        """The edge within which at least this share of the decisions was answered: a quantile, rounded up to
        its bucket's edge. None where no decision is known, or where it lies beyond the last edge.
        """
        needed, total = share * self.timed, 0
        for edge_us, count in zip(EDGES_US, self.counts, strict=False):
            total += count
            if total > 0 and total >= needed:
                return edge_us
        return None


def latencies(connection: Connection, matured: Matured) -> dict[tuple[str, str], Latencies]:
    """Of the decisions of matured units, by fill and assigned arm. One look at each unit of the window."""
    u = _UNITS.c
    sums = (cast(func.sum(u[name]), BigInteger) for name in COLUMNS)
    query = (
        select(u.fill, u.arm, *sums)
        .where(u.experiment == matured.experiment, may_have_matured(matured), has_matured(matured))
        .group_by(u.fill, u.arm)
    )
    rows = map(tuple, connection.execute(query))
    return {(fill, arm): Latencies(tuple(map(int, counts))) for fill, arm, *counts in rows}
