"""Everything that is measured, started once: abctl, a floor for each arm, the noop."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import arms
from arms.presets import preset_of
from speed import bodies, servers
from speed.bodies import Load
from speed.open_loop import Open, opened
from speed.servers import Abctl, Server
from speed.wrk import Closed, closed

ARMS = ("transformer", "base")
_THAW_S = 2.0
"""A worker that was frozen for many seconds first does what its clocks have missed: that is nobody's load."""


@dataclass(frozen=True, slots=True)
class Lab:
    """What the parts of the benchmark measure with.

    folder: for files of this run; models: what `exported` made; peers: virtual environments of other
    servers. cores: of the worker, and of all else. seconds: of one run of one server; rounds: how often
    servers take turns.
    """

    abctl: Abctl
    floors: Mapping[str, Server]
    noop: Server
    folder: Path
    models: Path
    peers: Path
    cores: tuple[int, int]
    may_install: bool
    arms: tuple[str, ...]
    connections: int
    seconds: int
    rounds: int

    def prepare(self, arm: str) -> tuple[Server, Server]:
        """All new units to one arm; the floor of that arm, and abctl, which answer with the same fields."""
        self.abctl.serve_all_with(arm)
        floor, ours = self.floors[arm], self.abctl.server
        body = bodies.decisions(self.folder).bodies[0]
        expected, reply = (server.post("/v1/decide", body) for server in (floor, ours))
        if set(expected) != set(reply):
            raise SystemExit(f"the floor's fields are not abctl's: {sorted(set(expected) ^ set(reply))}")
        if (reply["served_arm"], reply["reason"]) != (arm, "assigned"):
            raise SystemExit(f"abctl answers with {reply['served_arm']} ({reply['reason']}), not {arm}")
        if any(abs(_probs(expected)[a] - _probs(reply)[a]) > 1e-4 for a in _probs(reply)):
            raise SystemExit(f"the same network answers {expected['probs']} and {reply['probs']}")
        return floor, ours

    def closed(self, server: Server, load: Load, connections: int = 0, seconds: int = 0) -> Closed:
        """A closed loop on one server; connections and seconds as everywhere unless others are named."""
        with self.alone(server):
            return closed(server, load, connections or self.connections, seconds or self.seconds)

    def opened(self, server: Server, load: Load, due_s: NDArray[np.float64], connections: int) -> Open:
        """An open loop on one server."""
        with self.alone(server):
            run = opened(server, load, due_s, connections)
            server.settle()
            return run

    @contextmanager
    def alone(self, server: Server) -> Generator[None]:
        """Freezes the workers of the others: even an idle one costs the core a few per cent."""
        rest = [each for each in (self.abctl.server, self.noop, *self.floors.values()) if each != server]
        try:
            for each in rest:
                os.kill(each.processes["worker"], signal.SIGSTOP)
            yield
        finally:
            for each in rest:
                os.kill(each.processes["worker"], signal.SIGCONT)
            time.sleep(_THAW_S)


def _probs(reply: Mapping[str, object]) -> dict[str, float]:
    probs = reply["probs"]
    assert isinstance(probs, dict)
    return probs


@contextmanager
def started(folder: Path, models: Path, core: int) -> Generator[tuple[Abctl, dict[str, Server], Server]]:
    """abctl, the floors by arm, and the noop; every HTTP worker on one core, the rest on this process's."""
    with ExitStack() as stack:
        floors = {
            arm: stack.enter_context(
                servers.asgi(
                    f"floor, {arm}",
                    core,
                    "floor_app.py",
                    str(models / f"{arm}.onnx"),
                    arm,
                    str(preset_of(arm, "default").window),
                )
            )
            for arm in ARMS
        }
        noop = stack.enter_context(servers.asgi("FastAPI noop", core, "fastapi_noop.py"))
        service = stack.enter_context(servers.abctl(folder / "abctl", models, core))
        yield service, floors, noop


def exported(cache: Path) -> Path:
    """The folder of models, made where the sources of `arms` have changed since."""
    sources = sorted(Path(arms.__file__).parent.glob("*.py"))
    script = Path(__file__).with_name("export_models.py")
    digest = hashlib.blake2b(b"".join(path.read_bytes() for path in (*sources, script)), digest_size=8)
    folder = cache / f"models-{digest.hexdigest()}"
    if not folder.exists():
        staging = cache / f"models-{os.getpid()}"
        print("exporting the models with torch ...", flush=True)
        done = subprocess.run(
            [sys.executable, str(script), str(staging)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"the models could not be exported:\n{done.stderr[-2000:]}")
        staging.rename(folder)
    return folder
