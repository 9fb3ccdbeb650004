"""From shipped journal bytes to SQL rows, in one transaction with the journal's mark: exactly once.

Law: whatever is shipped, how often and in which order, SQL ends up holding every record of a journal once,
because a shipment counts only from the mark on, and the mark moves in the same transaction as the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec
from sqlalchemy import Connection, Engine, select, update

from store import decision_rows, outcome_rows, tables, unit_rows
from store.journal import Frame, frames
from store.records import Decision, MarketOutcome, Record, TradeOutcome
from store.stamped import Stamped
from store.sql import in_transaction, insert_new, table_of

_DECODER = msgspec.msgpack.Decoder(Record)
_MARKS = table_of(tables.JournalMark)
_DEAD = table_of(tables.DeadLetter)


@dataclass(frozen=True, slots=True)
class Shipment:
    """Whole frames of one journal from byte position `start` on."""

    journal_id: str
    start: int
    data: bytes

    @property
    def stop(self) -> int:
        """The position behind the last frame."""
        return self.start + len(self.data)


@dataclass(slots=True)
class Stored:
    """What one call brought to SQL."""

    decisions: int = 0
    outcomes: int = 0
    duplicates: int = 0
    conflicts: int = 0
    dead: int = 0
    gaps: list[str] = field(default_factory=list)


def ingest(engine: Engine, experiment: str, shipments: Sequence[Shipment], now_us: int) -> Stored:
    """Stores the shipments of one experiment. A shipment that begins behind its mark is a gap: named, not stored."""
    return in_transaction(engine, lambda c: _ingest(c, experiment, shipments, now_us))


def _ingest(connection: Connection, experiment: str, shipments: Sequence[Shipment], now_us: int) -> Stored:
    stored = Stored()
    marks = _lock_marks(connection, experiment, {s.journal_id for s in shipments}, now_us)
    records: list[Stamped[Record]] = []
    for shipment in shipments:
        if shipment.start > marks[shipment.journal_id]:
            stored.gaps.append(shipment.journal_id)
            continue
        for frame in frames(shipment.data, shipment.start):
            if frame.start >= marks[shipment.journal_id]:
                _take(connection, experiment, shipment.journal_id, frame, records, stored, now_us)
        marks[shipment.journal_id] = max(marks[shipment.journal_id], shipment.stop)
    _store(connection, experiment, records, stored)
    _move_marks(connection, marks, now_us)
    return stored


def _take(
    connection: Connection,
    experiment: str,
    journal_id: str,
    frame: Frame,
    records: list[Stamped[Record]],
    stored: Stored,
    now_us: int,
) -> None:
    """Decodes one frame into the batch, or lays it with the dead letters."""
    try:
        if frame.payload is None:
            raise msgspec.DecodeError(frame.damage)
        records.append(Stamped(_DECODER.decode(frame.payload), journal_id, frame.start))
    except msgspec.DecodeError as error:
        bury(connection, experiment, journal_id, frame, str(error), now_us)
        stored.dead += 1


def bury(
    connection: Connection, experiment: str, journal_id: str, frame: Frame, reason: str, now_us: int
) -> None:
    """Keeps what cannot be stored, with the reason."""
    row = {
        "experiment": experiment,
        "journal_id": journal_id,
        "position": frame.start,
        "reason": reason[:2000],
        "content": frame.payload if frame.payload is not None else frame.raw,
        "at_us": now_us,
    }
    connection.execute(_DEAD.insert(), row)


def _store(
    connection: Connection, experiment: str, records: Sequence[Stamped[Record]], stored: Stored
) -> None:
    decisions: list[Stamped[Decision]] = []
    outcomes: list[Stamped[TradeOutcome | MarketOutcome]] = []
    for s in records:
        if isinstance(s.record, Decision):
            decisions.append(Stamped(s.record, s.journal_id, s.position))
        else:
            outcomes.append(Stamped(s.record, s.journal_id, s.position))
    new = decision_rows.store(connection, decisions)
    stored.decisions = len(new)
    settled = outcome_rows.store(connection, experiment, outcomes)
    stored.outcomes, stored.duplicates, stored.conflicts = settled.new, settled.duplicates, settled.conflicts
    created = unit_rows.add_decisions(connection, experiment, new)
    unparked = outcome_rows.unpark(connection, experiment, new)
    unit_rows.refresh_outcomes(connection, experiment, settled.units | unparked | created)


def _lock_marks(connection: Connection, experiment: str, journals: set[str], now_us: int) -> dict[str, int]:
    """The marks of the journals, locked for this transaction; a journal never seen starts at 0."""
    fresh = [
        {"journal_id": j, "experiment": experiment, "position": 0, "updated_at_us": now_us}
        for j in sorted(journals)
    ]
    connection.execute(insert_new(connection, _MARKS), fresh)
    query = select(_MARKS.c.journal_id, _MARKS.c.position).where(_MARKS.c.journal_id.in_(sorted(journals)))
    return {row.journal_id: row.position for row in connection.execute(query.with_for_update())}


def _move_marks(connection: Connection, marks: dict[str, int], now_us: int) -> None:
    for journal_id, position in marks.items():
        connection.execute(
            update(_MARKS)
            .where(_MARKS.c.journal_id == journal_id)
            .values(position=position, updated_at_us=now_us)
        )


def ingest_each(
    engine: Engine, experiment: str, shipment: Shipment, now_us: int, refused: tuple[type[Exception], ...]
) -> Stored:
    """Stores a shipment frame by frame; a frame that SQL refuses becomes a dead letter and blocks nobody."""
    total = Stored()
    for frame in frames(shipment.data, shipment.start):
        one = Shipment(
            shipment.journal_id,
            frame.start,
            shipment.data[frame.start - shipment.start :][: frame.stop - frame.start],
        )
        try:
            part = ingest(engine, experiment, [one], now_us)
        except refused as error:
            skip = partial(_skip, experiment, shipment.journal_id, frame, str(error), now_us)
            part = in_transaction(engine, skip)
        total.decisions += part.decisions
        total.outcomes += part.outcomes
        total.dead += part.dead
        total.gaps += part.gaps
    return total


def _skip(
    experiment: str, journal_id: str, frame: Frame, reason: str, now_us: int, connection: Connection
) -> Stored:
    marks = _lock_marks(connection, experiment, {journal_id}, now_us)
    if frame.start != marks[journal_id]:
        return Stored()
    bury(connection, experiment, journal_id, frame, reason, now_us)
    _move_marks(connection, {journal_id: frame.stop}, now_us)
    return Stored(dead=1)


def marks_of(connection: Connection, journals: Sequence[str]) -> dict[str, int]:
    """How far SQL holds each journal; 0 for one that it never saw."""
    query = select(_MARKS.c.journal_id, _MARKS.c.position).where(_MARKS.c.journal_id.in_(list(journals)))
    found = {row.journal_id: row.position for row in connection.execute(query)}
    return {j: found.get(j, 0) for j in journals}
