"""Derives totals anew from decisions and outcomes, and names every difference. Only looks.

The connection is in a snapshot, so it may run beside a service; units are read a few at a time.
Where a trade stands in a wrong unit, that is named, and the units' totals too: they do not follow from rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from sqlalchemy import Connection, select, union

from store import differences, shadow_lives, tables, trade_units
from store.differences import Difference
from store.expected import Book, Expected, expected, held
from store.journal_check import check_journals
from store.sql import table_of
from store.unit_spans import Span, next_span


@dataclass(frozen=True, slots=True)
class Counts:
    """What was looked at. unserved: refused decisions.

    late_decisions: of either kind, came after their unit was pruned; kept and never counted.
    """

    units: int = 0
    decisions: int = 0
    pruned_units: int = 0
    late_decisions: int = 0
    journals: int = 0
    journal_records: int = 0
    differences: int = 0
    unserved: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Checked:
    """One step of a walk."""

    counts: Counts
    differences: tuple[Difference, ...] = ()


def experiments_in(connection: Connection) -> list[str]:
    """Every experiment that has a row anywhere, also one that is not defined."""
    kept = (tables.Unit, tables.UnitBot, tables.Decision, tables.Unserved, tables.Outcome, tables.JournalMark)
    keys = [select(table_of(t).c.experiment).distinct() for t in kept]
    defined = select(table_of(tables.Experiment).c.key)
    return sorted(connection.execute(union(defined, *keys)).scalars())


def verify(connection: Connection, experiment: str, journals: Path) -> Iterator[Checked]:
    """All of one experiment, step by step. journals: the data directory's; other nodes have their own."""
    for trade in trade_units.misplaced(connection, experiment):
        yield checked(Counts(), trade_units.differences_of(experiment, trade))
    yield from verify_units(connection, experiment)
    for journal in check_journals(connection, journals / experiment):
        yield checked(Counts(journals=1, journal_records=journal.records), journal.differences)


def verify_units(connection: Connection, experiment: str) -> Iterator[Checked]:
    """The unit totals of an experiment, a span at a time."""
    after: str | None = None
    while True:
        span = next_span(connection, experiment, after)
        yield verify_span(connection, span)
        if span.upto is None:
            return
        after = span.upto


def verify_span(connection: Connection, span: Span) -> Checked:
    """The unit totals of a span, and its paper lives."""
    stored = held(connection, span)
    must = expected(connection, span, stored)
    lives = shadow_lives.held(connection, span)
    lived = shadow_lives.expected(connection, span, lives, stored.pruned)
    found = (
        *differences.between(span.experiment, stored, must.book),
        *shadow_lives.between(span, lives, lived),
    )
    return checked(counts_of(stored, must), found)


def counts_of(stored: Book, must: Expected) -> Counts:
    """What was looked at in a span."""
    units, pruned = len(must.book.units), len(stored.pruned)
    return Counts(units, must.decisions, pruned, must.late, unserved=must.unserved)


def checked(counts: Counts, found: Iterator[Difference] | tuple[Difference, ...]) -> Checked:
    """A step with its differences counted."""
    every = tuple(found)
    return Checked(counts + Counts(differences=len(every)), every)
