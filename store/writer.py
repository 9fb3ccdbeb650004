"""Takes shipments from the Redis stream into SQL, and acknowledges only what is committed."""

from dataclasses import dataclass

from sqlalchemy import Engine

from store.clock import Clock
from store.ingest import Shipment, Stored, ingest, ingest_each
from store.refusal import PERHAPS_REFUSED, is_refusal
from store.stream import ShipmentStream


@dataclass(slots=True)
class Writer:
    """One experiment's writer. After an error from SQL or Redis call `step` again: nothing was lost."""

    engine: Engine
    experiment: str
    stream: ShipmentStream
    clock: Clock
    _recovering: bool = True

    def step(self, block_ms: int) -> Stored:
        """Stores what is there; unfinished work first."""
        entries = self.stream.unfinished() if self._recovering else []
        found_unfinished = bool(entries)
        if not entries:
            self._recovering = False
            entries = self.stream.take(block_ms)
        if not entries:
            return Stored()
        self._recovering = True
        stored = self._store([entry.shipment for entry in entries])
        self.stream.finish(entries)
        self._recovering = found_unfinished or bool(stored.gaps)
        return stored

    def recover(self) -> None:
        """Lets the next step look for what this writer, or one that died, took and never finished."""
        self._recovering = True

    def _store(self, shipments: list[Shipment]) -> Stored:
        try:
            return ingest(self.engine, self.experiment, shipments, self.clock())
        except PERHAPS_REFUSED as error:
            if not is_refusal(error):
                raise
            total = Stored()
            for shipment in shipments:
                total += ingest_each(self.engine, self.experiment, shipment, self.clock())
            return total
