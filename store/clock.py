"""The clock, as a value that is handed in."""

import time
from collections.abc import Callable

Clock = Callable[[], int]


def wall_clock_us() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000
