"""Where the paper lives of shadow arms are kept between two ticks, so that any worker can go on with one.

Values are bytes that only their owner reads. A life is written by compare-and-set on its tick: of two workers
that went on with the same one, one has written.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import redis.asyncio
from redis.driver_info import DriverInfo
from redis.exceptions import RedisError

TIMEOUT_S = 1.0
NO_ANSWER = (RedisError, OSError, RuntimeError, TimeoutError)
"""What a Redis that cannot be asked raises; RuntimeError is uvloop's word for a connection that was reset."""
_SAVE = """
if (redis.call('hget', KEYS[1], 't') or '0') ~= ARGV[1] then return 0 end
redis.call('hset', KEYS[1], 't', ARGV[2], 'v', ARGV[3])
redis.call('expire', KEYS[1], ARGV[4])
return 1
"""


class Saved(NamedTuple):
    """A life that was at tick `before` (0: new) and is at `tick` now."""

    key: str
    before: int
    tick: int
    content: bytes
    ttl_s: int


class Lives(Protocol):
    """A memory of lives."""

    async def load(self, keys: Sequence[str]) -> list[bytes | None]:
        """Their contents, None where there is none. Raises one of NO_ANSWER."""
        ...

    async def save(self, lives: Sequence[Saved]) -> list[bool]:
        """Whether each was still where it was read, and is written. Raises one of NO_ANSWER."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


class RedisLives:
    """Shared by all workers."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=None,
            driver_info=DriverInfo(),  # else each connection looks for the client's own version on the disk
        )

    async def load(self, keys: Sequence[str]) -> list[bytes | None]:
        """One round trip."""
        async with asyncio.timeout(TIMEOUT_S), self._redis.pipeline(transaction=False) as pipe:
            client: Any = pipe
            for key in keys:
                client.hget(key, "v")
            return list(await pipe.execute())

    async def save(self, lives: Sequence[Saved]) -> list[bool]:
        """One round trip."""
        async with asyncio.timeout(TIMEOUT_S), self._redis.pipeline(transaction=False) as pipe:
            client: Any = pipe
            for life in lives:
                client.eval(_SAVE, 1, life.key, str(life.before), str(life.tick), life.content, life.ttl_s)
            return [bool(reply) for reply in await pipe.execute()]

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()


class MemoryLives:
    """One process alone; nothing expires."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[int, bytes]] = {}

    async def load(self, keys: Sequence[str]) -> list[bytes | None]:
        """At once."""
        return [self._held[key][1] if key in self._held else None for key in keys]

    async def save(self, lives: Sequence[Saved]) -> list[bool]:
        """The same law without a server."""
        return [self._save(life) for life in lives]

    def _save(self, life: Saved) -> bool:
        if self._held.get(life.key, (0, b""))[0] != life.before:
            return False
        self._held[life.key] = (life.tick, life.content)
        return True

    async def close(self) -> None:
        """Nothing is open."""
