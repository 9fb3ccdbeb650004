"""Starts that Redis has not been told yet: each unit once, in order, and never more than a limit."""

from collections import OrderedDict
from dataclasses import dataclass

UNTOLD_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Untold:
    """The start of a unit under its Redis key. ttl_s: how long Redis is to keep it."""

    key: str
    start_us: int
    ttl_s: int


class UntoldStarts:
    """At most `limit`. The oldest go first when there is no room: their units are the first to end."""

    def __init__(self, limit: int = UNTOLD_MAX) -> None:
        self._limit = limit
        self._waiting: OrderedDict[str, Untold] = OrderedDict()
        self._dropped = 0

    def put(self, start: Untold) -> None:
        """Adds the start of a unit; one that waits already stays."""
        self._waiting.setdefault(start.key, start)
        if len(self._waiting) > self._limit:
            self._waiting.popitem(last=False)
            self._dropped += 1

    def take(self, most: int) -> list[Untold]:
        """Removes the oldest."""
        return [self._waiting.popitem(last=False)[1] for _ in range(min(most, len(self._waiting)))]

    def give_back(self, starts: list[Untold]) -> None:
        """Puts what was taken, and could not be told, back before the others."""
        for start in reversed(starts):
            if len(self._waiting) >= self._limit and start.key not in self._waiting:
                self._dropped += 1
                continue
            self._waiting[start.key] = start
            self._waiting.move_to_end(start.key, last=False)

    def dropped(self) -> int:
        """How many were dropped since this was last asked."""
        count, self._dropped = self._dropped, 0
        return count

    def __len__(self) -> int:
        return len(self._waiting)
