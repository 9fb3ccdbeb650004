"""Prometheus metrics of one worker; `/metrics` adds up all workers of the service.

Labels come from fixed sets: a path that no route has is "other", so no caller can make a new series.
"""

import os
from collections.abc import Sequence
from functools import cache

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


OTHER = "other"


def observe_request(path: str, status: int, seconds: float) -> None:
    """Counts a finished request. path: of a hot path, or the template of a route, or OTHER; never as sent."""
    _requests(path, status).inc()
    _seconds(path).observe(seconds)


@cache
def _requests(path: str, status: int) -> Counter:
    return REQUESTS.labels(path, str(status))


@cache
def _seconds(path: str) -> Histogram:
    return SECONDS.labels(path)


def count_refused(status: int) -> None:
    """Counts what was cut or refused before it was a request."""
    REQUESTS.labels(OTHER, str(status)).inc()


def count_outcomes(results: Sequence[OutcomeResult]) -> None:
    """Counts outcome items by what became of them."""
    for result in results:
        OUTCOMES.labels(result.status).inc()


def count_late() -> None:
    """Counts an answer that came after its deadline."""
    LATE.inc()


def count_dropped_starts(count: int) -> None:
    """Counts starts that were dropped, for Redis was away for long: other processes do not know them."""
    DROPPED_STARTS.inc(count)


def exposition() -> bytes:
    """The sum over all workers, in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
