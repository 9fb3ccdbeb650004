"""A backup of a node while its service runs: a directory that is a data directory again, whole or not there.

Law: journals are copied before the database. What leaves a journal is in SQL first, so each record that was
acknowledged before the backup began is in the journals' copy, in the database's copy, or in both.
"""

import os
import shutil
import sqlite3
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from store.data_dir import DataDir
from store.errors import StoreUnavailable, TargetExists
from store.journal import journal_folders, segment_path, segment_starts

DUMP = "abctl.pgdump"
# What nobody can make again. The rest comes back by itself: models, Valkey, metrics, logs.
KEPT = ("KILL", "pepper", "audit", "revoked")


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What lies in the backup. database: the copy's file."""

    folder: Path
    database: Path
    database_bytes: int
    journals: int
    journal_bytes: int


def back_up(data_dir: DataDir, url: URL, folder: Path) -> BackedUp:
    """Copies a data directory and its database to a new folder. The service may go on working."""
    if folder.exists():
        raise TargetExists(folder)
    staging = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    staging.mkdir(mode=0o700, parents=True)
    try:
        for name in KEPT:
            _copy_kept(data_dir.root / name, staging / name)
        sizes = [_copy_journal(path, staging) for path in _journals(data_dir)]
        database = _copy_database(url, staging)
        _sync_tree(staging)
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _sync(folder.parent)
    return BackedUp(
        folder,
        folder / database.name,
        (folder / database.name).stat().st_size,
        len(sizes),
        sum(sizes),
    )


def _copy_kept(source: Path, target: Path) -> None:
    """A file, or the files of a folder; one that goes away meanwhile has reached SQL."""
    if source.is_dir():
        target.mkdir(mode=0o700)
        for path in sorted(source.glob("[!.]*")):
            _copy_file(path, target / path.name)
    else:
        _copy_file(source, target)


def _copy_file(source: Path, target: Path) -> int:
    """The bytes that were copied; 0 where the file is not there, or no longer."""
    try:
        with source.open("rb") as taken:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as given:
                shutil.copyfileobj(taken, given)
                return given.tell()
    except FileNotFoundError:
        return 0


def _journals(data_dir: DataDir) -> list[Path]:
    if not data_dir.journals.is_dir():
        return []
    return [folder for each in sorted(data_dir.journals.iterdir()) for folder in journal_folders(each)]


def _copy_journal(journal: Path, staging: Path) -> int:
    """Segments in order, without the owner's lock: a copy has no owner, so whoever serves it adopts it."""
    target = DataDir(staging).journals / journal.parent.name / journal.name
    target.mkdir(mode=0o700, parents=True)
    starts = segment_starts(journal)
    return sum(_copy_file(segment_path(journal, s), segment_path(target, s)) for s in starts)


def _copy_database(url: URL, staging: Path) -> Path:
    if url.get_backend_name() == "sqlite":
        return _copy_sqlite(Path(url.database or ""), DataDir(staging).database)
    return _dump_postgresql(url, staging / DUMP)


def _copy_sqlite(source: Path, target: Path) -> Path:
    """SQLite's online backup in one step: one moment, and no writer waits. The copy is checked."""
    taken = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
    given = sqlite3.connect(target)
    try:
        taken.backup(given, pages=-1)
        said = given.execute("PRAGMA quick_check(1)").fetchone()[0]
    finally:
        given.close()
        taken.close()
    target.chmod(0o600)
    if said != "ok":
        raise StoreUnavailable(f"the database {source} is damaged ({said}): restore the backup before")
    return target


def _dump_postgresql(url: URL, target: Path) -> Path:
    """pg_dump's custom format, one snapshot. The password goes by the environment, never by argv.

    `URL.set(password=None)` would keep it: None means "as it was" there.
    """
    program = shutil.which("pg_dump")
    if program is None:
        raise StoreUnavailable("pg_dump is not on PATH: install the server's version of PostgreSQL's clients")
    secret = url.password or url.query.get("password")
    bare = url._replace(drivername="postgresql", password=None).difference_update_query(["password"])
    conninfo = bare.render_as_string(hide_password=False)
    command = [program, "--format=custom", "--no-password", f"--file={target}", f"--dbname={conninfo}"]
    environment = os.environ | ({"PGPASSWORD": str(secret)} if secret else {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise StoreUnavailable(f"pg_dump failed: {' '.join(done.stderr.split())}")
    target.chmod(0o600)
    return target


def _sync_tree(root: Path) -> None:
    for path in (*root.rglob("*"), root):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
