"""Removes the decision rows of long mature units, nearly all of a database, those of refused decisions too.

Nothing that is counted changes.

Unit totals, bots, outcomes, conflicts and dead letters stay: reports say what they said, and an outcome that
comes again is still a duplicate. A unit's decisions go only where its totals follow from them at that moment,
and where each is in an export (unless the caller says otherwise). From then on the unit is marked: `verify`
takes what decisions said of it as it stands; a later one is kept and not counted: it may have been before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import product

import msgspec
from sqlalchemy import Connection, Engine, Table, and_, delete, select, update
from sqlalchemy.sql.elements import ColumnElement

from store import shadow_lives, tables
from store.audit import record_change
from store.bulk import Row, chunks
from store.differences import between
from store.errors import NotExported
from store.expected import expected, held
from store.export import Manifest, covers
from store.records import Experiment
from store.sql import in_transaction, table_of
from store.turns import take_turn
from store.unit_bots import rule_of
from store.unit_spans import Span, next_span

_UNITS = table_of(tables.Unit)
_DECISIONS = table_of(tables.Decision)
_REFUSALS = table_of(tables.Unserved)
_STREAMED_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Rule:
    """Which units lose their decisions: mature at `now_us`, with the last one before `before_us`.

    exports: None where none is asked for; else every decision must be in one of them.
    """

    experiment: str
    before_us: int
    now_us: int
    exports: tuple[Manifest, ...] | None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a step removes. unserved: refused decisions.

    unsound: units left alone because their totals do not follow from their rows.
    not_exported: decisions, refused ones too, that are in no export.
    """

    units: int = 0
    decisions: int = 0
    unsound: int = 0
    not_exported: int = 0
    unserved: int = 0

    def __add__(self, other: "Pruned") -> "Pruned":
        return Pruned(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class _Doomed:
    """Units of a span whose decisions may go."""

    units: Sequence[str]
    counts: Pruned


def living_us(experiment: Experiment) -> int:
    """How long after a unit's start bots may still decide in it, at most: an age to prune is not younger."""
    e = experiment
    return (e.lifetime_s + e.unit_duration_s + e.attribution_s) * 1_000_000


def survey(connection: Connection, rule: Rule) -> Iterator[Pruned]:
    """What `prune` would remove, step by step; removes nothing. The connection is in a snapshot."""
    after: str | None = None
    while True:
        span = next_span(connection, rule.experiment, after)
        yield _doomed(connection, span, rule).counts
        if span.upto is None:
            return
        after = span.upto


def prune(engine: Engine, rule: Rule, actor: str) -> Iterator[Pruned]:
    """Removes, step by step: each is a transaction in the writers' turn, with its own audit row."""
    after: str | None = None
    while True:
        span, step = in_transaction(engine, partial(_prune_next, rule, after, actor))
        yield step
        if span.upto is None:
            return
        after = span.upto


def _prune_next(rule: Rule, after: str | None, actor: str, connection: Connection) -> tuple[Span, Pruned]:
    take_turn(connection, rule.experiment)
    span = next_span(connection, rule.experiment, after)
    doomed = _doomed(connection, span, rule)
    if doomed.counts.not_exported:
        raise NotExported(not_exported(rule.experiment, doomed.counts.not_exported))
    for chunk in chunks(doomed.units):
        own = and_(_UNITS.c.experiment == rule.experiment, _UNITS.c.unit.in_(chunk))
        marked = update(_UNITS).where(own, _UNITS.c.pruned_at_us.is_(None))
        connection.execute(marked.values(pruned_at_us=rule.now_us))
        for table in (_DECISIONS, _REFUSALS):
            connection.execute(delete(table).where(_of(table, rule, chunk)))
    shadow_lives.forget_ticks(connection, rule.experiment, doomed.units)
    if doomed.counts.decisions or doomed.counts.unserved:
        _note(connection, rule, doomed.counts, actor)
    return span, doomed.counts


def not_exported(experiment: str, decisions: int) -> str:
    """Why nothing is removed, and what to do."""
    return (
        f"{decisions:,} decisions of {experiment!r} that would be removed are in no export: run"
        " `abctl db export --parquet DIR` and name it by --exported DIR, or say --without-export"
    )


def _doomed(connection: Connection, span: Span, rule: Rule) -> _Doomed:
    stored = held(connection, span)
    lives_us = rule_of(connection, rule.experiment).span_us
    if lives_us is None:  # an experiment that nobody defined: when its units are mature is not known
        return _Doomed((), Pruned())
    old = {unit for unit, row in stored.units.items() if _is_old(row, lives_us, rule)}
    unsound: set[str] = set()
    if old - stored.pruned:
        must = expected(connection, span, stored).book
        unsound = {d.key[0] for d in between(rule.experiment, stored, must)} & old
    units = sorted(old - unsound)
    return _Doomed(units, _counts(connection, rule, units) + Pruned(unsound=len(unsound)))


def _is_old(row: Row, lives_us: int, rule: Rule) -> bool:
    """lives_us: from a unit's start to its maturity."""
    is_mature = row["started_at_us"] + lives_us <= rule.now_us
    return bool(is_mature and row["last_at_us"] < rule.before_us)


def _counts(connection: Connection, rule: Rule, units: Sequence[str]) -> Pruned:
    """What goes with these units. Their decisions are streamed: a unit of any length needs little memory."""
    having: set[str] = set()
    going = {_DECISIONS.name: 0, _REFUSALS.name: 0}
    not_exported = 0
    for chunk, table in product(chunks(units), (_DECISIONS, _REFUSALS)):
        for place in _places(connection, table, rule, chunk):
            having.add(place["unit"])
            going[table.name] += 1
            not_exported += not _is_exported(place, rule)
    decisions, unserved = going.values()
    return Pruned(len(having), decisions, not_exported=not_exported, unserved=unserved)


def _of(table: Table, rule: Rule, units: Sequence[str]) -> ColumnElement[bool]:
    """Decisions that came after their unit was pruned go when they are as old themselves."""
    c = table.c
    return and_(c.experiment == rule.experiment, c.unit.in_(units), c.received_at_us < rule.before_us)


def _places(connection: Connection, table: Table, rule: Rule, units: Sequence[str]) -> Iterator[Row]:
    c = table.c
    query = select(c.unit, c.received_at_us, c.journal_id, c.position).where(_of(table, rule, units))
    found = connection.execute(query, execution_options={"yield_per": _STREAMED_ROWS})
    return (dict(row) for row in found.mappings())


def _is_exported(place: Row, rule: Rule) -> bool:
    return rule.exports is None or any(covers(e, rule.experiment, place) for e in rule.exports)


def _note(connection: Connection, rule: Rule, counts: Pruned, actor: str) -> None:
    detail = {
        "units": counts.units,
        "decisions": counts.decisions,
        "unserved": counts.unserved,
        "before_us": rule.before_us,
        "exports_taken_at_us": None if rule.exports is None else [e.taken_at_us for e in rule.exports],
    }
    text = msgspec.json.encode(detail).decode()
    record_change(connection, rule.now_us, actor, "db.prune", rule.experiment, text)
