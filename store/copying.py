"""Rows into a PostgreSQL table by binary COPY.

PostgreSQL's time for an INSERT goes mostly into its bound parameters (31 a decision); COPY has none.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, Boolean, Connection, Float, Integer, LargeBinary, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

Row = dict[str, Any]
Names = tuple[str, ...]
_INT4_MAX = 2**31 - 1
_KINDS: tuple[tuple[type[TypeEngine[Any]], str], ...] = (
    (BigInteger, "int8"),
    (Integer, "int4"),
    (Float, "float8"),
    (Boolean, "bool"),
    (LargeBinary, "bytea"),
)
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def fits(table: Table, rows: Sequence[Row]) -> bool:
    """Whether COPY stores what INSERT would.

    It knows no defaults of ours, the driver cuts a large int4 off, and NaN is to be NULL, as it is to SQLite.
    """
    if len(rows[0]) != len(table.columns):
        return False
    ints = (_values(rows, name) for name in _named(table, "int4"))
    floats = (_values(rows, name) for name in _named(table, "float8"))
    is_small = all(max(map(abs, values), default=0) <= _INT4_MAX for values in ints)
    return is_small and not any(math.isnan(sum(values)) for values in floats)


def _values(rows: Sequence[Row], name: str) -> list[Any]:
    """A column's values that are not NULL or 0."""
    return list(filter(None, map(itemgetter(name), rows)))


def copy(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """All rows, which have the same columns, or none. What the driver raises becomes SQLAlchemy's."""
    names = tuple(rows[0])
    values: Iterable[tuple[Any, ...]] = map(itemgetter(*names), rows)
    raw: Any = connection.connection
    cursor, failure = raw.cursor(), connection.dialect.loaded_dbapi.Error
    try:
        with cursor, cursor.copy(_statement(table, names)) as pipe:
            pipe.set_types([_kind(table, name) for name in names])
            for row in values:
                pipe.write_row(row)
    except failure as error:
        is_lost = connection.dialect.is_disconnect(error, raw, cursor)
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            _statement(table, names),
            None,
            error,
            failure,
            connection_invalidated=is_lost,
            dialect=connection.dialect,
        ) from error


@cache
def _statement(table: Table, names: Names) -> str:
    quoted = map(_DIALECT.identifier_preparer.quote, (table.name, *names))
    name, *columns = quoted
    return f"COPY {name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"


@cache
def _kind(table: Table, name: str) -> str:
    """PostgreSQL's name of a column's type; a varchar is sent as text is."""
    return next((its for kind, its in _KINDS if isinstance(table.c[name].type, kind)), "text")


@cache
def _named(table: Table, kind: str) -> Names:
    return tuple(c.name for c in table.columns if _kind(table, c.name) == kind)
