"""Rows in a temporary table of PostgreSQL, of which SQL takes them further.

It needs the right to make temporary tables, which everybody has who was not denied it.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Delete,
    Float,
    Integer,
    MetaData,
    Table,
    func,
    literal_column,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from store.copying import Row, copy

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@contextmanager
def staging(connection: Connection, table: Table, rows: Sequence[Row]) -> Generator[None]:
    """The rows, which all have the same columns, are in the temporary table; afterwards it is empty again."""
    connection.exec_driver_sql(_made(table))
    copy(connection, _beside(table), rows)
    yield
    connection.execute(_emptied(table))


def sent(table: Table, name: str) -> ColumnElement[Any]:
    """A column of the temporary table; NaN is NULL there, as it is to SQLite."""
    column = _beside(table).c[name]
    return func.nullif(column, literal_column("'NaN'")) if isinstance(column.type, Float) else column


@cache
def _beside(table: Table) -> Table:
    """The temporary table: all columns, none of them required.

    Integers are wide there: one that is too large for the table is refused by PostgreSQL, not cut off.
    """
    columns = (Column(c.name, BigInteger if isinstance(c.type, Integer) else c.type) for c in table.columns)
    return Table(
        f"staged_{table.name}",
        MetaData(),
        *columns,
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DELETE ROWS",
    )


@cache
def _made(table: Table) -> str:
    return str(CreateTable(_beside(table), if_not_exists=True).compile(dialect=_DIALECT))


@cache
def _emptied(table: Table) -> Delete:
    return _beside(table).delete()
