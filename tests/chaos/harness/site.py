"""What is to be broken: `abctl serve` with two workers, its SQL and its Redis, all of them ours alone."""

import json
import os
import random
import shutil
import signal
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from cli.own_service import OwnService
from harness.proxy import Proxy
from harness.servers import OwnPostgres, OwnRedis, wait_until
from store.data_dir import DataDir
from store.valkey import private_url

LEAD_S = 1.1
QUOTA_BYTES = 1 << 20
ROLES = {
    b"valkey-server": "redis",
    b"valkey_launch": "launcher",
    b"import worker": "worker",
    b"import shipper": "shipper",
    b"import steward": "steward",
}


@dataclass(slots=True)
class Site:
    """A running service. postgres, redis_server: None where SQLite and the private Valkey do their work."""

    folder: Path
    service: OwnService
    sql_url: str
    redis_server: OwnRedis | None = None
    postgres: OwnPostgres | None = None
    proxies: dict[str, Proxy] = field(default_factory=dict)
    port: int = 0

    @property
    def url(self) -> str:
        """Where the bots go; it survives restarts."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """The first start, and every one after the supervisor was killed: on the same port."""
        wait_until(lambda: not self.pids("supervisor"), 5.0, "the last supervisor ends")
        self.service.start(self.port)
        self.port = int(self.service.url.rpartition(":")[2])

    def pids(self, role: str) -> list[int]:
        """The living processes of the service with a role: supervisor, worker, shipper, redis, launcher."""
        return [pid for pid, its in processes_of(self.folder / "data").items() if its == role]

    def signal(self, role: str, number: int) -> None:
        """To every process of a role, the servers beside the service among them."""
        server = {"redis": self.redis_server, "postgres": self.postgres}.get(role)
        if server is not None:
            server.signal(number)
            return
        for pid in self.pids(role):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def redis_client(self) -> "redis.Redis":
        """Straight to the server, past any proxy."""
        if self.redis_server is not None:
            return self.redis_server.client()
        return redis.Redis.from_url(private_url(DataDir(self.folder / "data")), socket_timeout=5.0)

    def status(self) -> dict[str, Any]:
        """`abctl status --json`."""
        found: dict[str, Any] = json.loads(self.service.command("status", "--json"))
        return found

    def lag_bytes(self) -> int:
        """What is not yet in SQL."""
        return int(self.status()["journal_bytes_not_in_sql"])

    def send(self, method: str, path: str, body: object, timeout_s: float = 5.0) -> tuple[int, Any]:
        """One request past the bots: its status (0 where nobody answered) and its JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, None
        except (OSError, ValueError):
            return 0, None


def processes_of(folder: Path) -> dict[int, str]:
    """pid -> role of every living process that knows a data directory."""
    needle, found = str(folder.resolve()).encode(), {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (path / "cmdline").read_bytes()
            if not command or int(path.name) == os.getpid() or b"harness.bots" in command:
                continue
            if needle in command or needle in (path / "environ").read_bytes():
                found[int(path.name)] = next(
                    (its for word, its in ROLES.items() if word in command), "supervisor"
                )
    return found


@contextmanager
def sqlite_site(**settings: str) -> Iterator[Site]:
    """SQLite and the private Valkey."""
    with _folder() as folder:
        yield from _opened(
            folder, Site(folder, _service(folder, settings), f"sqlite:///{folder}/data/abctl.db")
        )


@contextmanager
def direct_site(workers: int = 2, **settings: str) -> Iterator[Site]:
    """PostgreSQL and a Redis without a disk, nothing in between: a proxy takes time of its own."""
    with _folder() as folder, _servers(folder) as (redis_server, postgres):
        settings |= {
            "ABCTL_REDIS_URL": redis_server.url_at(redis_server.port),
            "ABCTL_DATABASE_URL": postgres.url_at(postgres.port),
        }
        site = Site(folder, _service(folder, settings, workers), postgres.url_at(postgres.port))
        site.redis_server, site.postgres = redis_server, postgres
        yield from _opened(folder, site)


@contextmanager
def postgres_site(seed: int, workers: int = 2, **settings: str) -> Iterator[Site]:
    """The same, each behind a proxy."""
    with _folder() as folder, _servers(folder) as (redis_server, postgres), ExitStack() as stack:
        proxies = {
            name: stack.enter_context(Proxy(server.port, random.Random(f"{name} {seed}")))
            for name, server in (("redis-net", redis_server), ("sql-net", postgres))
        }
        settings |= {
            "ABCTL_REDIS_URL": redis_server.url_at(proxies["redis-net"].port),
            "ABCTL_DATABASE_URL": postgres.url_at(proxies["sql-net"].port),
        }
        site = Site(folder, _service(folder, settings, workers), postgres.url_at(postgres.port))
        site.redis_server, site.postgres, site.proxies = redis_server, postgres, proxies
        yield from _opened(folder, site)


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[OwnRedis, OwnPostgres]]:
    with ExitStack() as stack:
        (folder / "redis").mkdir()
        (folder / "postgres").mkdir()
        redis_server, postgres = OwnRedis(folder / "redis"), OwnPostgres(folder / "postgres")
        postgres.prepare()
        for server in (redis_server, postgres):
            stack.callback(server.kill)
            server.start()
        yield redis_server, postgres


@contextmanager
def _folder() -> Iterator[Path]:
    """With a short name, for the socket; open to `nobody`, who runs PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="abctl-chaos-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _service(folder: Path, settings: dict[str, str], workers: int = 2) -> OwnService:
    defaults = {"ABCTL_SPLIT_LEAD_S": str(LEAD_S), "ABCTL_JOURNAL_QUOTA_BYTES": str(QUOTA_BYTES)}
    return OwnService(folder / "data", {**defaults, **settings}, ("--workers", str(workers)))


def _opened(folder: Path, site: Site) -> Iterator[Site]:
    """The service started; afterwards ended, and nobody of it left."""
    try:
        site.start()
        yield site
        site.service.stop()
        left = processes_of(folder / "data")
        assert left == {}, f"orphans: {left}"
    finally:
        _end(folder, site)


def _end(folder: Path, site: Site) -> None:
    for pid in processes_of(folder / "data"):
        for number in (signal.SIGCONT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    site.service.stop()


def last_lines(site: Site, count: int = 40) -> str:
    """The end of the service's log."""
    lines: Sequence[str] = site.service.log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-count:])
