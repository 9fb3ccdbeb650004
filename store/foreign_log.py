"""Rows of somebody else's log, CSV or Parquet, as they stand there. Believes nothing and changes nothing."""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from store.errors import BadForeignLog

Row = Mapping[str, Any]
_CHUNK_BYTES = 1 << 20


def rows_of(path: Path, columns: set[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number from 1 without the header, values by column). CSV, also gzipped, gives text; Parquet its
    own types. An empty cell is None. BadForeignLog names a column that is not there.
    """
    import polars as pl

    try:
        table = _read(path, pl)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadForeignLog(f"{path} cannot be read as {_kind(path)}: {why}") from error
    absent = sorted(columns - set(table.columns))
    if absent:
        known = ", ".join(table.columns)
        raise BadForeignLog(f"{path} has no column {', '.join(absent)}: map to one of {known}")
    names = sorted(columns)
    for number, values in enumerate(table.select(names).iter_rows(), 1):
        yield number, dict(zip(names, values, strict=True))


def _kind(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        return "CSV"
    if path.suffix == ".parquet":
        return "Parquet"
    raise BadForeignLog(f"{path} is no log that can be read: give a .csv, .csv.gz or .parquet file")


def _read(path: Path, pl: Any) -> Any:
    if _kind(path) == "Parquet":
        return pl.read_parquet(path)
    return pl.read_csv(path, infer_schema=False)


def digest_of(path: Path) -> str:
    """blake2b-16 of the file's bytes, as hex."""
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
