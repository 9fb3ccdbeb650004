"""Takes an arm that keeps failing out of service, and lets one request at a time try whether it is well.

Local to a worker and immediate. The rules are Envoy's outlier detection (outlier_detection.proto):
consecutive errors, a share of failures with a floor of volume, an ejection that grows with every one in a
row and is forgotten step by step in healthy times. Unlike Envoy's, the ejection doubles, and a probe ends it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

State = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRule:
    """When an arm is ejected, and for how long.

    consecutive: failures in a row. failure_share: of the requests of an interval, from `volume` of them on.
    first_s, longest_s: the first ejection and the longest; jitter_share: up to how much longer it may be.
    probe_s: how long a probe may take before the next one is let through.
    """

    consecutive: int = 5
    failure_share: float = 0.85
    volume: int = 50
    interval_s: float = 10.0
    first_s: float = 5.0
    longest_s: float = 300.0
    jitter_share: float = 0.2
    probe_s: float = 5.0


DEFAULT_RULE = BreakerRule()


@dataclass(slots=True)
class Breaker:
    """One arm's in one worker. clock_s: monotonic. chance: uniform in [0, 1).

    Law: closed admits all; open admits nobody before its time is over; half open admits one in `probe_s`.
    What was admitted earlier and ends while the breaker is open changes nothing.
    """

    clock_s: Callable[[], float]
    chance: Callable[[], float]
    rule: BreakerRule = DEFAULT_RULE
    state: State = "closed"
    ejections: int = 0
    _until_s: float = 0.0
    _in_a_row: int = 0
    _counted: int = 0
    _failed: int = 0
    _interval_ends_s: float = field(default=0.0)

    def admits(self) -> bool:
        """Whether a request may go to the arm now; while it is half open a yes is the one probe."""
        if self.state == "closed":
            return True
        now_s = self.clock_s()
        if now_s < self._until_s:
            return False
        self.state, self._until_s = "half_open", now_s + self.rule.probe_s
        return True

    def succeeded(self, count: int = 1) -> None:
        """Requests were answered."""
        if self.state == "open":
            return
        if self.state == "half_open":
            self._close()
        self._in_a_row = 0
        self._tally(count, 0)

    def failed(self) -> None:
        """A request was not answered, or not with probabilities."""
        if self.state == "open":
            return
        if self.state == "half_open":
            self._eject()
            return
        self._in_a_row += 1
        self._tally(1, 1)
        if self._in_a_row >= self.rule.consecutive or self._fails_too_often():
            self._eject()

    def _fails_too_often(self) -> bool:
        return self._counted >= self.rule.volume and self._failed >= self._counted * self.rule.failure_share

    def _tally(self, counted: int, failed: int) -> None:
        now_s = self.clock_s()
        if now_s >= self._interval_ends_s:
            missed = 1 + int((now_s - self._interval_ends_s) // self.rule.interval_s)
            self._forgive(missed)
            self._start_interval(now_s)
        self._counted += counted
        self._failed += failed

    def _forgive(self, intervals: int) -> None:
        """An ejection is forgotten for every interval without one."""
        self.ejections = max(0, self.ejections - intervals)

    def _start_interval(self, now_s: float) -> None:
        self._counted = self._failed = 0
        self._interval_ends_s = now_s + self.rule.interval_s

    def _close(self) -> None:
        self.state = "closed"
        self._start_interval(self.clock_s())

    def _eject(self) -> None:
        self.ejections += 1
        length_s = min(self.rule.longest_s, self.rule.first_s * 2.0 ** min(self.ejections - 1, 60))
        self._until_s = self.clock_s() + length_s * (1 + self.rule.jitter_share * self.chance())
        self.state, self._in_a_row = "open", 0
