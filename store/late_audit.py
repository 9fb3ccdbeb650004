"""Audit rows of what must work without SQL (kills): first in the data directory, in SQL when it answers."""

import fcntl
import logging
import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine, select

from store import tables
from store.audit import record_change
from store.data_dir import DataDir
from store.sql import in_transaction, table_of
from store.whole_file import write_whole

_TABLE = table_of(tables.Audit)
_LOG = logging.getLogger("abctl.audit")


class Note(msgspec.Struct, frozen=True):
    """An audit row to be. detail: JSON."""

    at_us: int
    actor: str
    action: str
    experiment: str
    detail: str


def _folder(data_dir: DataDir) -> Path:
    return data_dir.root / "audit"


def note(data_dir: DataDir, row: Note) -> None:
    """Keeps a row on the disk until `settle` has brought it to SQL."""
    write_whole(_folder(data_dir) / f"{row.at_us:020d}-{uuid.uuid4().hex}.json", msgspec.json.encode(row))


def settle(data_dir: DataDir, engine: Engine) -> int:
    """Brings the rows to SQL, each once, the oldest first; returns how many. 0 where another process does."""
    paths = sorted(_folder(data_dir).glob("*.json"))
    if not paths:
        return 0
    with _alone(_folder(data_dir)) as is_mine:
        return sum(_settled(path, engine) for path in paths) if is_mine else 0


def _settled(path: Path, engine: Engine) -> bool:
    try:
        row = msgspec.json.decode(path.read_bytes(), type=Note)
    except FileNotFoundError:
        return False
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        kept = path.rename(path.with_suffix(".unreadable"))
        _LOG.error(
            "%s is no row of the audit (%s): kept for you to read, and those behind it go on", kept, error
        )
        return False
    in_transaction(engine, lambda connection: _insert_once(connection, row))
    path.unlink()
    return True


def _insert_once(connection: Connection, row: Note) -> None:
    """A process that died between commit and unlink leaves a file whose row is there."""
    same = [column == getattr(row, column.name) for column in _TABLE.c if column.name != "id"]
    if connection.execute(select(_TABLE.c.id).where(*same)).first() is None:
        record_change(connection, row.at_us, row.actor, row.action, row.experiment, row.detail)


@contextmanager
def _alone(folder: Path) -> Generator[bool]:
    """Whether this process may settle; another one that hangs in SQL keeps nobody waiting."""
    descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
