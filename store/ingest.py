"""From shipped journal bytes to SQL rows, in one transaction with the journal's mark: exactly once.

Law: whatever is shipped, how often and in which order, SQL ends up holding every record of a journal once,
because a shipment counts only from the mark on, and the mark moves in the same transaction as the rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec
from sqlalchemy import Connection, Engine, select, update

from store import decision_rows, outcome_rows, shadow_lives, tables, unit_outcomes, unit_rows, unserved_rows
from store.bulk import Row
from store.journal import Frame, frame_bytes, frames
from store.records import Decision, Record, ShadowTick, Unserved
from store.refusal import PERHAPS_REFUSED, is_refusal
from store.sql import in_transaction, insert_new, table_of
from store.turns import take_turn

_DECODER = msgspec.msgpack.Decoder(Record)
_MARKS = table_of(tables.JournalMark)
_DEAD = table_of(tables.DeadLetter)
_MISSING = "the journal no longer holds these bytes: was the database restored from a backup?"
_UNFINISHED = "unfinished or damaged record"
_REUSED = "a decision of another unit came first under this decision_id: give every decision an id of its own"


@dataclass(frozen=True, slots=True)
class Shipment:
    """Bytes of one journal from position `start` on: whole frames, or a damaged rest that no frame follows.

    missing: this many bytes from `start` on are gone from the journal; data begins behind them.
    """

    journal_id: str
    start: int
    data: bytes
    missing: int = 0

    @property
    def stop(self) -> int:
        """The position behind the last byte."""
        return self.start + self.missing + len(self.data)


@dataclass(frozen=True, slots=True)
class Stored:
    """What one call brought to SQL. unserved: refused decisions.

    gaps: journals of which a shipment began behind the mark.
    """

    decisions: int = 0
    outcomes: int = 0
    duplicates: int = 0
    conflicts: int = 0
    dead: int = 0
    gaps: tuple[str, ...] = ()
    unserved: int = 0

    def __add__(self, other: "Stored") -> "Stored":
        return Stored(
            self.decisions + other.decisions,
            self.outcomes + other.outcomes,
            self.duplicates + other.duplicates,
            self.conflicts + other.conflicts,
            self.dead + other.dead,
            self.gaps + other.gaps,
            self.unserved + other.unserved,
        )


@dataclass(frozen=True, slots=True)
class DeadFrame:
    """A frame that cannot be stored, and why."""

    journal_id: str
    frame: Frame
    reason: str


@dataclass(slots=True)
class Rows:
    """What journals hold, as rows of SQL."""

    decisions: list[Row] = field(default_factory=list)
    refusals: list[Row] = field(default_factory=list)
    outcomes: list[Row] = field(default_factory=list)
    shadow_ticks: list[Row] = field(default_factory=list)
    dead: list[DeadFrame] = field(default_factory=list)

    def add(self, rows: "Rows", mark: int) -> None:
        """Those that lie beyond a mark, which never cuts a record."""
        self.decisions += [row for row in rows.decisions if row["position"] >= mark]
        self.refusals += [row for row in rows.refusals if row["position"] >= mark]
        self.outcomes += [row for row in rows.outcomes if row["position"] >= mark]
        self.shadow_ticks += [row for row in rows.shadow_ticks if row["position"] >= mark]
        self.dead += [letter for letter in rows.dead if letter.frame.stop > mark]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A shipment and all that it holds, whatever SQL has of it."""

    shipment: Shipment
    rows: Rows


@dataclass(frozen=True, slots=True)
class Reading:
    """What shipments hold beyond the marks, and the marks behind them."""

    rows: Rows
    gaps: tuple[str, ...]
    marks: dict[str, int]


def ingest(engine: Engine, experiment: str, shipments: Sequence[Shipment], now_us: int) -> Stored:
    """Stores shipments of one experiment in one transaction: all of them, or none where it raises."""
    return ingest_unpacked(engine, experiment, [unpack(experiment, s) for s in shipments], now_us)


def ingest_unpacked(engine: Engine, experiment: str, parcels: Sequence[Unpacked], now_us: int) -> Stored:
    """The same where somebody has decoded them already."""
    return in_transaction(engine, lambda c: _ingest(c, experiment, parcels, now_us))


def _ingest(connection: Connection, experiment: str, parcels: Sequence[Unpacked], now_us: int) -> Stored:
    marks = _lock_marks(connection, experiment, {p.shipment.journal_id for p in parcels}, now_us)
    found = read(parcels, marks)
    for letter in found.rows.dead:
        _bury(connection, experiment, letter, now_us)
    stored = _store(connection, experiment, found.rows, now_us)
    _move_marks(connection, {j: p for j, p in found.marks.items() if p != marks[j]}, now_us)
    return stored + Stored(dead=len(found.rows.dead), gaps=found.gaps)


def unpack(experiment: str, shipment: Shipment) -> Unpacked:
    """Decodes a shipment; asks no database."""
    rows = Rows()
    for frame in _all_frames(shipment):
        _read_frame(experiment, shipment.journal_id, frame, rows)
    return Unpacked(shipment, rows)


def read(parcels: Sequence[Unpacked], marks: Mapping[str, int]) -> Reading:
    """What lies beyond the marks. A shipment that begins behind its mark is a gap: left out."""
    rows, after, gaps = Rows(), dict(marks), list[str]()
    for parcel in parcels:
        shipment = parcel.shipment
        mark = after[shipment.journal_id]
        if shipment.start > mark:
            gaps.append(shipment.journal_id)
            continue
        rows.add(parcel.rows, mark)
        after[shipment.journal_id] = max(mark, shipment.stop)
    return Reading(rows, tuple(gaps), after)


def _all_frames(shipment: Shipment) -> Iterator[Frame]:
    """Every byte of a shipment in a frame; what is missing, and what no frame follows, as damaged ones."""
    at = shipment.start + shipment.missing
    if shipment.missing:
        yield Frame(shipment.start, at, None, _MISSING)
    data_start = at
    for frame in frames(shipment.data, data_start):
        yield frame
        at = frame.stop
    if at < shipment.stop:
        yield Frame(at, shipment.stop, None, _UNFINISHED, shipment.data[at - data_start :])


def _read_frame(experiment: str, journal_id: str, frame: Frame, rows: Rows) -> None:
    if frame.payload is None:
        rows.dead.append(DeadFrame(journal_id, frame, frame.damage))
        return
    try:
        record = _DECODER.decode(frame.payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        rows.dead.append(DeadFrame(journal_id, frame, str(error)))
        return
    if record.experiment != experiment:
        reason = f"a record of experiment {record.experiment!r} in the journal of {experiment!r}"
        rows.dead.append(DeadFrame(journal_id, frame, reason))
    elif isinstance(record, Decision):
        rows.decisions.append(decision_rows.row_of(record, journal_id, frame.start))
    elif isinstance(record, Unserved):
        rows.refusals.append(unserved_rows.row_of(record, journal_id, frame.start))
    elif isinstance(record, ShadowTick):
        rows.shadow_ticks.append(shadow_lives.row_of(record, journal_id, frame.start))
    else:
        rows.outcomes.append(outcome_rows.row_of(record, journal_id, frame.start))


def _bury(connection: Connection, experiment: str, letter: DeadFrame, now_us: int) -> None:
    """Keeps what cannot be stored, with the reason."""
    frame = letter.frame
    row = {
        "experiment": experiment,
        "journal_id": letter.journal_id,
        "position": frame.start,
        "reason": letter.reason[:2000].replace("\0", "\\0"),
        "content": frame.payload if frame.payload is not None else frame.raw,
        "at_us": now_us,
    }
    connection.execute(_DEAD.insert(), row)


def _store(connection: Connection, experiment: str, rows: Rows, now_us: int) -> Stored:
    made = decision_rows.store(connection, experiment, rows.decisions)
    for row in made.reused:
        _bury(connection, experiment, _reused(row), now_us)
    unparked = outcome_rows.unpark(connection, experiment, made.new, made.moved)
    settled = outcome_rows.store(connection, experiment, rows.outcomes)
    refused = unserved_rows.store(connection, rows.refusals)
    shadow_lives.store(connection, experiment, rows.shadow_ticks)
    changed = unit_rows.add_requests(connection, experiment, made, refused)
    unit_outcomes.refresh(connection, experiment, changed | unparked | settled.units)
    duplicates = made.duplicates + settled.duplicates
    dead = len(made.reused)
    return Stored(len(made.new), settled.new, duplicates, settled.conflicts, dead, unserved=len(refused))


def _reused(row: Row) -> DeadFrame:
    payload, start = msgspec.msgpack.encode(decision_rows.record_of(row)), row["position"]
    stop = start + len(frame_bytes(payload))
    return DeadFrame(row["journal_id"], Frame(start, stop, payload), _REUSED)


def _lock_marks(connection: Connection, experiment: str, journals: set[str], now_us: int) -> dict[str, int]:
    """The marks of the journals, 0 for a new one. From here on no other writer of the experiment works."""
    take_turn(connection, experiment)
    fresh = [
        {"journal_id": j, "experiment": experiment, "position": 0, "updated_at_us": now_us}
        for j in sorted(journals)
    ]
    connection.execute(insert_new(connection, _MARKS), fresh)
    query = select(_MARKS.c.journal_id, _MARKS.c.position).where(_MARKS.c.journal_id.in_(sorted(journals)))
    return {row.journal_id: row.position for row in connection.execute(query)}


def _move_marks(connection: Connection, marks: Mapping[str, int], now_us: int) -> None:
    for journal_id, position in marks.items():
        moved = update(_MARKS).where(_MARKS.c.journal_id == journal_id)
        connection.execute(moved.values(position=position, updated_at_us=now_us))


def ingest_each(engine: Engine, experiment: str, shipment: Shipment, now_us: int) -> Stored:
    """Stores a shipment frame by frame; a frame that SQL refuses becomes a dead letter and blocks nobody."""
    total = Stored()
    data_start = shipment.start + shipment.missing
    for frame in _all_frames(shipment):
        gone = frame.start < data_start
        data = b"" if gone else shipment.data[frame.start - data_start : frame.stop - data_start]
        missing = frame.stop - frame.start if gone else 0
        one = Shipment(shipment.journal_id, frame.start, data, missing)
        try:
            total += ingest(engine, experiment, [one], now_us)
        except PERHAPS_REFUSED as error:
            if not is_refusal(error):
                raise
            letter = DeadFrame(shipment.journal_id, frame, str(error))
            total += in_transaction(engine, partial(_skip, experiment, letter, now_us))
    return total


def _skip(experiment: str, letter: DeadFrame, now_us: int, connection: Connection) -> Stored:
    journal_id, frame = letter.journal_id, letter.frame
    mark = _lock_marks(connection, experiment, {journal_id}, now_us)[journal_id]
    if not frame.start <= mark < frame.stop:
        return Stored()
    _bury(connection, experiment, letter, now_us)
    _move_marks(connection, {journal_id: frame.stop}, now_us)
    return Stored(dead=1)


def marks_of(connection: Connection, journals: Sequence[str]) -> dict[str, int]:
    """How far SQL holds each journal; 0 for one that it never saw."""
    query = select(_MARKS.c.journal_id, _MARKS.c.position).where(_MARKS.c.journal_id.in_(list(journals)))
    found = {row.journal_id: row.position for row in connection.execute(query)}
    return {j: found.get(j, 0) for j in journals}
