"""Latency at half of the floor's capacity, timed from when each request was due: floor and abctl in turns."""

from collections import Counter
from statistics import median

import numpy as np

from speed import bodies
from speed.found import Finding, Section, at_most
from speed.lab import Lab
from speed.open_loop import DECISIONS_A_UNIT, Open, poisson
from speed.servers import Server

LOAD = 0.5
CONNECTIONS = 64
TURNS = 3
"""Of each round: one pause of the machine decides the p99 of a short run, so there are many of them."""
PERCENTILES = (50, 99, 99.9)
LIMITS = {50: 1.3, 99: 2.0}
GUIDE_MS = 7.5
HEADER = ("server", "p50 ms", "p99 ms", "p99.9 ms", "sent late by p99 ms", "refused", "lost")


def measured(lab: Lab) -> list[Section]:
    """A section for each arm."""
    return [_arm(lab, arm) for arm in lab.arms]


def capacity(lab: Lab, server: Server) -> float:
    """Good answers a second in the closed loop: the median of a few runs."""
    loads = (bodies.decisions(lab.folder) for _ in range(3))
    return median(lab.closed(server, load).per_s for load in loads)


def _arm(lab: Lab, arm: str) -> Section:
    servers = lab.prepare(arm)
    rate = LOAD * capacity(lab, servers[0])
    runs: dict[str, list[Open]] = {server.name: [] for server in servers}
    for turn in range(TURNS * lab.rounds):
        due_s = poisson(rate, lab.seconds, seed=turn)
        for server in servers:
            load = bodies.decisions(lab.folder)
            runs[server.name].append(lab.opened(server, load, due_s, CONNECTIONS))
    title = f"Open loop at half of the floor's capacity, all to {arm}: {rate:,.0f} requests/s"
    floor, ours = (runs[server.name] for server in servers)
    rows = [_row(name, each) for name, each in runs.items()]
    rows.append(("ratio", *(f"{ratio(ours, floor, p):.2f}x" for p in PERCENTILES), "", "", ""))
    note = (
        "Arrivals are Poisson; times begin when a request was due. Ratios: the median over the rounds. Units"
        f" have {DECISIONS_A_UNIT:,} decisions each, as a market of 15 minutes has that is asked about every"
        " half second: their first one asks Redis where the split changed within a day."
    )
    return Section(f"open-{arm}", title, HEADER, tuple(rows), _findings(arm, ours, floor), (note,))


def ratio(ours: list[Open], theirs: list[Open], percentile: float) -> float:
    """How many times the others' latency, the median over the rounds."""
    return median(
        float(np.percentile(a.answered_ms, percentile) / np.percentile(b.answered_ms, percentile))
        for a, b in zip(ours, theirs, strict=True)
    )


def _row(name: str, runs: list[Open]) -> tuple[str, ...]:
    answered = np.concatenate([run.answered_ms for run in runs])
    late = np.concatenate([run.late_ms for run in runs])
    return (
        name,
        *(f"{np.percentile(answered, p):.2f}" for p in PERCENTILES),
        f"{np.percentile(late, 99):.2f}",
        _refused(runs),
        str(sum(run.lost for run in runs)),
    )


def _refused(runs: list[Open]) -> str:
    """How often, by status."""
    counts = sum((Counter(run.refused) for run in runs), Counter[int]())
    return ", ".join(f"{count} x {status}" for status, count in sorted(counts.items())) or "0"


def _findings(arm: str, ours: list[Open], floor: list[Open]) -> tuple[Finding, ...]:
    p99_ms, floor_ms = (
        median(float(np.percentile(run.answered_ms, 99)) for run in runs) for runs in (ours, floor)
    )
    lost = sum(run.lost + sum(run.refused.values()) for run in ours)
    return (
        *(at_most(f"p{p} of the floor's, {arm}", ratio(ours, floor, p), LIMITS[p]) for p in LIMITS),
        *(_alone(arm, p99_ms) if floor_ms < GUIDE_MS / 2 else ()),
        Finding(f"refused or lost, {arm}", "0", str(lost), lost == 0),
    )


def _alone(arm: str, p99_ms: float) -> tuple[Finding, ...]:
    """Judged on a quiet machine alone: where the floor itself is late nothing can be said."""
    name = f"p99 on a quiet machine, {arm}"
    return (Finding(name, f"under {GUIDE_MS:g} ms", f"{p99_ms:.2f} ms", p99_ms < GUIDE_MS),)
