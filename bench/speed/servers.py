"""The servers that are compared: each with its one HTTP worker pinned, and what it costs by process."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.own_service import OwnService
from speed import machine

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 30.0
_ROLES = {"import worker;": "worker", "import shipper;": "shipper", "valkey": "Valkey"}
CARRIERS = ("shipper", "Valkey")
"""Who works on after the last answer."""
_SETTLED_S = 0.25
_IDLE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Server:
    """An HTTP server under test. processes: role -> pid."""

    name: str
    url: str
    processes: Mapping[str, int]
    token: str = ""

    def cpu_ms(self) -> dict[str, float]:
        """What every process has used so far."""
        return {role: machine.cpu_ms(pid) for role, pid in self.processes.items()}

    def post(self, path: str, body: bytes) -> dict[str, object]:
        """One request on a connection of its own; raises on anything but 2xx."""
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, body, headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
            return dict(json.load(reply))

    def settle(self, patience_s: float = 10.0) -> None:
        """Waits until what was answered is also carried away, so that it costs nobody else's run."""
        carriers = [pid for role, pid in self.processes.items() if role in CARRIERS]
        deadline_s = time.monotonic() + patience_s
        while carriers and time.monotonic() < deadline_s:
            before = sum(map(machine.cpu_ms, carriers))
            time.sleep(_SETTLED_S)
            if sum(map(machine.cpu_ms, carriers)) - before <= _IDLE_SHARE * 1000 * _SETTLED_S:
                return


@contextmanager
def asgi(name: str, core: int, script: str, *words: str) -> Generator[Server]:
    """One of the scripts beside this file, on a core of its own; it prints its port."""
    command = [sys.executable, str(HERE / script), *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise SystemExit(f"{script} did not start: its last lines are above")
        machine.pin(process.pid, core)
        yield Server(name, f"http://127.0.0.1:{port}", {"worker": process.pid})
        process.stdin.close()


@dataclass(frozen=True, slots=True)
class Abctl:
    """A service of the benchmark's own with everything on, and the commands that steer it."""

    server: Server
    service: OwnService

    def serve_all_with(self, arm: str) -> None:
        """Gives one arm all units that start from now on; returns when that holds."""
        share = "1" if arm == "transformer" else "0"
        split = json.loads(self.service.command("split", "set", "transformer", share, "--no-wait", "--json"))
        if split["weights"].get(arm) != 1.0:
            raise SystemExit(f"the split is {split['weights']}, not all {arm}")
        time.sleep(SPLIT_LEAD_S + 0.5)


SPLIT_LEAD_S = 2.0


@contextmanager
def abctl(folder: Path, models: Path, core: int) -> Generator[Abctl]:
    """`abctl serve --workers 1` with an empty data directory, the models of `models`, and API keys."""
    service = OwnService(folder, flags=("--workers", "1"))
    for arm in ("base", "transformer"):
        done = json.loads(service.command("model", "import", str(models / arm), "--arm", arm, "--json"))
        service.command("model", "promote", done["id"], "--arm", arm)
    keys = {scope: _key(service, scope) for scope in ("decide", "admin")}
    service.environment["ABCTL_API_KEY"] = keys["admin"]
    service.start()
    try:
        assert service.process is not None
        processes = _processes(service.process.pid)
        machine.pin(processes["worker"], core)
        yield Abctl(Server("abctl", service.url, processes, keys["decide"]), service)
    finally:
        service.stop()


def _key(service: OwnService, scope: str) -> str:
    """A new API key."""
    words = ("key", "create", f"bench-{scope}", "--scope", scope, "--json")
    return str(json.loads(service.command(*words))["key"])


def _processes(supervisor: int) -> dict[str, int]:
    """The service's processes by role."""
    found = {"supervisor": supervisor}
    for pid in machine.descendants(supervisor):
        command = machine.command_of(pid)
        role = next((role for mark, role in _ROLES.items() if mark in command), command[:40])
        found[role] = pid
    return found
