"""Brings the database to the schema of this release, under a lock, by Alembic's migrations."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from importlib.resources import files

from sqlalchemy import Connection, Engine, inspect, text

from store.errors import SchemaTooNew

HEAD = "0010"
_KNOWN = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010")
_ADVISORY_LOCK = 0x616263746C  # "abctl"


def revision_of(engine: Engine) -> str | None:
    """The database's revision, or None where it was never migrated."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(engine: Engine) -> bool:
    """Migrates to HEAD; returns whether anything was to be done. Of two processes at once one waits."""
    current = revision_of(engine)
    if current == HEAD:
        return False
    if current is not None and current not in _KNOWN:
        raise SchemaTooNew(
            f"the database is at revision {current}, this abctl knows up to {HEAD}:"
            " upgrade abctl on this machine"
        )
    with _locked(engine) as connection:
        _run_alembic(connection)
    return True


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("store") / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _locked(engine: Engine) -> Generator[Connection]:
    if engine.dialect.name == "sqlite":
        with _file_lock(f"{engine.url.database}.migrate.lock"), engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
    else:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            yield connection


@contextmanager
def _file_lock(path: str) -> Generator[None]:
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
