"""Whether SQL holds what the journals of a data directory hold before its marks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Table, select

from store import tables
from store.bulk import chunks
from store.differences import ABSENT, PRESENT, Difference
from store.journal import Frame, end_of, frames, is_owned, journal_folders, next_of, read_from, start_of
from store.outcome_rows import market_key
from store.records import Decision, Record, ShadowTick, TradeOutcome, Unserved
from store.sql import table_of

_READ_BYTES = 256 << 10
_DECODER = msgspec.msgpack.Decoder(Record)
_MARKS = table_of(tables.JournalMark)
_DEAD = table_of(tables.DeadLetter)
_DECISIONS = table_of(tables.Decision)
_REFUSALS = table_of(tables.Unserved)
_SHADOW_TICKS = table_of(tables.ShadowTick)
_OUTCOMES = table_of(tables.Outcome)
_UNITS = table_of(tables.Unit)


@dataclass(frozen=True, slots=True)
class JournalChecked:
    """One journal. records: how many frames before the mark were looked up."""

    records: int
    differences: tuple[Difference, ...]


def check_journals(connection: Connection, experiment_folder: Path) -> Iterator[JournalChecked]:
    """The journals of an experiment, those of dead processes too. The connection is in a snapshot."""
    for folder in journal_folders(experiment_folder):
        yield _check(connection, experiment_folder.name, folder)


def _check(connection: Connection, experiment: str, folder: Path) -> JournalChecked:
    row = connection.execute(select(_MARKS).where(_MARKS.c.journal_id == folder.name)).one_or_none()
    mark = 0 if row is None else row.position
    found: list[Difference] = []
    if row is not None and row.experiment != experiment:
        found.append(_of_mark(experiment, folder, "experiment", row.experiment, experiment))
    found += _outside(connection, experiment, folder, mark)
    records = 0
    for some in _read_before(folder, mark):
        records += len(some)
        found += _lost(connection, experiment, folder.name, some)
    return JournalChecked(records, tuple(found))


def _outside(connection: Connection, experiment: str, folder: Path, mark: int) -> Iterator[Difference]:
    """A mark before the first byte on disk: what lies between is lost. One behind the last: what is written
    there will be passed over; where nobody writes any more it is no harm, and in a backup it is the rule.
    """
    start, stop = start_of(folder), end_of(folder)
    if mark < start and _mark_now(connection, folder.name) < start:
        yield _of_mark(experiment, folder, "position", mark, start)
    if mark > stop and is_owned(folder):
        yield _of_mark(experiment, folder, "position", mark, stop)


def _mark_now(connection: Connection, journal_id: str) -> int:
    """The mark outside of the snapshot: a running service deletes segments behind it meanwhile."""
    with connection.engine.connect() as other:
        query = select(_MARKS.c.position).where(_MARKS.c.journal_id == journal_id)
        return other.execute(query).scalar() or 0


def _of_mark(experiment: str, folder: Path, column: str, stored: object, derived: object) -> Difference:
    return Difference(experiment, "journalmark", (folder.name,), column, stored, derived)


def _read_before(folder: Path, mark: int) -> Iterator[list[Frame]]:
    """The frames before the mark that are still on disk; a running service may delete some meanwhile."""
    position = start_of(folder)
    while position < mark:
        data = _read(folder, position)
        if data:
            yield [frame for frame in frames(data, position) if frame.stop <= mark]
        elif next_of(folder, position) <= position:
            return
        position = position + len(data) if data else next_of(folder, position)


def _read(folder: Path, position: int) -> bytes:
    try:
        return read_from(folder, position, _READ_BYTES)
    except FileNotFoundError:
        return b""


def _lost(
    connection: Connection, experiment: str, journal_id: str, some: Sequence[Frame]
) -> list[Difference]:
    """Records that are neither a row nor a dead letter; the decisions of pruned units are no loss."""
    records = {f.start: record for f in some if (record := _decoded(f)) is not None}
    missing = _not_stored(connection, experiment, journal_id, records)
    dead = select(_DEAD.c.position).where(_DEAD.c.journal_id == journal_id)
    buried = set(connection.execute(dead).scalars()) if missing else set()
    lost = {position: record for position, record in missing.items() if position not in buried}
    asked_in = sorted({r.unit for r in lost.values() if isinstance(r, Decision | Unserved | ShadowTick)})
    pruned = _pruned(connection, experiment, asked_in)
    return [
        Difference(experiment, *_row_of(journal_id, position, record), "row", ABSENT, PRESENT)
        for position, record in lost.items()
        if not (isinstance(record, Decision | Unserved | ShadowTick) and record.unit in pruned)
    ]


def _decoded(frame: Frame) -> Record | None:
    if frame.payload is None:
        return None
    try:
        record: Record = _DECODER.decode(frame.payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return record


def _row_of(journal_id: str, position: int, record: Record) -> tuple[str, tuple[str, ...]]:
    """The table and the key that hold a record."""
    if isinstance(record, Decision):
        return "decision", (record.decision_id,)
    if isinstance(record, Unserved):
        return "unserved", (journal_id, str(position))
    if isinstance(record, ShadowTick):
        return "shadowtick", (journal_id, str(position))
    if isinstance(record, TradeOutcome):
        return "outcome", ("trade", record.decision_id)
    return "outcome", ("market", market_key(record.unit, record.bot))


def _not_stored(
    connection: Connection, experiment: str, journal_id: str, records: dict[int, Record]
) -> dict[int, Record]:
    wanted = {position: _row_of(journal_id, position, record) for position, record in records.items()}
    decisions = sorted({key[0] for table, key in wanted.values() if table == "decision"})
    outcomes = sorted({key[1] for table, key in wanted.values() if table == "outcome"})
    held: set[tuple[str, tuple[str, ...]]] = set()
    for chunk in chunks(decisions):
        query = select(_DECISIONS.c.decision_id).where(
            _DECISIONS.c.experiment == experiment, _DECISIONS.c.decision_id.in_(chunk)
        )
        held |= {("decision", (name,)) for name in connection.execute(query).scalars()}
    for chunk in chunks(outcomes):
        found = select(_OUTCOMES.c.kind, _OUTCOMES.c.key).where(
            _OUTCOMES.c.experiment == experiment, _OUTCOMES.c.key.in_(chunk)
        )
        held |= {("outcome", (row.kind, row.key)) for row in connection.execute(found)}
    for placed in (_REFUSALS, _SHADOW_TICKS):
        there = [position for position, (table, _) in wanted.items() if table == placed.name]
        if there:
            places = _places(connection, placed, experiment, journal_id, (min(there), max(there)))
            held |= {(placed.name, (journal_id, str(position))) for position in places}
    return {position: records[position] for position, row in wanted.items() if row not in held}


def _places(
    connection: Connection, table: Table, experiment: str, journal_id: str, reach: tuple[int, int]
) -> Iterator[int]:
    """Where in a journal the records stand that a table holds by their place. reach: first and last one."""
    c = table.c
    query = select(c.position).where(
        c.experiment == experiment, c.journal_id == journal_id, c.position.between(*reach)
    )
    yield from connection.execute(query).scalars()


def _pruned(connection: Connection, experiment: str, units: Sequence[str]) -> set[str]:
    pruned: set[str] = set()
    for chunk in chunks(units):
        query = select(_UNITS.c.unit).where(
            _UNITS.c.experiment == experiment, _UNITS.c.unit.in_(chunk), _UNITS.c.pruned_at_us.is_not(None)
        )
        pruned |= set(connection.execute(query).scalars())
    return pruned
