"""A PostgreSQL of one's own for a benchmark: the wheel's programs, with its durable settings."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "chaos"))

from harness.servers import OwnPostgres


class DurablePostgres(OwnPostgres):
    """The tests' own does not wait for the disk; this one does, as PostgreSQL does by itself."""

    def command(self) -> list[str]:
        return ["fsync=on" if word == "fsync=off" else word for word in super().command()]


@contextmanager
def own_postgres(*settings: str) -> Iterator[DurablePostgres]:
    """An empty cluster that is gone afterwards. settings: more of them, as NAME=VALUE."""
    with tempfile.TemporaryDirectory(prefix="abctl-bench-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL refuses root and runs as `nobody`
        server = DurablePostgres(folder)
        server.prepare()
        (folder / "data" / "postgresql.auto.conf").write_text("".join(f"{line}\n" for line in settings))
        server.start()
        try:
            yield server
        finally:
            server.kill()
