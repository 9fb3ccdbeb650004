"""What takes minutes says how far it is, and lets others write in between."""

import time
from collections.abc import Iterator
from typing import TypeVar

from cli.terminal import note

EVERY_S = 5.0
_WORK_S = 0.2
_REST_S = 0.12
T = TypeVar("T")


class Progress:
    """A remark on stderr every five seconds, none for what is quick."""

    def __init__(self) -> None:
        self._next_s = time.monotonic() + EVERY_S

    def say(self, text: str) -> None:
        """How far it is now."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + EVERY_S
            note(f"({text} so far)")


def giving_way(steps: Iterator[T]) -> Iterator[T]:
    """The steps, with rests. Who waits for a locked SQLite file looks every 0.1 s: without a rest of that
    length between two transactions a service's writer could wait until the last step.
    """
    rested_s = time.monotonic()
    for step in steps:
        yield step
        if time.monotonic() - rested_s > _WORK_S:
            time.sleep(_REST_S)
            rested_s = time.monotonic()
