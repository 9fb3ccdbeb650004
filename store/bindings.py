"""First sight of a unit, kept in Redis, for bots that do not know when their unit started."""

from typing import Protocol

import redis.asyncio
from redis.exceptions import RedisError

from store import keys

TIMEOUT_S = 0.05


class FirstSight(Protocol):
    """Where the first sight of a unit is kept."""

    async def first_seen_us(self, experiment: str, unit: str, now_us: int, ttl_s: int) -> int | None:
        """When any process first saw the unit (now, if nobody did); None where nobody can tell in time."""
        ...


class RedisFirstSight:
    """Shared by all processes; answers within TIMEOUT_S or not at all."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=None
        )

    async def first_seen_us(self, experiment: str, unit: str, now_us: int, ttl_s: int) -> int | None:
        """One SET NX GET: atomic."""
        try:
            held = await self._redis.set(
                keys.binding(experiment, unit), str(now_us), nx=True, get=True, ex=ttl_s
            )
        except (RedisError, OSError):
            return None
        return now_us if held is None else int(held)

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()


class MemoryFirstSight:
    """One process alone."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], int] = {}

    async def first_seen_us(self, experiment: str, unit: str, now_us: int, ttl_s: int) -> int | None:
        """The same law without a server; nothing expires."""
        del ttl_s
        return self._seen.setdefault((experiment, unit), now_us)
