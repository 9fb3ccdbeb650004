"""The shipper process: journals -> Redis stream -> SQL for every experiment of a node, until it is told to stop."""

import logging
import time
from dataclasses import dataclass

import redis
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from store import keys
from store.clock import Clock
from store.data_dir import DataDir
from store.experiments import every
from store.ingest import marks_of
from store.lease import Lease
from store.shipper import Shipper, lag_bytes
from store.stream import ShipmentStream, open_redis
from store.writer import Writer

IDLE_S = 0.01
SETTLE_S = 0.25
DISCOVER_S = 1.0
DRAIN_S = 8.0
_PAUSE_MAX_S = 2.0
_LOG = logging.getLogger("abctl.shipper")


@dataclass(slots=True)
class Lane:
    """What carries one experiment."""

    shipper: Shipper
    writer: Writer
    lease: Lease

    def step(self) -> int:
        """One round: how many bytes were shipped or rows stored."""
        moved = self.shipper.ship()
        if self.lease.hold():
            stored = self.writer.step(block_ms=1)
            moved += stored.decisions + stored.outcomes + stored.duplicates + stored.conflicts + stored.dead
        return moved


class Carrier:
    """All lanes of one node, in one thread."""

    def __init__(self, data_dir: DataDir, engine: Engine, redis_url: str, clock: Clock) -> None:
        self._data_dir = data_dir
        self._engine = engine
        self._redis = open_redis(redis_url)
        self._clock = clock
        self._node = data_dir.node_id()
        self._lanes: dict[str, Lane] = {}
        self._stopping = False
        self._next_settle = 0.0
        self._next_discovery = 0.0

    def stop(self) -> None:
        """Asks for an orderly end: what is journaled is carried first, if that is possible in time."""
        self._stopping = True

    def run(self) -> None:
        """Carries until stopped; errors of Redis or SQL only make it wait."""
        pause_s = IDLE_S
        while not self._stopping:
            moved = self._try_round()
            pause_s = IDLE_S if moved is not None else min(2 * max(pause_s, 0.05), _PAUSE_MAX_S)
            if not moved:
                time.sleep(pause_s)
        self._drain()

    def _try_round(self) -> int | None:
        """One round over all lanes; None where Redis or SQL did not answer."""
        try:
            return self._round()
        except (redis.RedisError, SQLAlchemyError, OSError) as error:
            _LOG.warning("carrying waits: %s", str(error).split("\n")[0])
            return None

    def _round(self) -> int:
        now = time.monotonic()
        if now >= self._next_discovery:
            self._next_discovery = now + DISCOVER_S
            self._discover()
        moved = sum(lane.step() for lane in self._lanes.values())
        if now >= self._next_settle:
            self._next_settle = now + SETTLE_S
            for lane in self._lanes.values():
                lane.shipper.settle()
        return moved

    def _discover(self) -> None:
        with self._engine.connect() as connection:
            found = [experiment.key for experiment in every(connection)]
        for key in found:
            if key not in self._lanes:
                stream = ShipmentStream(self._redis, key, self._node)
                self._lanes[key] = Lane(
                    Shipper(self._data_dir.journals / key, stream, self._marks),
                    Writer(self._engine, key, stream, self._clock),
                    Lease(self._redis, keys.leader(key, "writer"), self._node),
                )

    def _marks(self, journals: list[str]) -> dict[str, int]:
        with self._engine.connect() as connection:
            return marks_of(connection, journals)

    def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_S
        while time.monotonic() < deadline:
            moved = self._try_round()
            if moved is None:
                break
            if moved == 0 and lag_bytes(self._data_dir.journals, self._marks) == 0:
                break
        self._next_settle = 0.0
        self._try_round()
        for lane in self._lanes.values():
            try:
                lane.lease.release()
            except redis.RedisError:
                break
