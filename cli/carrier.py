"""The shipper process: journals -> Redis stream -> SQL for every experiment of a node, until told to stop."""

import logging
import time
from contextlib import suppress
from dataclasses import dataclass

import redis
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from router import lag
from router.trouble import TroubleKeeper
from store import keys
from store.clock import Clock
from store.data_dir import DataDir
from store.experiments import every
from store.ingest import marks_of
from store.lease import Lease
from store.recall import Recall
from store.records import Experiment
from store.shipper import SHIPMENT_BYTES, Shipper, held_bytes, lag_bytes
from store.stream import ShipmentStream, open_redis
from store.writer import Writer

IDLE_S = 0.05
GATHER_S = 0.1
"""Between rounds that find something: a transaction costs a writer as much as a hundred decisions."""
IDLE_MAX_S = 0.25
"""Between looks into Redis for a lane that has had nothing for a while; its own journals wake it at once."""
SETTLE_S = 0.25
IDLE_SETTLE_ROUNDS = 4
"""An idle lane is settled, and vouched for, every so many rounds of settling."""
DISCOVER_S = 1.0
DRAIN_S = 8.0
_DRAIN_PAUSE_S = 0.01
_BACKLOG_ROWS = 2_000
_PAUSE_FIRST_S = 0.1
_PAUSE_MAX_S = 2.0
_LOG = logging.getLogger("abctl.shipper")


@dataclass(frozen=True, slots=True)
class Moved:
    """What a round brought on. rows: records that SQL has settled."""

    shipped_bytes: int = 0
    rows: int = 0

    def __add__(self, other: "Moved") -> "Moved":
        return Moved(self.shipped_bytes + other.shipped_bytes, self.rows + other.rows)

    def __bool__(self) -> bool:
        return bool(self.shipped_bytes or self.rows)

    @property
    def is_backlog(self) -> bool:
        """There was more than comes in between two rounds: go on at once."""
        return self.shipped_bytes >= SHIPMENT_BYTES or self.rows >= _BACKLOG_ROWS


@dataclass(slots=True)
class Lane:
    """What carries one experiment."""

    shipper: Shipper
    writer: Writer
    lease: Lease
    recall: Recall
    is_leading: bool = False
    _pause_s: float = 0.0
    _look_at_s: float = 0.0

    @property
    def is_idle(self) -> bool:
        """Nothing has moved for several rounds, and nothing is under way."""
        return self._pause_s >= IDLE_MAX_S and not (self.recall.is_behind or self.shipper.has_in_flight())

    def step(self, now_s: float) -> Moved:
        """One round; what others may have shipped is looked for less often while there is nothing."""
        if now_s < self._look_at_s and not self.shipper.has_news():
            return Moved()
        moved = self._step()
        self._pause_s = 0.0 if moved else min(self._pause_s + IDLE_S, IDLE_MAX_S)
        self._look_at_s = now_s + self._pause_s
        return moved

    def wake(self) -> None:
        """Lets the next round look, whatever was found before."""
        self._pause_s = self._look_at_s = 0.0

    def _step(self) -> Moved:
        """A full Redis takes nothing in, and is emptied all the same."""
        self.is_leading, full = self._leads(), None
        moved = Moved()
        try:
            moved += Moved(shipped_bytes=self.shipper.ship())
        except redis.OutOfMemoryError as error:
            full = error
        if self.is_leading:
            s = self.writer.step()
            rows = s.decisions + s.unserved + s.outcomes + s.duplicates + s.conflicts + s.dead
            moved += Moved(rows=rows)
        if full is not None and not moved:
            raise full
        return moved

    def _leads(self) -> bool:
        """A full Redis gives no lease; two writers at once are no harm."""
        try:
            return self.lease.hold()
        except redis.OutOfMemoryError:
            return True

    def vouch(self) -> None:
        """Says that Redis remembers every first sight, where it does. A full one is given no word."""
        with suppress(redis.OutOfMemoryError):
            self.recall.vouch()

    def settle(self, now_us: int) -> None:
        """Sends again what Redis lost, and takes over what another node took and never finished."""
        self.shipper.settle()
        self.writer.recover()
        if self.is_leading:
            with suppress(redis.OutOfMemoryError):
                self.recall.step(now_us)


class Carrier:
    """All lanes of one node, in one thread."""

    def __init__(self, data_dir: DataDir, engine: Engine, redis_url: str, clock: Clock) -> None:
        self._data_dir = data_dir
        self._engine = engine
        self._redis = open_redis(redis_url)
        self._clock = clock
        self._node = data_dir.node_id()
        self._trouble = TroubleKeeper(data_dir.root, clock)
        self._lanes: dict[str, Lane] = {}
        self._stopping = False
        self._next_vouch_s = 0.0
        self._next_settle_s = 0.0
        self._settle_round = self._vouch_round = 0
        self._next_discovery_s = 0.0

    def stop(self) -> None:
        """Asks for an orderly end: what is journaled is carried first, if that is possible in time."""
        self._stopping = True

    def run(self) -> None:
        """Carries until stopped; errors of Redis or SQL only make it wait."""
        pause_s = IDLE_S
        while not self._stopping:
            began_s = time.monotonic()
            moved = self._try_round()
            if moved is None:
                pause_s = min(max(2 * pause_s, _PAUSE_FIRST_S), _PAUSE_MAX_S)
                time.sleep(pause_s)
            elif not moved.is_backlog:
                pause_s = GATHER_S if moved else IDLE_S
                time.sleep(max(0.0, began_s + pause_s - time.monotonic()))
        self._drain()

    def _try_round(self) -> Moved | None:
        """One round over all lanes; None where Redis or SQL did not answer."""
        try:
            moved = self._round()
        except (redis.RedisError, SQLAlchemyError, OSError) as error:
            why = str(error).split("\n")[0]
            _LOG.warning("carrying waits: %s", why)
            self._trouble.failed(why)
            lag.note(held_bytes(self._data_dir.journals))
            return None
        except Exception as error:
            self._trouble.failed(f"{type(error).__name__}: {error}")
            raise
        self._trouble.carried()
        return moved

    def _round(self) -> Moved:
        now_s = time.monotonic()
        if now_s >= self._next_vouch_s:  # first, for it needs no SQL
            self._next_vouch_s = now_s + SETTLE_S
            self._vouch_round += 1
            for lane in self._attended(self._vouch_round):
                lane.vouch()
        if now_s >= self._next_discovery_s:
            self._next_discovery_s = now_s + DISCOVER_S
            self._discover()
        moved = sum((lane.step(now_s) for lane in self._lanes.values()), Moved())
        if now_s >= self._next_settle_s:
            self._next_settle_s = now_s + SETTLE_S
            self._settle_round += 1
            for lane in self._attended(self._settle_round):
                lane.settle(self._clock())
            lag.note(self._lag_bytes())
        return moved

    def _attended(self, turn: int) -> list[Lane]:
        """The lanes that are settled, or vouched for, this time; each has turns of its own, as SQL's troubles
        end a round before anything is settled."""
        all_too = turn % IDLE_SETTLE_ROUNDS == 1
        return [lane for lane in self._lanes.values() if all_too or not lane.is_idle]

    def _discover(self) -> None:
        with self._engine.connect() as connection:
            found = every(connection)
        for experiment in found:
            if experiment.key not in self._lanes:
                self._lanes[experiment.key] = self._lane(experiment)
            self._lanes[experiment.key].recall.experiment = experiment

    def _lane(self, experiment: Experiment) -> Lane:
        key = experiment.key
        stream = ShipmentStream(self._redis, key, self._node)
        shipper = Shipper(self._data_dir.journals / key, stream, self._marks)
        return Lane(
            shipper,
            Writer(self._engine, key, stream, self._clock),
            Lease(self._redis, keys.leader(key, "writer"), self._node),
            Recall(self._redis, self._engine, experiment, shipper.ends, self._marks),
        )

    def _marks(self, journals: list[str]) -> dict[str, int]:
        with self._engine.connect() as connection:
            return marks_of(connection, journals)

    def _lag_bytes(self) -> int:
        return lag_bytes(self._data_dir.journals, self._marks)

    def _wake(self) -> None:
        for lane in self._lanes.values():
            lane.wake()

    def _is_all_carried(self) -> bool:
        try:
            return self._lag_bytes() == 0
        except SQLAlchemyError:
            return True

    def _drain(self) -> None:
        deadline_s = time.monotonic() + DRAIN_S
        self._wake()
        while time.monotonic() < deadline_s:
            moved = self._try_round()
            if moved is None or (not moved and self._is_all_carried()):
                break
            if not moved:
                time.sleep(_DRAIN_PAUSE_S)
        self._next_settle_s = 0.0
        self._wake()
        self._try_round()
        for lane in self._lanes.values():
            try:
                lane.lease.release()
            except redis.RedisError:
                break
