"""Stores what was made of a foreign log: as the writer would, so totals, checks and reports are the same.

Law: the log's digest names its journal, so the same log is stored once, however often it is imported and
wherever an import was cut off.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from store import experiments
from store.audit import record_change
from store.errors import BadForeignLog, ExperimentInUse, UnknownExperiment
from store.ingest import Shipment, ingest, marks_of
from store.journal import frame_bytes
from store.records import Experiment, Split
from store.sql import in_transaction

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What is stored. digest: of the file's bytes and of how they were read. detail: JSON for the audit."""

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
    if mark == 0:
        _begin(engine, what, held, clock)
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


def _begin(engine: Engine, what: Import, held: Experiment | None, clock: Callable[[], int]) -> None:
    """The experiment and its splits, anew where an import was cut off among them: it has no record then."""
    key = what.experiment.key
    other = BadForeignLog(f"experiment {key!r} holds something else: name another with --experiment")
    if held is not None and held != what.experiment:
        raise other
    first, *more = what.splits
    try:
        experiments.create(engine, what.experiment, first, what.actor)
    except ExperimentInUse as error:
        raise other from error
    for split in more:
        experiments.append_split(engine, split)

    def noted(connection: Connection) -> None:
        record_change(connection, clock(), what.actor, "log.import", key, what.detail)

    in_transaction(engine, noted)


def _shipments(what: Import) -> Iterator[Shipment]:
    data, start = bytearray(), 0
    for payload in what.payloads:
        data += frame_bytes(payload)
        if len(data) >= _PIECE_BYTES:
            yield Shipment(what.journal_id, start, bytes(data))
            start, data = start + len(data), bytearray()
    if data:
        yield Shipment(what.journal_id, start, bytes(data))
