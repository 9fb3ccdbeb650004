"""`/v1/decide` in a closed loop: abctl with everything on beside the floor and the noop, taking turns."""

from statistics import median

from speed import bodies
from speed.found import Finding, Section, at_least
from speed.lab import Lab
from speed.servers import Server
from speed.wrk import Closed, checked

TARGETS = {"transformer": 1.2, "base": 0.7}
HEADER = ("server", "requests/s", "of floor", "p50 ms", "p99 ms", "worker CPU ms/1,000", "of floor")


def measured(lab: Lab) -> list[Section]:
    """A section for each arm."""
    return [_arm(lab, arm) for arm in lab.arms]


def _arm(lab: Lab, arm: str) -> Section:
    floor, ours = lab.prepare(arm)
    runs = _in_turns(lab, (floor, ours, lab.noop))
    rows = tuple(_row(name, each, runs[floor.name]) for name, each in runs.items())
    title = f"/v1/decide, all to {arm}, {lab.connections} connections"
    return Section(f"decide-{arm}", title, HEADER, rows, _findings(arm, runs, floor), _costs(runs))


def _in_turns(lab: Lab, servers: tuple[Server, ...]) -> dict[str, list[Closed]]:
    """Every server's runs, one in each round."""
    runs: dict[str, list[Closed]] = {server.name: [] for server in servers}
    for server in servers:  # what the first requests make lazily is not measured
        lab.closed(server, bodies.decisions(lab.folder), seconds=1)
    for _ in range(lab.rounds):
        for server in servers:
            run = lab.closed(server, bodies.decisions(lab.folder))
            runs[server.name].append(checked(run, server.name))
    return runs


def ratio(ours: list[Closed], theirs: list[Closed]) -> float:
    """How many times the others' requests a second: the median over the rounds."""
    return median(a.per_s / b.per_s for a, b in zip(ours, theirs, strict=True))


def _worker_ms(run: Closed) -> float:
    return run.cpu_per_1000()["worker"]


def _row(name: str, runs: list[Closed], floor: list[Closed]) -> tuple[str, ...]:
    cpu = median(_worker_ms(a) / _worker_ms(b) for a, b in zip(runs, floor, strict=True))
    return (
        name,
        f"{median(run.per_s for run in runs):,.0f}",
        f"{ratio(runs, floor):.2f}x",
        f"{median(run.counted.p50_us for run in runs) / 1000:.2f}",
        f"{median(run.counted.p99_us for run in runs) / 1000:.2f}",
        f"{median(map(_worker_ms, runs)):.0f}",
        f"{cpu:.2f}x",
    )


def _findings(arm: str, runs: dict[str, list[Closed]], floor: Server) -> tuple[Finding, ...]:
    against = ratio(runs["abctl"], runs[floor.name])
    found = [at_least(f"requests/s of the floor, {arm}", against, TARGETS[arm])]
    if arm == "transformer":
        noop = ratio(runs["abctl"], runs["FastAPI noop"])
        found.append(Finding("requests/s of the FastAPI noop", "more than 1x", f"{noop:.2f}x", noop > 1))
    return tuple(found)


def _costs(runs: dict[str, list[Closed]]) -> tuple[str, ...]:
    """One sentence for each server: CPU of every process."""
    return tuple(f"CPU ms per 1,000 decisions, {name}: {costs(each)}." for name, each in runs.items())


def costs(runs: list[Closed], items: int = 1) -> str:
    """The median cost of every process."""
    each = [run.cpu_per_1000(items) for run in runs]
    return ", ".join(f"{role} {median(one[role] for one in each):.0f}" for role in each[0])
