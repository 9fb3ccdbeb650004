"""Closed-loop load by wrk: every connection sends its next request when it has the answer to the last."""

import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from speed.bodies import Load
from speed.servers import CARRIERS, Server

_SCRIPT = Path(__file__).with_name("load.lua")


class Counted(msgspec.Struct, frozen=True):
    """What load.lua prints. refused: answers with a status above 399. broken: no answer."""

    requests: int
    elapsed_us: int
    p50_us: int
    p99_us: int
    p999_us: int
    refused: int
    broken: int


@dataclass(frozen=True, slots=True)
class Closed:
    """One run. cpu_ms: of every process of the server, and of the load itself."""

    counted: Counted
    cpu_ms: dict[str, float]

    @property
    def good(self) -> int:
        """Requests that got what they asked for."""
        return self.counted.requests - self.counted.refused

    @property
    def per_s(self) -> float:
        """Good answers a second."""
        return self.good / self.counted.elapsed_us * 1e6

    def cpu_per_1000(self, items: int = 1) -> dict[str, float]:
        """CPU milliseconds of every process per 1,000 decisions; items: decisions in a request."""
        return {role: used / max(self.good * items, 1) * 1000 for role, used in self.cpu_ms.items()}


def closed(server: Server, load: Load, connections: int, seconds: int) -> Closed:
    """Runs wrk on this process's core. Carriers' costs include what they carry away afterwards."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(_SCRIPT)]
    words = [str(load.file), server.token] if server.token else [str(load.file)]
    before, own = server.cpu_ms(), _children_ms()
    done = subprocess.run(
        [*command, server.url + load.path, "--", *words], capture_output=True, text=True, check=False
    )
    used_by_load = _children_ms() - own
    if done.returncode != 0:
        raise SystemExit(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    at_end = server.cpu_ms()
    server.settle()
    carried = {role: spent for role, spent in server.cpu_ms().items() if role in CARRIERS}
    used = {role: spent - before[role] for role, spent in {**at_end, **carried}.items()}
    counted = msgspec.json.decode(done.stdout.splitlines()[-1], type=Counted)
    return Closed(counted, {**used, "wrk": used_by_load})


def checked(run: Closed, name: str) -> Closed:
    """The same, if every request was answered well."""
    if run.counted.refused or run.counted.broken:
        raise SystemExit(f"{name}: {run.counted.refused} refused and {run.counted.broken} broken requests")
    if not run.good:
        raise SystemExit(f"{name}: nothing was answered in time; measure longer with --seconds")
    return run


def _children_ms() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000
