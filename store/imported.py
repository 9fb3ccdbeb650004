"""Stores what was made of a foreign log: as the writer would, so totals, checks and reports are the same.

Law: the log's digest names its journal, so the same log is stored once, however often it is imported and
wherever an import was cut off.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select

from store import experiments, tables
from store.audit import record_change
from store.errors import BadForeignLog, UnknownExperiment
from store.ingest import Shipment, ingest, marks_of
from store.journal import frame_bytes
from store.records import Experiment, Split
from store.sql import in_transaction, table_of

_MARKS = table_of(tables.JournalMark)
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What is stored. digest: of the file and of how it was read. detail: JSON for the audit."""

    experiment: Experiment
    splits: Sequence[Split]
    payloads: Iterable[bytes]
    digest: str
    actor: str
    detail: str

    @property
    def journal_id(self) -> str:
        """The journal that the records count as."""
        return f"import-{self.digest}"


def store_import(engine: Engine, what: Import, clock: Callable[[], int], tell: Callable[[int], None]) -> bool:
    """Stores all of it, and archives the experiment: nothing else may come into it. False where all of it was
    there. BadForeignLog where the experiment is of something else.
    """
    key = what.experiment.key
    with engine.connect() as connection:
        held = _held(connection, key)
        mark = marks_of(connection, [what.journal_id])[what.journal_id]
    if held is None:
        _begin(engine, what)
    elif mark == 0 and not _is_begun(engine, what):
        raise BadForeignLog(f"experiment {key!r} holds something else: name another with --experiment")
    end = 0
    for shipment in _shipments(what):
        end = shipment.stop
        if end > mark:
            ingest(engine, key, [shipment], clock())
        tell(end)
    if mark == end and held is not None and held.archived_at_us is not None:
        return False
    experiments.archive(engine, key, clock(), what.actor)
    return True


def _held(connection: Connection, key: str) -> Experiment | None:
    try:
        return experiments.get(connection, key)
    except UnknownExperiment:
        return None


def _begin(engine: Engine, what: Import) -> None:
    first, *more = what.splits
    experiments.create(engine, what.experiment, first, what.actor)
    for split in more:
        experiments.append_split(engine, split)

    def noted(connection: Connection) -> None:
        at_us, key = what.experiment.created_at_us, what.experiment.key
        record_change(connection, at_us, what.actor, "log.import", key, what.detail)

    in_transaction(engine, noted)


def _is_begun(engine: Engine, what: Import) -> bool:
    """Whether an import of this very log was cut off before its first record."""
    audit = table_of(tables.Audit)
    query = select(audit.c.detail).where(
        audit.c.experiment == what.experiment.key, audit.c.action == "log.import"
    )
    with engine.connect() as connection:
        return what.detail in set(connection.execute(query).scalars())


def _shipments(what: Import) -> Iterator[Shipment]:
    data, start = bytearray(), 0
    for payload in what.payloads:
        data += frame_bytes(payload)
        if len(data) >= _PIECE_BYTES:
            yield Shipment(what.journal_id, start, bytes(data))
            start, data = start + len(data), bytearray()
    if data:
        yield Shipment(what.journal_id, start, bytes(data))
