"""Takes shipments from the Redis stream into SQL, and acknowledges only what is committed."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from sqlalchemy import Engine

from store.clock import Clock
from store.ingest import Stored, Unpacked, ingest_each, ingest_unpacked, unpack
from store.refusal import PERHAPS_REFUSED, is_refusal
from store.stream import Entry, ShipmentStream

BATCH_BYTES = 2 << 20
"""Stored in one transaction, about: more costs memory and saves no time."""


@dataclass(slots=True)
class Writer:
    """One experiment's writer. After an error from SQL or Redis call `step` again: nothing was lost.

    Where there is more than one batch the next one is decoded while SQL is busy with the one before.
    """

    engine: Engine
    experiment: str
    stream: ShipmentStream
    clock: Clock
    _recovering: bool = True
    _taken: list[Entry] = field(default_factory=list)
    _ahead: "Future[list[Unpacked]] | None" = None
    _helper: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "unpack"))

    def step(self) -> Stored:
        """Stores what is there; unfinished work first. Never waits for more."""
        if not self._taken:
            self._take()
        batch = first_of(self._taken)
        if not batch:
            return Stored()
        try:
            stored = self._store(self._unpacked(batch))
            self.stream.finish(batch)
        except BaseException:
            self._taken, self._ahead, self._recovering = [], None, True
            raise
        self._taken = self._taken[len(batch) :]
        self._recovering |= bool(stored.gaps)
        return stored

    def recover(self) -> None:
        """Lets the next step look for what this writer, or one that died, took and never finished."""
        self._recovering = True

    def _take(self) -> None:
        self._ahead = None
        if self._recovering:
            self._taken = self.stream.unfinished()
            self._recovering = bool(self._taken)  # there may be more
        if not self._taken:
            self._taken = self.stream.take()

    def _unpacked(self, batch: Sequence[Entry]) -> list[Unpacked]:
        """The batch, decoded; has the one behind it begun."""
        if len(batch) == len(self._taken) and _is_full(batch) and not self._recovering:
            self._taken = [*self._taken, *self.stream.take()]
        begun, rest = self._ahead, first_of(self._taken[len(batch) :])
        parcels = self._unpack(batch) if begun is None else begun.result()
        self._ahead = self._helper.submit(self._unpack, rest) if rest else None
        return parcels

    def _unpack(self, batch: Sequence[Entry]) -> list[Unpacked]:
        return [unpack(self.experiment, entry.shipment) for entry in batch]

    def _store(self, parcels: Sequence[Unpacked]) -> Stored:
        try:
            return ingest_unpacked(self.engine, self.experiment, parcels, self.clock())
        except PERHAPS_REFUSED as error:
            if not is_refusal(error):
                raise
            total = Stored()
            for parcel in parcels:
                total += ingest_each(self.engine, self.experiment, parcel.shipment, self.clock())
            return total


def _is_full(batch: Sequence[Entry]) -> bool:
    """Whether there may be more behind it."""
    return sum(len(entry.shipment.data) for entry in batch) >= BATCH_BYTES


def first_of(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The first entries, about BATCH_BYTES of them."""
    size = 0
    for count, entry in enumerate(entries, 1):
        size += len(entry.shipment.data)
        if size >= BATCH_BYTES:
            return entries[:count]
    return entries
