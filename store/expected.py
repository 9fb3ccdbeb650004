"""Unit totals as they stand, and as decisions and outcomes say they must be, for one span of units.

Decisions, refused ones among them, are streamed and folded, so a unit of any length needs little memory. A
pruned unit's are gone: what they said of it is taken as it stands, and what came after is counted apart.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter

from sqlalchemy import Connection, select

from store import request_rows, tables, unit_outcomes, unit_rows
from store.bulk import Row
from store.sql import table_of
from store.unit_bots import rule_of
from store.unit_outcomes import Opened
from store.unit_spans import Span

_UNITS = table_of(tables.Unit)
_BOTS = table_of(tables.UnitBot)
_FOLD_ROWS = 2_000

Bots = dict[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Book:
    """Units by name, and when each (unit, bot) first asked, in microseconds."""

    units: Mapping[str, Row]
    bots: Mapping[tuple[str, str], int]

    @property
    def pruned(self) -> frozenset[str]:
        """Units whose decision rows were removed."""
        return frozenset(unit for unit, row in self.units.items() if row["pruned_at_us"] is not None)


@dataclass(slots=True)
class _Fold:
    """What the decisions read so far say."""

    units: dict[str, Row] = field(default_factory=dict)
    bots: Bots = field(default_factory=dict)
    decisions: int = 0
    unserved: int = 0
    late: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """The totals that must be. unserved: refused decisions.

    late: decisions of either kind that came after their unit was pruned; they count nowhere.
    """

    book: Book
    decisions: int
    unserved: int
    late: int


def held(connection: Connection, span: Span) -> Book:
    """The totals as they stand."""
    units = connection.execute(select(_UNITS).where(span.holds(_UNITS))).mappings()
    bots = connection.execute(select(_BOTS).where(span.holds(_BOTS)))
    return Book({row["unit"]: dict(row) for row in units}, {(r.unit, r.bot): r.first_at_us for r in bots})


def expected(connection: Connection, span: Span, book: Book) -> Expected:
    """The totals that must be. book: those that stand."""
    fold = _folded(request_rows.of_span(connection, span), book.pruned)
    for unit in book.pruned:
        fold.units[unit] = dict(book.units[unit])
    fold.bots |= {key: at_us for key, at_us in book.bots.items() if key[0] in book.pruned}
    opened = _opened(fold.units, fold.bots)
    rule = rule_of(connection, span.experiment)
    for row in unit_outcomes.outcome_columns(connection, span.experiment, opened, rule):
        fold.units[row["unit"]] |= row
    return Expected(Book(fold.units, fold.bots), fold.decisions, fold.unserved, fold.late)


def _folded(rows: Iterable[Row], pruned: frozenset[str]) -> _Fold:
    """rows: sorted by unit, and those of a unit by their place."""
    fold = _Fold()
    for unit, own in groupby(rows, key=itemgetter("unit")):
        for some in _batches(own):
            answered = sum(map(request_rows.is_answered, some))
            fold.decisions += answered
            fold.unserved += len(some) - answered
            if unit in pruned:
                fold.late += len(some)
                continue
            fold.units[unit] = {**unit_rows.added(fold.units.get(unit), some), "pruned_at_us": None}
            for row in some:
                key = (unit, row["bot"])
                fold.bots[key] = min(row["received_at_us"], fold.bots.get(key, row["received_at_us"]))
    return fold


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while some := list(islice(rest, _FOLD_ROWS)):
        yield some


def _opened(units: Mapping[str, Row], bots: Bots) -> dict[str, Opened]:
    firsts: dict[str, dict[str, int]] = {unit: {} for unit in units}
    for (unit, bot), at_us in bots.items():
        firsts.setdefault(unit, {})[bot] = at_us
    return {unit: Opened(row["started_at_us"], firsts[unit]) for unit, row in units.items()}
