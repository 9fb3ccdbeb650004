"""Prometheus metrics of one worker; `/metrics` adds up all workers of the service.

Requests are counted in plain numbers first, for a file shared with the other workers costs microseconds each
time; `flush` brings them there.
Labels come from fixed sets: a path that no route has is "other", so no caller can make a new series.
"""

import os
from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess

from router.wire import OutcomeResult

_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
REQUESTS = Counter("abctl_requests_total", "Requests by path and status.", ["path", "status"])
SECONDS = Histogram(
    "abctl_request_seconds", "Seconds from first byte to answer.", ["path"], buckets=_BUCKETS_S
)
LATE = Counter("abctl_late_decisions_total", "Answers that came after their deadline_ms.")
OUTCOMES = Counter("abctl_outcomes_total", "Outcome items by status.", ["status"])
DROPPED_STARTS = Counter("abctl_dropped_starts_total", "Starts of units that Redis could not be told.")
SHADOW_TICKS = Counter(
    "abctl_shadow_ticks_total", "Ticks of shadow arms, lived, or why they end a life.", ["became"]
)


OTHER = "other"


@dataclass(slots=True)
class _Times:
    """Durations that were not flushed yet: how many in each bucket, and their sum in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS_S) + 1))
    sum_s: float = 0.0


_lock = Lock()
_requests: dict[tuple[str, int], int] = defaultdict(int)
_times: dict[str, _Times] = defaultdict(_Times)


def observe_request(path: str, status: int, seconds: float) -> None:
    """Counts a finished request. path: of a hot path, or the template of a route, or OTHER; never as sent."""
    with _lock:
        _requests[path, status] += 1
        times = _times[path]
        times.counts[bisect_left(_BUCKETS_S, seconds)] += 1
        times.sum_s += seconds


def count_refused(status: int) -> None:
    """Counts what was cut or refused before it was a request."""
    with _lock:
        _requests[OTHER, status] += 1


def flush() -> None:
    """Brings what was counted to where `/metrics` of every worker finds it."""
    with _lock:
        requests, times = dict(_requests), dict(_times)
        _requests.clear()
        _times.clear()
    for (path, status), count in requests.items():
        REQUESTS.labels(path, str(status)).inc(count)
    for path, found in times.items():
        _add(SECONDS.labels(path), found)


def _add(histogram: Histogram, times: _Times) -> None:
    """As many calls of `observe` would: prometheus_client offers nothing for many at once."""
    buckets, sum_s = histogram._buckets, histogram._sum  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    for bucket, count in zip(buckets, times.counts, strict=True):
        if count:
            bucket.inc(count)
    sum_s.inc(times.sum_s)


def count_outcomes(results: Sequence[OutcomeResult]) -> None:
    """Counts outcome items by what became of them."""
    for status, count in Counts(result.status for result in results).items():
        OUTCOMES.labels(status).inc(count)


def count_late() -> None:
    """Counts an answer that came after its deadline."""
    LATE.inc()


def count_dropped_starts(count: int) -> None:
    """Counts starts that were dropped, for Redis was away for long: other processes do not know them."""
    DROPPED_STARTS.inc(count)


def count_shadow_ticks(became: str, count: int) -> None:
    """Counts ticks of shadow arms: "lived", or why not (a fixed set of words)."""
    SHADOW_TICKS.labels(became).inc(count)


def exposition() -> bytes:
    """The sum over all workers, in Prometheus' text format; the others' up to their last `flush`."""
    flush()
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
