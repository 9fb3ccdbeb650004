"""Calls that take turns in short blocks, so that a busy machine slows all of them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the turns go round, and how long one turn is."""

    rounds: int
    block_s: float
    warm_up: int = 10


@dataclass(frozen=True, slots=True)
class Times:
    """us: name -> float64[rounds], microseconds of one call in each round."""

    us: Mapping[str, NDArray[np.float64]]

    def median(self, name: str) -> float:
        return float(np.median(self.us[name]))

    def ratio(self, name: str, other: str) -> float:
        """Median over rounds of this one's time per the other's."""
        return float(np.median(self.us[name] / self.us[other]))


def duel(calls: Mapping[str, Call], pace: Pace) -> Times:
    """All calls in every round, in turn first and last."""
    for call in calls.values():
        for _ in range(pace.warm_up):
            call()  # a session's first runs plan and allocate
    us: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(pace.rounds):
        for name in list(calls)[:: -1 if number % 2 else 1]:
            us[name].append(_block_us(calls[name], pace.block_s))
    return Times({name: np.array(each) for name, each in us.items()})


def percentiles_us(call: Call, calls: int) -> tuple[float, float]:
    """p50 and p99 of single calls, after a tenth as many."""
    for _ in range(calls // 10):
        call()
    took = []
    for _ in range(calls):
        began = time.perf_counter_ns()
        call()
        took.append(time.perf_counter_ns() - began)
    p50, p99 = np.percentile(took, [50, 99]) / 1_000
    return float(p50), float(p99)


def _block_us(call: Call, block_s: float) -> float:
    began, count = time.perf_counter(), 0
    while True:
        call()
        count += 1
        spent_s = time.perf_counter() - began
        if spent_s >= block_s:
            return spent_s / count * 1e6
