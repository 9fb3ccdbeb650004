"""Other servers: each in a virtual environment of its own, started for its turn, ended with its children."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from speed import bodies, machine
from speed.bodies import Load
from speed.lab import Lab
from speed.servers import Server

APPS = Path(__file__).with_name("peers")
START_S, END_S = 180.0, 15.0
V2_PATH = "/v2/models/decide/infer"


@dataclass(frozen=True, slots=True)
class Peer:
    """needs: what pip installs. target: how many times its requests a second abctl must answer, if any.

    beside: names of its processes that keep house and answer nothing; they get the core of the load, as ours.
    """

    name: str
    script: str
    needs: str
    path: str = "/v1/decide"
    target: float = 0.0
    beside: tuple[str, ...] = ()


_RAY_HOUSE = ("gcs_server", "raylet", "ray::Dashboard", "ray::RuntimeEnv", "ray::ServeContr", "python")
PEERS = (
    Peer("LitServe", "litserve_app.py", "litserve==0.2.19", target=5.0),
    Peer("Ray Serve", "ray_app.py", "ray[serve]==2.60.0", target=10.0, beside=_RAY_HOUSE),
    Peer("MLServer", "mlserver_app.py", "mlserver==1.7.1", path=V2_PATH),
    Peer("BentoML", "bentoml_app.py", "bentoml==1.4.39"),
)


class Missing(Exception):
    """A peer that cannot be measured here; says why."""


def load_of(peer: Peer, folder: Path) -> Load:
    """The same histories in the peer's protocol."""
    load = bodies.decisions(folder)
    if peer.path != V2_PATH:
        return load
    tensors = tuple(_tensor(msgspec.json.decode(body)["history"]) for body in load.bodies)
    return bodies.saved(peer.path, tensors, folder)


def _tensor(history: list[list[float]]) -> bytes:
    """A request of the V2 inference protocol."""
    flat = [number for row in history for number in row]
    one = {"name": "history", "shape": [1, len(history), len(history[0])], "datatype": "FP32", "data": flat}
    return msgspec.json.encode({"inputs": [one]})


@contextmanager
def started(peer: Peer, lab: Lab) -> Generator[Server]:
    """The peer, answering, its processes pinned; Missing where it does not."""
    python = _environment_of(peer, lab)
    log = lab.folder / f"{peer.script}.log"
    port = _free_port()
    process = _launched(
        [str(python), str(APPS / peer.script), str(lab.models / "transformer.onnx"), str(port)], log, lab
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _await(Server(peer.name, url, {}), process, load_of(peer, lab.folder), log)
        yield Server(peer.name, url, _pinned(peer, process.pid, lab.cores))
    finally:
        _end(process)


def _launched(command: list[str], log: Path, lab: Lab) -> "subprocess.Popen[bytes]":
    """On both cores until it is ready."""
    own_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, lab.cores)
    own = {
        "TMPDIR": str(lab.folder),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "BENTOML_DO_NOT_TRACK": "True",
    }
    try:
        with log.open("wb") as out:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **own},
                start_new_session=True,
            )
    finally:
        os.sched_setaffinity(0, own_cores)


def _environment_of(peer: Peer, lab: Lab) -> Path:
    """The Python of the peer's virtual environment, made where that is allowed."""
    venv = lab.peers / peer.script.removesuffix("_app.py")
    python = venv / "bin" / "python"
    if python.exists():
        return python
    if not lab.may_install:
        raise Missing("not installed here; add --install")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    needs = [peer.needs, "onnxruntime", "numpy"]
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", *needs], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(venv)
        raise Missing(f"pip cannot install {peer.needs}: {_last_line(done.stderr)}")
    return python


def version_of(peer: Peer, lab: Lab) -> str:
    """What is installed of it."""
    name = peer.needs.partition("==")[0].partition("[")[0]
    python = lab.peers / peer.script.removesuffix("_app.py") / "bin" / "python"
    code = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.check_output([str(python), "-c", code], text=True).strip()


def _await(server: Server, process: "subprocess.Popen[bytes]", load: Load, log: Path) -> None:
    """Until it answers one decision."""
    why = f"no answer within {START_S:.0f} s"
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise Missing(f"ended with {process.returncode}: {_last_line(log.read_text(errors='replace'))}")
        try:
            reply = server.post(load.path, load.bodies[0])
        except urllib.error.HTTPError as error:
            why = f"answers {error.code}: {_last_line(error.read().decode(errors='replace'))}"
        except (OSError, json.JSONDecodeError):
            pass
        else:
            if reply:
                return
        time.sleep(0.5)
    raise Missing(why)


def _pinned(peer: Peer, pid: int, cores: tuple[int, int]) -> dict[str, int]:
    """The peer's processes, each on its core, under short names; those of one name are numbered."""
    found: dict[str, int] = {}
    for each in (pid, *machine.descendants(pid)):
        name = Path(f"/proc/{each}/comm").read_text().strip()
        machine.pin(each, cores[1] if peer.beside and name.startswith(peer.beside) else cores[0])
        found[name if name not in found else f"{name} {each}"] = each
    return found


def _end(process: "subprocess.Popen[bytes]") -> None:
    """TERM for the first process, KILL for whatever of it is left."""
    family = machine.descendants(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    for pid in (process.pid, *family):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    """With two free ones behind it, most likely."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines or ["it said nothing"])[-1][:160]
