"""How soon a service is ready, and how much memory its workers take.

    python bench/startup.py [--starts 5] [--workers 2] [--decisions 20000]

Times `abctl serve` from its start until it says that it is ready with both starter models: on an empty
directory, and started again on the same one; beside it, in the same minute, the bare import of the libraries
that a worker cannot do without. On a busy machine compare CPU, or run it as `chrt -f 10 ...`. Then the memory
of the workers, after decisions of both arms on as many units. Needs Linux.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from abctl_client.client import Client
from speed import machine

READY_TARGET_S, MEMORY_TARGET_MB = 3.0, 400
LIBRARIES = "import uvicorn, uvloop, httptools, fastapi, onnxruntime, sqlmodel, psycopg, redis"
ABCTL = [sys.executable, "-P", "-c", "from cli.main import main; main()"]
ROW = [0.1] * 18
AT_ONCE = 32


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


async def decide(url: str, decisions: int) -> dict[str, int]:
    """Decisions on as many units; how many each arm made."""
    served: dict[str, int] = {}
    started_at = int(time.time() * 1000)

    async def bot(client: Client, first: int) -> None:
        for n in range(first, decisions, AT_ONCE):
            decision = await client.decide(f"unit-{n}", [ROW] * 20, started_at=started_at)
            served[decision.served_arm] = served.get(decision.served_arm, 0) + 1

    async with Client(url, timeout_s=30.0) as client, asyncio.TaskGroup() as group:
        for first in range(AT_ONCE):
            group.create_task(bot(client, first))
    return served


def memory_mb(pid: int) -> tuple[float, float]:
    """Peak of what a process held; its own part of what it holds, shared pages by halves, thirds, ..."""
    return kilobytes(pid, "status", "VmHWM:") / 1024, kilobytes(pid, "smaps_rollup", "Pss:") / 1024


def kilobytes(pid: int, file: str, name: str) -> int:
    """One line of /proc/PID/FILE."""
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def show_starts(name: str, starts: list[Start]) -> None:
    """One line."""
    seconds = statistics.median(start.seconds for start in starts)
    cpu = {r: statistics.median(start.cpu_ms.get(r, 0.0) for start in starts) for r in starts[0].cpu_ms}
    shown = ", ".join(f"{role} {ms:,.0f}" for role, ms in cpu.items())
    print(f"{name:16s} ready after {seconds:5.2f} s (target: {READY_TARGET_S:g} s)   CPU ms: {shown}")


def measure_starts(starts: int, workers: int) -> None:
    """Seconds until ready."""
    fresh, again, bare = [], [], []
    for _ in range(starts):
        with tempfile.TemporaryDirectory(prefix="abctl-start-") as name:
            for found in (fresh, again):
                with started(Path(name) / "data", workers) as (_, _, start):
                    found.append(start)
            bare.append(libraries())
    show_starts("empty directory", fresh)
    show_starts("started again", again)
    seconds, cpu_ms = (statistics.median(column) for column in zip(*bare, strict=True))
    print(f"{'bare imports':16s} done  after {seconds:5.2f} s   CPU ms: {cpu_ms:,.0f}")


def measure_memory(workers: int, decisions: int) -> None:
    """Megabytes of every worker."""
    with (
        tempfile.TemporaryDirectory(prefix="abctl-start-") as name,
        started(Path(name) / "data", workers) as (pid, url, _),
    ):
        split = [*ABCTL, "split", "set", "transformer", "0.5", "--url", url]
        subprocess.run(split, check=True, capture_output=True)
        served = asyncio.run(decide(url, decisions))
        print(f"\nafter {decisions:,} decisions ({', '.join(f'{n:,} {arm}' for arm, n in served.items())})")
        for each in machine.descendants(pid):
            if role_of(each) == "worker":
                peak, own = memory_mb(each)
                print(f"worker: peak {peak:.0f} MB (target: {MEMORY_TARGET_MB} MB), own part {own:.0f} MB")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--decisions", type=int, default=20_000)
    asked = parser.parse_args()
    print(f"{machine.facts()}\nload average {machine.load_average():.1f}\n", flush=True)
    measure_starts(asked.starts, asked.workers)
    measure_memory(asked.workers, asked.decisions)


if __name__ == "__main__":
    main()
