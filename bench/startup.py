"""How soon a service is ready, how much memory its processes take, and whether that stops growing.

    python bench/startup.py [--starts 5] [--workers 1] [--units 1000000] [--write]

Times `abctl serve` from its start until it says that it is ready with both starter models: on an empty
directory, and started again on the same one; beside it, in the same minute, the bare import of the libraries
that a worker cannot do without. On a busy machine compare CPU, or run it as `chrt -f 10 ...`. Then, while
every unit gets a decision, of either arm, and its outcome, all through HTTP, the memory of the processes.
A million units take some minutes. Needs Linux.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import msgspec
from carry.page import measured_on, write
from speed import machine
from speed.found import Finding, Section, missed, text_of

READY_TARGET_S, MEMORY_TARGET_MB, GROWTH_TARGET = 3.0, 400, 1.05
LIBRARIES = "import uvicorn, uvloop, httptools, fastapi, onnxruntime, sqlmodel, psycopg, redis"
ABCTL = [sys.executable, "-P", "-c", "from cli.main import main; main()"]
ROW = [0.1] * 18
BATCH, CONNECTIONS, SAMPLES = 250, 4, 10
SETTLED_SHARE = 0.4
"""From here on memory must not grow: by then every cache is full."""
HEADING = """## Start and memory

`python bench/startup.py --write`. From `abctl serve` until it says that it is ready with both starter models;
beside it the bare import of the libraries that a worker cannot do without, in turns. Memory is what a process
holds (resident) while every unit gets its one decision by `POST /v1/decide/batch` and its outcome by
`POST /v1/outcomes`, half of the units on either arm, every fifth without `started_at`.
"""


@dataclass(frozen=True, slots=True)
class Start:
    """seconds: until ready. cpu_ms: of each role up to then."""

    seconds: float
    cpu_ms: dict[str, float]


def role_of(pid: int) -> str:
    """What a process of a service does."""
    command = machine.command_of(pid)
    roles = {"import worker": "worker", "import shipper": "shipper", "valkey": "valkey"}
    return next((role for word, role in roles.items() if word in command), "supervisor")


@contextmanager
def started(data_dir: Path, workers: int) -> Iterator[tuple[int, str, Start]]:
    """A service that is ready: its pid, its URL and how it got there."""
    words = ["serve", "--json", "--port", "0", "--workers", str(workers), "--data-dir", str(data_dir)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    began = time.perf_counter()
    with subprocess.Popen([*ABCTL, *words], **pipes) as process:
        event = json.loads(process.stdout.readline())
        seconds = time.perf_counter() - began
        assert event["event"] == "ready", event
        try:
            yield process.pid, event["url"], Start(seconds, cpu_by_role(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            process.stdout.read()


def cpu_by_role(supervisor: int) -> dict[str, float]:
    """CPU milliseconds of a service's processes so far."""
    spent: dict[str, float] = {}
    for pid in (supervisor, *machine.descendants(supervisor)):
        spent[role_of(pid)] = spent.get(role_of(pid), 0.0) + machine.cpu_ms(pid)
    return spent


def libraries() -> tuple[float, float]:
    """Seconds and CPU milliseconds of the bare imports."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
    seconds, after = time.perf_counter() - began, os.times()
    spent_s = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, 1e3 * spent_s


@dataclass(frozen=True, slots=True)
class Sample:
    """Megabytes of the largest process of each role, when so many units had been seen."""

    units: int
    held_mb: dict[str, float]


async def decide(pid: int, url: str, units: int) -> list[Sample]:
    """A decision and an outcome for every unit; what the processes hold now and then."""
    samples = [Sample(0, held_mb(pid))]
    async with aiohttp.ClientSession(url, headers={"content-type": "application/json"}) as session:
        for part in range(SAMPLES):
            first, last = (units * (part + i) // SAMPLES for i in (0, 1))
            starts = iter(range(first, last, BATCH))
            async with asyncio.TaskGroup() as group:
                for _ in range(CONNECTIONS):
                    group.create_task(bot(session, starts, last))
            samples.append(Sample(last, held_mb(pid)))
            print(f"{last:,} units: {samples[-1].held_mb}", flush=True)
    return samples


async def bot(session: aiohttp.ClientSession, starts: Iterator[int], last: int) -> None:
    """Batch after batch, each of other units."""
    for first in starts:
        names = [f"unit-{n}" for n in range(first, min(first + BATCH, last))]
        now_ms = time.time_ns() // 1_000_000
        asked = [{"unit": name, "history": [ROW] * 5} for name in names]
        for n, item in enumerate(asked):
            if n % 5:
                item["started_at"] = now_ms
        decided = await posted(session, "/v1/decide/batch", {"decisions": asked})
        assert all("action" in item for item in decided["decisions"]), decided["decisions"][:2]
        money = {"kind": "market", "pnl_usd": 0.1, "fill": "replay", "closed_at": now_ms}
        settled = await posted(session, "/v1/outcomes", [{"unit": name, **money} for name in names])
        assert all(item["status"] == "accepted" for item in settled["results"]), settled["results"][:2]


async def posted(
    session: aiohttp.ClientSession, path: str, body: object
) -> dict[str, list[dict[str, object]]]:
    """One request; a full journal is waited for, as a bot would."""
    while True:
        async with session.post(path, data=msgspec.json.encode(body)) as reply:
            if reply.status != 503:
                assert reply.status == 200, await reply.text()
                return dict(msgspec.json.decode(await reply.read()))
        await asyncio.sleep(1.0)


def held_mb(supervisor: int) -> dict[str, float]:
    """What the processes of a service hold now, in megabytes."""
    found: dict[str, float] = {}
    for pid in (supervisor, *machine.descendants(supervisor)):
        found[role_of(pid)] = max(found.get(role_of(pid), 0.0), kilobytes(pid, "status", "VmRSS:") / 1024)
    return {role: round(mb) for role, mb in found.items()}


def kilobytes(pid: int, file: str, name: str) -> int:
    """One line of /proc/PID/FILE."""
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def starts_section(starts: int, workers: int) -> Section:
    """Seconds until ready."""
    fresh, again, bare = [], [], []
    for _ in range(starts):
        with tempfile.TemporaryDirectory(prefix="abctl-start-") as name:
            for found in (fresh, again):
                with started(Path(name) / "data", workers) as (_, _, start):
                    found.append(start)
            bare.append(libraries())
    import_s, import_ms = (statistics.median(column) for column in zip(*bare, strict=True))
    rows = [start_row(name, found, import_s) for name, found in (("empty", fresh), ("started again", again))]
    slowest_s = max(statistics.median(start.seconds for start in found) for found in (fresh, again))
    finding = Finding(
        "ready with both models",
        f"under {READY_TARGET_S:g} s",
        f"{slowest_s:.2f} s",
        slowest_s < READY_TARGET_S,
    )
    rows.append(("bare imports", f"{import_s:.2f}", "1.00x", f"{import_ms:,.0f}"))
    header = ("data directory", "ready after s", "of the imports", "CPU ms")
    note = f"Medians of {starts} starts with {workers} worker(s)."
    return Section("startup", "Until a service is ready", header, tuple(rows), (finding,), (note,))


def start_row(name: str, starts: Sequence[Start], import_s: float) -> tuple[str, ...]:
    """One line."""
    seconds = statistics.median(start.seconds for start in starts)
    cpu = {r: statistics.median(start.cpu_ms.get(r, 0.0) for start in starts) for r in starts[0].cpu_ms}
    shown = ", ".join(f"{role} {ms:,.0f}" for role, ms in sorted(cpu.items()))
    return name, f"{seconds:.2f}", f"{seconds / import_s:.2f}x", shown


def memory_section(workers: int, units: int) -> Section:
    """Megabytes of every role."""
    with (
        tempfile.TemporaryDirectory(prefix="abctl-start-") as name,
        started(Path(name) / "data", workers) as (pid, url, _),
    ):
        split = [*ABCTL, "split", "set", "transformer", "0.5", "--url", url]
        subprocess.run(split, check=True, capture_output=True)
        samples = asyncio.run(decide(pid, url, units))
        workers_pids = [each for each in machine.descendants(pid) if role_of(each) == "worker"]
        peak_mb = max(kilobytes(each, "status", "VmHWM:") for each in workers_pids) / 1024
    settled = [s.held_mb["worker"] for s in samples if s.units >= SETTLED_SHARE * units]
    growth = settled[-1] / settled[0]
    roles = ("worker", "shipper", "valkey", "supervisor")
    rows = tuple((f"{s.units:,}", *(f"{s.held_mb.get(role, 0):,.0f}" for role in roles)) for s in samples)
    is_small, is_flat = peak_mb < MEMORY_TARGET_MB, growth <= GROWTH_TARGET
    since = f"growth of a worker from {SETTLED_SHARE * units:,.0f} to {units:,} units"
    findings = (
        Finding("peak of a worker", f"under {MEMORY_TARGET_MB} MB", f"{peak_mb:.0f} MB", is_small),
        Finding(since, f"at most {GROWTH_TARGET:g}x", f"{growth:.2f}x", is_flat),
    )
    return Section("memory", "Memory by units seen, MB", ("units", *roles), rows, findings)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="put the results into docs/benchmarks.md")
    asked = parser.parse_args()
    print(f"{measured_on()}\n", flush=True)
    sections = []
    for section in (partial(starts_section, asked.starts), partial(memory_section, units=asked.units)):
        sections.append(section(workers=asked.workers))
        print(f"\n{text_of(sections[-1])}\n", flush=True)
    if asked.write:
        write("start-heading", HEADING, sections)
    sys.exit(bool(missed(sections)))


if __name__ == "__main__":
    main()
