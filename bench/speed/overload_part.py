"""Half as much again as a server can answer: what it does with what it cannot."""

from statistics import median

import numpy as np

from speed import bodies, machine
from speed.found import Finding, Section
from speed.lab import Lab
from speed.open_loop import Open, poisson
from speed.open_part import capacity
from speed.servers import Server

LOAD = 1.5
CONNECTIONS = 512
KEPT = 0.8
HEADER = (
    "server", "capacity /s", "asked /s", "answered /s", "503 share", "p50 ms", "p99 ms", "lost", "worker MB"
)  # fmt: skip


def measured(lab: Lab) -> list[Section]:
    """A section for each arm."""
    return [_arm(lab, arm) for arm in lab.arms]


def _arm(lab: Lab, arm: str) -> Section:
    floor, ours = lab.prepare(arm)
    rows, runs = [], []
    for turn in range(lab.rounds):
        for server in (floor, ours) if turn == 0 else (ours,):
            can = capacity(lab, server)
            due_s = poisson(LOAD * can, 2 * lab.seconds, seed=turn)
            run = lab.opened(server, bodies.decisions(lab.folder), due_s, CONNECTIONS)
            rows.append(_row(server, can, run))
        runs.append((can, run))
    title = f"Asked for 1.5 times its own capacity over {CONNECTIONS} connections, all to {arm}"
    note = "Times begin when a request was due; what the floor cannot answer at once it makes wait."
    return Section(f"overload-{arm}", title, HEADER, tuple(rows), _findings(arm, runs), (note,))


def _row(server: Server, can: float, run: Open) -> tuple[str, ...]:
    return (
        server.name,
        f"{can:,.0f}",
        f"{LOAD * can:,.0f}",
        f"{run.per_s:,.0f}",
        f"{run.refused.get(503, 0) / run.asked:.1%}",
        *(f"{np.percentile(run.answered_ms, p):.0f}" for p in (50, 99)),
        str(run.lost),
        f"{machine.resident_mb(server.processes['worker']):.0f}",
    )


def _findings(arm: str, runs: list[tuple[float, Open]]) -> tuple[Finding, ...]:
    """Of abctl. Each run is beside the capacity that was measured just before it."""
    kept = median(run.per_s / can for can, run in runs)
    shed = sum(run.refused.get(503, 0) for _, run in runs)
    told = sum(run.told_when for _, run in runs)
    others = sum(run.lost + sum(run.refused.values()) for _, run in runs) - shed
    return (
        Finding(f"answers of its capacity, {arm}", f"at least {KEPT:g}x", f"{kept:.2f}x", kept >= KEPT),
        Finding(f"sheds with 503, {arm}", "more than 0", str(shed), shed > 0),
        Finding(f"503 without Retry-After, {arm}", "0", str(shed - told), shed == told),
        Finding(f"lost or refused otherwise, {arm}", "0", str(others), others == 0),
    )
