"""What an export holds: a file a table, its columns and their Parquet types, and how its rows are sorted."""

from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Table
from sqlalchemy.types import TypeDecorator, TypeEngine

from store import tables
from store.sql import table_of


@dataclass(frozen=True, slots=True)
class Part:
    """One file. experiment, time: the columns by which a part of the table is chosen; None: always whole."""

    name: str
    table: Table
    experiment: str
    time: str | None
    order: tuple[str, ...]

    @property
    def file(self) -> str:
        """Its name in the directory."""
        return f"{self.name}.parquet"


_PLACE = ("received_at_us", "journal_id", "position")
PARTS = (
    Part(
        "decisions",
        table_of(tables.Decision),
        "experiment",
        "received_at_us",
        ("experiment", "unit", *_PLACE, "decision_id"),
    ),
    Part(
        "unserved",
        table_of(tables.Unserved),
        "experiment",
        "received_at_us",
        ("experiment", "unit", *_PLACE),
    ),
    Part(
        "outcomes",
        table_of(tables.Outcome),
        "experiment",
        "received_at_us",
        ("experiment", "kind", "key"),
    ),
    Part("conflicts", table_of(tables.OutcomeConflict), "experiment", "received_at_us", ("id",)),
    Part("units", table_of(tables.Unit), "experiment", "first_at_us", ("experiment", "unit")),
    Part("splits", table_of(tables.Split), "experiment", None, ("experiment", "version")),
    Part("dead_letters", table_of(tables.DeadLetter), "experiment", "at_us", ("id",)),
    Part("experiments", table_of(tables.Experiment), "key", None, ("key",)),
)
_TYPES: dict[type, type[pl.DataType]] = {
    bool: pl.Boolean,
    int: pl.Int64,
    float: pl.Float64,
    bytes: pl.Binary,
    str: pl.String,
}


def columns_of(part: Part) -> dict[str, type[pl.DataType]]:
    """Parquet type by column, in the table's order."""
    return {column.name: _TYPES[_plain(column.type).python_type] for column in part.table.columns}


def _plain(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """SQLModel wraps its strings; what it wraps knows its Python type."""
    return kind.impl_instance if isinstance(kind, TypeDecorator) else kind
