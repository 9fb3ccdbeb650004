"""Writes the facts of one moment to Parquet: a directory of files and a manifest, whole or not there."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from polars.io.plugins import register_io_source
from sqlalchemy import Connection, Select, and_, select, text
from sqlalchemy.sql.elements import ColumnElement

from store import experiments, tables
from store.errors import BadExport, TargetExists
from store.parquet_schema import PARTS, Part, columns_of
from store.sql import table_of

FORMAT = 1
MANIFEST = "manifest.json"
_BATCH_ROWS = 20_000
_GROUP_ROWS = 100_000
_MARKS = table_of(tables.JournalMark)


@dataclass(frozen=True, slots=True)
class Extract:
    """What is exported. experiment: None is all. Times are half-open, None is without a bound.

    decisions, unserved, outcomes, conflicts by received_at_us; units by first_at_us; dead letters by at_us;
    splits and experiments always whole.
    """

    experiment: str | None = None
    since_us: int | None = None
    until_us: int | None = None


class File(msgspec.Struct, frozen=True):
    """One file of an export. columns: Parquet type by name."""

    name: str
    table: str
    rows: int
    bytes: int
    sha256: str
    columns: dict[str, str]


class Manifest(msgspec.Struct, frozen=True):
    """manifest.json. marks: for each journal the position before which its records were in SQL."""

    format: int
    taken_at_us: int
    revision: str
    experiment: str | None
    since_us: int | None
    until_us: int | None
    marks: dict[str, int]
    files: tuple[File, ...]


def export(
    connection: Connection,
    folder: Path,
    extract: Extract,
    now_us: int,
    tell: Callable[[str, int], None] = lambda _name, _rows: None,
) -> Manifest:
    """Writes the extract to a new directory. The connection is in a snapshot: all files show one moment.

    tell: hears again and again of which part how many rows are out.
    """
    if folder.exists():
        raise TargetExists(folder)
    if extract.experiment is not None:
        experiments.get(connection, extract.experiment)
    staging = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    staging.mkdir(mode=0o700, parents=True)
    try:
        files = tuple(_write(connection, part, staging, extract, tell) for part in PARTS)
        manifest = _manifest(connection, extract, files, now_us)
        _write_manifest(staging / MANIFEST, manifest)
        _sync(staging)
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _sync(folder.parent)
    return manifest


def _manifest(connection: Connection, extract: Extract, files: tuple[File, ...], now_us: int) -> Manifest:
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    return Manifest(
        FORMAT,
        now_us,
        revision,
        extract.experiment,
        extract.since_us,
        extract.until_us,
        _marks(connection, extract.experiment),
        files,
    )


def _marks(connection: Connection, experiment: str | None) -> dict[str, int]:
    query = select(_MARKS.c.journal_id, _MARKS.c.position).order_by(_MARKS.c.journal_id)
    if experiment is not None:
        query = query.where(_MARKS.c.experiment == experiment)
    return {row.journal_id: row.position for row in connection.execute(query)}


def _write(
    connection: Connection, part: Part, staging: Path, extract: Extract, tell: Callable[[str, int], None]
) -> File:
    path, schema = staging / part.file, columns_of(part)
    rows = _Rows(connection, _query(part, extract), schema, partial(tell, part.name))
    source = register_io_source(rows.frames, schema=schema, validate_schema=True)
    source.sink_parquet(path, row_group_size=_GROUP_ROWS, sync_on_close="all")
    path.chmod(0o600)
    types = {name: str(kind()) for name, kind in schema.items()}
    return File(part.file, str(part.table.name), rows.count, path.stat().st_size, sha256_of(path), types)


def _query(part: Part, extract: Extract) -> Select[Any]:
    order = [part.table.c[name] for name in part.order]
    return select(part.table).where(and_(True, *_chosen(part, extract))).order_by(*order)


def _chosen(part: Part, extract: Extract) -> Iterator[ColumnElement[bool]]:
    if extract.experiment is not None:
        yield part.table.c[part.experiment] == extract.experiment
    if part.time is not None and extract.since_us is not None:
        yield part.table.c[part.time] >= extract.since_us
    if part.time is not None and extract.until_us is not None:
        yield part.table.c[part.time] < extract.until_us


class _Rows:
    """The rows of a query as frames, never all at once; `count` is how many went out."""

    def __init__(
        self,
        connection: Connection,
        query: Select[Any],
        schema: Mapping[str, type[pl.DataType]],
        tell: Callable[[int], None],
    ) -> None:
        self._connection, self._query, self._schema, self._tell = connection, query, schema, tell
        self.count = 0

    def frames(self, *_unused: object) -> Iterator[pl.DataFrame]:
        """polars hands in projections, of which a sink has none."""
        result = self._connection.execute(self._query, execution_options={"yield_per": _BATCH_ROWS})
        for rows in result.partitions():
            self.count += len(rows)
            self._tell(self.count)
            columns = zip(self._schema.items(), zip(*rows, strict=True), strict=True)
            yield pl.DataFrame([pl.Series(name, values, kind) for (name, kind), values in columns])
        if not self.count:
            yield pl.DataFrame(schema=self._schema)


def _write_manifest(path: Path, manifest: Manifest) -> None:
    with path.open("xb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """The hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an export whose files are all there, byte for byte; else raises BadExport."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise BadExport(folder, f"{MANIFEST} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise BadExport(folder, f"its format is {manifest.format}, this abctl reads {FORMAT}")
    for file in manifest.files:
        if not (folder / file.name).is_file() or sha256_of(folder / file.name) != file.sha256:
            raise BadExport(folder, f"{file.name} is missing or is not the file that was written")
    return manifest


def covers(manifest: Manifest, experiment: str, place: Mapping[str, Any]) -> bool:
    """Whether an export holds a decision of SQL, answered or refused, that came at a place: received_at_us,
    journal_id, position.

    It was in SQL at the export's moment where it stands before its journal's mark of then.
    """
    since_us, until_us = manifest.since_us, manifest.until_us
    return (
        manifest.experiment in {None, experiment}
        and (since_us is None or place["received_at_us"] >= since_us)
        and (until_us is None or place["received_at_us"] < until_us)
        and place["position"] < manifest.marks.get(place["journal_id"], 0)
    )
