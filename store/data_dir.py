"""The data directory: where everything of one node lies, who owns it, and where its service answers."""

import fcntl
import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from store.errors import DataDirLocked


@dataclass(frozen=True, slots=True)
class DataDir:
    """Paths in one data directory."""

    root: Path

    @property
    def journals(self) -> Path:
        """root/journal/EXPERIMENT/JOURNAL/*.seg."""
        return self.root / "journal"

    @property
    def models(self) -> Path:
        """Unpacked artefacts by id; a cache of SQL."""
        return self.root / "models"

    @property
    def database(self) -> Path:
        """The default SQLite file."""
        return self.root / "abctl.db"

    @property
    def valkey(self) -> Path:
        """The private Valkey's directory."""
        return self.root / "valkey"

    @property
    def metrics(self) -> Path:
        """Where workers share their counters."""
        return self.root / "metrics"

    @property
    def lock(self) -> Path:
        """Held by who owns the directory."""
        return self.root / "lock"

    @property
    def service_file(self) -> Path:
        """Says where the running service answers."""
        return self.root / "service.json"

    @property
    def log(self) -> Path:
        """The service's log."""
        return self.root / "service.log"

    def prepare(self) -> "DataDir":
        """Creates the directory, for its owner alone."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in (self.journals, self.models):
            path.mkdir(exist_ok=True, mode=0o700)
        return self

    def node_id(self) -> str:
        """This node's name in the stream's consumer group; made once."""
        path = self.root / "node"
        if not path.exists():
            staging = path.with_suffix(f".{uuid.uuid4().hex}")
            staging.write_text(staging.suffix.removeprefix("."))
            with suppress(FileExistsError):  # of two processes at once the first names the node
                path.hardlink_to(staging)
            staging.unlink()
        return path.read_text()


class ServiceFile(msgspec.Struct, frozen=True):
    """service.json: the running service of a data directory."""

    url: str
    pid: int
    started_at_us: int


def write_service(data_dir: DataDir, service: ServiceFile) -> None:
    """Announces a running service."""
    staging = data_dir.service_file.with_suffix(f".{os.getpid()}")
    staging.write_bytes(msgspec.json.encode(service))
    staging.replace(data_dir.service_file)


def read_service(data_dir: DataDir) -> ServiceFile | None:
    """The service that announced itself; it may have died since."""
    try:
        return msgspec.json.decode(data_dir.service_file.read_bytes(), type=ServiceFile)
    except FileNotFoundError:
        return None


@contextmanager
def owned(data_dir: DataDir) -> Generator[None]:
    """Holds the data directory's lock, or raises DataDirLocked. Freed by the kernel when the process dies."""
    fd = os.open(data_dir.lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise DataDirLocked(
            f"the data directory {data_dir.root} belongs to a running abctl;"
            " stop it, or use another --data-dir"
        ) from None
    try:
        yield
    finally:
        os.close(fd)
