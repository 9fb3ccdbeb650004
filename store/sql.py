"""Opens the SQL database: SQLite in the data directory by default, PostgreSQL by URL. Never migrates it."""

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Insert, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.pool import NullPool, QueuePool
from sqlmodel import SQLModel

from store.errors import StoreUnavailable

_SQLITE_BUSY_MS = 10_000
_TRIES = 5
# A PostgreSQL whose machine vanished is noticed within half a minute; libpq's own word would be two hours.
_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
T = TypeVar("T")


def normal_url(url: str) -> str:
    """The URL with the driver that we install: plain `postgres://` and `postgresql://` mean psycopg 3."""
    for plain in ("postgres://", "postgresql://"):
        if url.startswith(plain):
            return "postgresql+psycopg://" + url.removeprefix(plain)
    return url


def open_engine(url: str) -> Engine:
    """An engine. On SQLite its writing transactions lock at their start: no reader turns writer half-way."""
    if not url.startswith("sqlite"):
        asked = make_url(normal_url(url))
        patience = {name: value for name, value in _PATIENCE.items() if name not in asked.query}
        return create_engine(asked, pool_pre_ping=True, pool_size=4, connect_args=patience)
    engine = create_engine(url, poolclass=NullPool)
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def open_kept_engine(url: str) -> Engine:
    """The same for a process that writes all the time: on SQLite it keeps its connections as well.

    To close the last one is to copy the whole write-ahead log into the file. Where another file stands under
    the name of the one that a connection has open, what it wrote would be lost: a new one is opened.
    """
    if not url.startswith("sqlite"):
        return open_engine(url)
    engine = create_engine(url, poolclass=QueuePool)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "connect", partial(_note_file, engine.url.database))
    event.listen(engine, "checkout", partial(_check_file, engine.url.database))
    return engine


def _note_file(path: str | None, _connection: Any, record: Any) -> None:
    record.info["file"] = _identity(path)


def _check_file(path: str | None, _connection: Any, record: Any, _proxy: object) -> None:
    if record.info["file"] != _identity(path):
        raise DisconnectionError("the database file was replaced")


def _identity(path: str | None) -> tuple[int, int] | None:
    """Which file stands under a path; None where there is none, or the database has no file."""
    try:
        found = Path(path or "").stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_SQLITE_BUSY_MS}")
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Waits for another process that does the same to a new file: SQLite's own patience is not asked here."""
    give_up_s = time.monotonic() + _SQLITE_BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up_s:
                raise
        else:
            return
        time.sleep(0.01)


def table_of(model: type[SQLModel]) -> Table:
    """The SQLAlchemy table behind a SQLModel class."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table


def insert_new(connection: Connection, table: Table) -> Insert:
    """An INSERT that leaves existing keys alone."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def in_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Runs work in one writing transaction; runs it again where another writer was in the way."""
    for attempt in range(_TRIES):
        try:
            with engine.connect() as connection:
                return _once(connection, work)
        except DBAPIError as error:
            if attempt == _TRIES - 1 or not _is_conflict(error):
                raise
    raise AssertionError("unreachable")


def _once(connection: Connection, work: Callable[[Connection], T]) -> T:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        result = work(connection)
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
    return result


def _is_conflict(error: DBAPIError) -> bool:
    """Serialization failure, deadlock, or a locked SQLite file: the same work may succeed the next time."""
    code = getattr(error.orig, "sqlstate", None)
    return code in {"40001", "40P01"} or "database is locked" in str(error.orig)


def check_reachable(engine: Engine) -> None:
    """Raises StoreUnavailable with the reason where the database does not answer."""
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except OperationalError as error:
        url = engine.url.render_as_string(hide_password=True)
        raise StoreUnavailable(f"the database {url} does not answer: {error.orig}") from error
