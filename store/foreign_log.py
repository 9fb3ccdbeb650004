"""Rows of somebody else's log, CSV or Parquet, as they stand there. Believes nothing and changes nothing."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, TextIO

from store.errors import BadForeignLog

_HEADER_LINE = 1
_UNREADABLE = (csv.Error, UnicodeDecodeError, OSError, EOFError, zlib.error)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands. number: of the row, from 1 without the header. line: of a CSV file."""

    file: str
    number: int
    line: int | None = None

    def __str__(self) -> str:
        at = f"row {self.number}" if self.line is None else f"line {self.line}"
        return f"{self.file}, {at}"


@dataclass(frozen=True, slots=True)
class ForeignRow:
    """values: by column; text of a CSV file, Parquet's own types. fault: why it has none."""

    place: Place
    values: Mapping[str, Any]
    fault: str | None = None


def rows_of(path: Path, columns: set[str]) -> Iterator[ForeignRow]:
    """The named columns of every row of a .csv, .csv.gz or .parquet file; a blank line is no row.

    BadForeignLog where the file cannot be read, or a column is not there, or there twice.
    """
    kind = _kind(path)
    if not path.is_file():
        raise BadForeignLog(f"{path} is no file that is there: check its path")
    return _parquet_rows(path, columns) if kind == "Parquet" else _csv_rows(path, columns)


def _kind(path: Path) -> str:
    if path.name.removesuffix(".gz").endswith(".csv"):
        return "CSV"
    if path.suffix == ".parquet":
        return "Parquet"
    raise BadForeignLog(f"{path} is no log that can be read: give a .csv, .csv.gz or .parquet file")


def _csv_rows(path: Path, columns: set[str]) -> Iterator[ForeignRow]:
    line = _HEADER_LINE
    try:
        with _opened(path) as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            places = _places(path, header, columns)
            line, number = reader.line_num + 1, 0
            for cells in reader:
                if cells:
                    number += 1
                    yield _csv_row(Place(path.name, number, line), cells, len(header), places)
                line = reader.line_num + 1
    except _UNREADABLE as error:
        raise BadForeignLog(
            f"{path} cannot be read as CSV, at or after line {line}: {error}; write it as UTF-8 with commas,"
            " quotes doubled within quotes"
        ) from error


def _opened(path: Path) -> TextIO:
    """Text, without the mark that some programs begin UTF-8 with."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _csv_row(place: Place, cells: Sequence[str], width: int, places: Mapping[str, int]) -> ForeignRow:
    if len(cells) != width:
        return ForeignRow(place, {}, f"has {len(cells)} cells where the header has {width}")
    return ForeignRow(place, {name: cells[at] for name, at in places.items()})


def _places(path: Path, header: Sequence[str], columns: set[str]) -> dict[str, int]:
    """Where the columns stand."""
    _check_there(path, header, columns)
    for name in sorted(columns):
        if header.count(name) > 1:
            raise BadForeignLog(f"{path} has {header.count(name)} columns {name}: rename all but one of them")
    return {name: header.index(name) for name in sorted(columns)}


def _check_there(path: Path, header: Sequence[str], columns: set[str]) -> None:
    if not header:
        raise BadForeignLog(f"{path} is empty: give a log with a header and rows")
    if absent := sorted(columns - set(header)):
        known = ", ".join(header)
        raise BadForeignLog(f"{path} has no column {', '.join(absent)}: map to one of {known}")


def _parquet_rows(path: Path, columns: set[str]) -> Iterator[ForeignRow]:
    import polars as pl

    try:
        _check_there(path, list(pl.read_parquet_schema(path)), columns)
        table = pl.read_parquet(path, columns=sorted(columns))
    except (pl.exceptions.PolarsError, OSError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadForeignLog(f"{path} cannot be read as Parquet: {why}; write it anew") from error
    for number, values in enumerate(table.iter_rows(named=True), 1):
        yield ForeignRow(Place(path.name, number), values)


def digest_of(path: Path) -> str:
    """SHA-256 of the file's bytes, as hex: what `sha256sum` says."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
