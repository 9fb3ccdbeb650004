"""Takes shipments from the Redis stream into SQL, and acknowledges only what is committed."""

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, StatementError

from store.clock import Clock
from store.ingest import Shipment, Stored, ingest, ingest_each
from store.stream import Entry, ShipmentStream

REFUSED = (DataError, IntegrityError, ProgrammingError, StatementError, ValueError, OverflowError)


@dataclass(slots=True)
class Writer:
    """One experiment's writer. After an error from SQL or Redis call `step` again: nothing was lost."""

    engine: Engine
    experiment: str
    stream: ShipmentStream
    clock: Clock
    _recovering: bool = True

    def step(self, block_ms: int) -> Stored:
        """Stores what is there; old unfinished work first, in the order in which it was shipped."""
        if self._recovering:
            entries = self.stream.unfinished()
            self._recovering = bool(entries)
            if not entries:
                return Stored()
        else:
            entries = self.stream.take(block_ms)
        if not entries:
            return Stored()
        self._recovering = True
        stored = self._store([entry.shipment for entry in entries])
        self.stream.finish(entries)
        self._recovering = False
        return stored

    def _store(self, shipments: list[Shipment]) -> Stored:
        try:
            return ingest(self.engine, self.experiment, shipments, self.clock())
        except REFUSED:
            parts = [ingest_each(self.engine, self.experiment, s, self.clock(), REFUSED) for s in shipments]
            return _sum(parts)


def _sum(parts: list[Stored]) -> Stored:
    total = Stored()
    for part in parts:
        total.decisions += part.decisions
        total.outcomes += part.outcomes
        total.duplicates += part.duplicates
        total.conflicts += part.conflicts
        total.dead += part.dead
        total.gaps += part.gaps
    return total


__all__ = ["REFUSED", "Entry", "Writer"]
