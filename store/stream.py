"""The Redis stream between shippers and writers: at-least-once, about DEPTH entries, never the only copy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from store import keys
from store.ingest import Shipment

GROUP = "writer"
DEPTH = 512
_CLAIM_IDLE_MS = 1_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A shipment and its id in the stream."""

    id: str
    shipment: Shipment


def open_redis(url: str, timeout_s: float = 5.0) -> "redis.Redis":
    """A client for bytes that never tries twice: its callers do. Reads block for less than the timeout."""
    return redis.Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, protocol=2, retry=None
    )


class ShipmentStream:
    """One experiment's stream."""

    def __init__(self, client: "redis.Redis", experiment: str, consumer: str) -> None:
        self._redis: Any = client  # its stubs cannot say which reply a command has
        self._key = keys.stream(experiment)
        self._consumer = consumer

    def add(self, shipment: Shipment) -> str:
        """Appends a shipment; returns its entry id."""
        fields = {"j": shipment.journal_id, "s": shipment.start, "m": shipment.missing, "d": shipment.data}
        return str(self._redis.xadd(self._key, fields).decode())

    def depth(self) -> int:
        """How many entries are on their way."""
        return int(self._redis.xlen(self._key))

    def first_id(self) -> str | None:
        """The id of the oldest entry that is not yet stored; None where there is none."""
        rows = self._redis.xrange(self._key, count=1)
        return str(rows[0][0].decode()) if rows else None

    def unfinished(self) -> list[Entry]:
        """What this consumer, or one that died, took and never finished."""
        return self._in_group(self._unfinished)

    def _unfinished(self) -> list[Entry]:
        claimed = self._redis.xautoclaim(self._key, GROUP, self._consumer, _CLAIM_IDLE_MS, count=64)[1]
        rows = self._redis.xreadgroup(GROUP, self._consumer, {self._key: "0"}, count=64)
        own = rows[0][1] if rows else []
        merged = sorted(dict([*claimed, *own]).items(), key=lambda row: _order(row[0]))
        if deleted := [entry_id for entry_id, fields in merged if not fields]:
            self._redis.xack(self._key, GROUP, *deleted)
        return [_entry(entry_id, fields) for entry_id, fields in merged if fields]

    def take(self) -> list[Entry]:
        """The next entries that are there. Never waits: Redis ends short waits only ten times a second."""
        return self._in_group(self._take)

    def _take(self) -> list[Entry]:
        rows = self._redis.xreadgroup(GROUP, self._consumer, {self._key: ">"}, count=64)
        return [_entry(i, fields) for i, fields in rows[0][1]] if rows else []

    def finish(self, entries: Sequence[Entry]) -> None:
        """Acknowledges and deletes stored entries."""
        if entries:
            ids = [entry.id for entry in entries]
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.xack(self._key, GROUP, *ids)
                pipe.xdel(self._key, *ids)
                pipe.execute()

    def _in_group(self, work: Callable[[], list[Entry]]) -> list[Entry]:
        """Makes the group where it is missing, and only then: a full Redis lets nothing be made."""
        try:
            return work()
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
        try:
            self._redis.xgroup_create(self._key, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        return work()


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    shipment = Shipment(fields[b"j"].decode(), int(fields[b"s"]), fields[b"d"], int(fields[b"m"]))
    return Entry(entry_id.decode(), shipment)


def _order(entry_id: bytes) -> tuple[int, int]:
    left, _, right = entry_id.partition(b"-")
    return int(left), int(right)


def id_order(entry_id: str) -> tuple[int, int]:
    """Stream ids in their order."""
    return _order(entry_id.encode())
