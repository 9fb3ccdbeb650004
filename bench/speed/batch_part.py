"""256 decisions in one request beside single calls: decisions a second of abctl, in turns."""

from statistics import median

from speed import bodies
from speed.decide_part import costs
from speed.found import Section, at_least
from speed.lab import Lab
from speed.wrk import Closed, checked

BATCH_CONNECTIONS = 2
TARGET = 1.5
HEADER = ("calls", "connections", "decisions/s", "of single", "request p50 ms")


def measured(lab: Lab) -> list[Section]:
    """A section for each arm."""
    return [_arm(lab, arm) for arm in lab.arms]


def _arm(lab: Lab, arm: str) -> Section:
    _, server = lab.prepare(arm)
    _check(server.post("/v1/decide/batch", bodies.batches(lab.folder, 1).bodies[0]), arm)
    single, batch = [], []
    for _ in range(lab.rounds):
        run = lab.closed(server, bodies.decisions(lab.folder))
        single.append(checked(run, "single calls"))
        run = lab.closed(server, bodies.batches(lab.folder), BATCH_CONNECTIONS, 2 * lab.seconds)
        batch.append(checked(run, "batches"))
    times = median(bodies.BATCH * b.per_s / a.per_s for a, b in zip(single, batch, strict=True))
    rows = (
        _row("single", lab.connections, single, 1, 1.0),
        _row(f"{bodies.BATCH} a request", BATCH_CONNECTIONS, batch, bodies.BATCH, times),
    )
    notes = (
        f"CPU ms per 1,000 decisions, single: {costs(single)}.",
        f"CPU ms per 1,000 decisions, in batches: {costs(batch, bodies.BATCH)}.",
    )
    found = (at_least(f"decisions/s in batches of {bodies.BATCH} over single calls, {arm}", times, TARGET),)
    return Section(f"batch-{arm}", f"/v1/decide/batch, all to {arm}", HEADER, rows, found, notes)


def _check(reply: dict[str, object], arm: str) -> None:
    """Every item of a batch was decided by the arm."""
    items = reply["decisions"]
    assert isinstance(items, list)
    if len(items) != bodies.BATCH or any(item.get("served_arm") != arm for item in items):
        raise SystemExit(f"a batch was answered otherwise than by {arm}: {items[0]}")


def _row(name: str, connections: int, runs: list[Closed], items: int, times: float) -> tuple[str, ...]:
    return (
        name,
        str(connections),
        f"{median(items * run.per_s for run in runs):,.0f}",
        f"{times:.2f}x",
        f"{median(run.counted.p50_us for run in runs) / 1000:.1f}",
    )
