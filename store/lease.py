"""A lock with a time limit in Redis: spares work, never guards correctness (SQL's marks do that)."""

from typing import Any

import redis

_IF_MINE = "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end "
_RENEW = _IF_MINE + "return redis.call('pexpire', KEYS[1], ARGV[2])"
_RELEASE = _IF_MINE + "return redis.call('del', KEYS[1])"


class Lease:
    """One role of one experiment, held by at most one process at a time while clocks behave."""

    def __init__(self, client: "redis.Redis", key: str, holder: str, term_ms: int = 5000) -> None:
        self._redis: Any = client
        self._key = key
        self._holder = holder
        self._term_ms = term_ms

    def hold(self) -> bool:
        """Takes or renews the lease; returns whether this process holds it now."""
        if self._redis.eval(_RENEW, 1, self._key, self._holder, self._term_ms):
            return True
        return bool(self._redis.set(self._key, self._holder, nx=True, px=self._term_ms))

    def release(self) -> None:
        """Gives it back, so that another need not wait for its end."""
        self._redis.eval(_RELEASE, 1, self._key, self._holder)
