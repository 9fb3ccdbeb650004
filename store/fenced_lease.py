"""A leader's lock in Redis with a fencing token: spares looks, and tells who froze that somebody leads since.

Correctness never hangs on it. What moves a split is fenced by the number of its line in SQL (ADR 0013).
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import redis

TERM_MS = 15_000
_TAKE = """
local held = redis.call('get', KEYS[1])
if held then
  if string.sub(held, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then return false end
  redis.call('pexpire', KEYS[1], ARGV[2])
  return held
end
held = ARGV[1] .. ' ' .. redis.call('incr', KEYS[2])
redis.call('set', KEYS[1], held, 'px', ARGV[2])
return held
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class FencedLease:
    """One role, led by one process at a time while clocks behave. holder: a name that no other process has.

    A mark is `HOLDER TOKEN`. The token grows with every take-over, so a mark that is in force no longer never
    comes back; after a Redis that lost its keys the holder's name still tells marks apart.
    """

    def __init__(self, client: "redis.Redis", key: str, holder: str, term_ms: int = TERM_MS) -> None:
        self._redis: Any = client  # its stubs cannot say which reply a command has
        self._key = key
        self._holder = holder
        self.term_ms = term_ms

    def lead(self) -> str | None:
        """Takes the lease or renews it; its mark, or None while somebody else leads."""
        held = self._redis.eval(_TAKE, 2, self._key, f"{self._key}:token", self._holder, self.term_ms)
        return None if held is None else str(held.decode())

    def is_led_by(self, mark: str) -> bool:
        """Whether that mark is still in force; renews nothing."""
        return bool(self._redis.get(self._key) == mark.encode())

    def release(self, mark: str) -> None:
        """Gives it back, so that another need not wait for its end."""
        self._redis.eval(_RELEASE, 1, self._key, mark)


def token_of(mark: str) -> int:
    """The fencing token in a mark."""
    return int(mark.rpartition(" ")[2])


@contextmanager
def kept(lease: FencedLease) -> Generator[None]:
    """Renews the lease while the work lasts, however long. A process that is frozen renews nothing."""
    is_over = threading.Event()

    def renew() -> None:
        while not is_over.wait(lease.term_ms / 3000):
            with suppress(redis.RedisError):
                lease.lead()

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
