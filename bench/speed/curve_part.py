"""Latency against concurrency in a closed loop, 1 to 256 connections: floor and abctl in turns."""

from statistics import median

from speed import bodies
from speed.found import Finding, Section
from speed.lab import Lab
from speed.wrk import Closed

CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
KEPT = 0.8
HEADER = (
    "connections", "floor /s", "p50 ms", "p99 ms", "abctl /s", "p50 ms", "p99 ms", "503 share", "of floor"
)  # fmt: skip


def measured(lab: Lab) -> list[Section]:
    """A section for each arm."""
    return [_arm(lab, arm) for arm in lab.arms]


def _arm(lab: Lab, arm: str) -> Section:
    floor, ours = lab.prepare(arm)
    rows, rates = [], []
    for connections in CONNECTIONS:
        theirs, mine = (
            lab.closed(server, bodies.decisions(lab.folder), connections) for server in (floor, ours)
        )
        rates.append(mine.per_s)
        rows.append(_row(connections, theirs, mine))
    title = f"Latency against concurrency, all to {arm}"
    best = CONNECTIONS[rates.index(max(rates))]
    kept = _kept(lab, best)
    finding = Finding(
        f"of its best rate at {CONNECTIONS[-1]} connections, {arm}",
        f"at least {KEPT:g}x",
        f"{kept:.2f}x",
        kept >= KEPT,
    )
    note = (
        f"The promise: {best} and {CONNECTIONS[-1]} connections in turns, the median of {lab.rounds} ratios."
    )
    return Section(f"curve-{arm}", title, HEADER, tuple(rows), (finding,), (note,))


def _kept(lab: Lab, best: int) -> float:
    """Of abctl's rate at its best: one run each could be a busy second of the machine's."""
    ratios = []
    for _ in range(lab.rounds):
        most, last = (
            lab.closed(lab.abctl.server, bodies.decisions(lab.folder), connections)
            for connections in (best, CONNECTIONS[-1])
        )
        ratios.append(last.per_s / most.per_s)
    return median(ratios)


def _row(connections: int, theirs: Closed, mine: Closed) -> tuple[str, ...]:
    share = mine.counted.refused / max(mine.counted.requests, 1)
    return (
        str(connections),
        *_cells(theirs),
        *_cells(mine),
        f"{share:.1%}",
        f"{mine.per_s / theirs.per_s:.2f}x",
    )


def _cells(run: Closed) -> tuple[str, str, str]:
    return f"{run.per_s:,.0f}", f"{run.counted.p50_us / 1000:.2f}", f"{run.counted.p99_us / 1000:.2f}"
