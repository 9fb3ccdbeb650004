"""How long an arm takes for a batch, as measured: what a deadline is held against."""

from collections import deque
from collections.abc import Callable

KEPT_RUNS = 256
KEPT_S = 10.0
_READ_EVERY = 16
_QUANTILE = 0.99


class Pace:
    """Run times by size of batch, in classes 1, 2, 3-4, 5-8, ... rows. clock_s: monotonic.

    What is older than KEPT_S counts no more: an arm that was slow once gets its chance again.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._classes: dict[int, _Runs] = {}

    def note(self, rows: int, seconds: float) -> None:
        """One run took so long."""
        runs = self._classes.get((rows - 1).bit_length())
        if runs is None:
            runs = self._classes[(rows - 1).bit_length()] = _Runs()
        runs.add(self._clock_s(), seconds)

    def expected_s(self, rows: int) -> float:
        """The 99th percentile of a run with so many rows; 0 where nothing is known.

        A class without runs of its own borrows the nearest one's: a smaller one's in proportion to rows.
        """
        now_s, wanted = self._clock_s(), (rows - 1).bit_length()
        for nearest in sorted(self._classes, key=lambda each: (abs(each - wanted), each)):
            seconds = self._classes[nearest].quantile_s(now_s)
            if seconds is not None:
                return seconds * 2.0 ** max(0, wanted - nearest)
        return 0.0


class _Runs:
    def __init__(self) -> None:
        self._runs: deque[tuple[float, float]] = deque(maxlen=KEPT_RUNS)
        self._unread = 0
        self._quantile_s = 0.0

    def add(self, now_s: float, seconds: float) -> None:
        self._runs.append((now_s, seconds))
        self._unread += 1

    def quantile_s(self, now_s: float) -> float | None:
        """Of the runs that still count, read anew after every _READ_EVERY of them; None without any."""
        old = 0
        while self._runs and self._runs[0][0] < now_s - KEPT_S:
            self._runs.popleft()
            old += 1
        if not self._runs:
            return None
        if old or self._unread >= _READ_EVERY or len(self._runs) < _READ_EVERY:
            ordered = sorted(seconds for _, seconds in self._runs)
            self._quantile_s = ordered[min(len(ordered) - 1, int(_QUANTILE * len(ordered)))]
            self._unread = 0
        return self._quantile_s
