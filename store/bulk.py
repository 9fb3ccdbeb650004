"""Many rows with one statement: run over all of them on SQLite, from one COPY on PostgreSQL.

SQLAlchemy makes the statements, and the rows go to the driver as they are: SQLAlchemy's care for every value
of every row would take longer than SQLite itself.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Insert,
    Table,
    Update,
    and_,
    bindparam,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from store.copying import Names, copy, fits
from store.staging import sent, staging

Row = dict[str, Any]
Prepared = tuple[str, Names]
_CHUNK = 400
_SQLITE = sqlite.dialect(paramstyle="qmark")


def chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    """Runs of at most 400: short enough for every engine's parameter limit."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def add_new(connection: Connection, table: Table, rows: Sequence[Row], key: Sequence[str]) -> list[Row]:
    """Inserts the rows whose primary key is not there, and returns these. `key` tells the rows apart."""
    if not rows:
        return []
    if connection.dialect.name == "sqlite":
        return _add_new_sqlite(connection, table, rows, key)
    return _add_new_postgresql(connection, table, rows, key)


def _add_new_sqlite(
    connection: Connection, table: Table, rows: Sequence[Row], key: Sequence[str]
) -> list[Row]:
    """Asks which rows were new only where some were not: RETURNING halves the speed."""
    statement = sqlite.insert(table).on_conflict_do_nothing()
    attempt = connection.begin_nested()
    if _run(connection, _adds(table, tuple(rows[0])), rows) == len(rows):
        attempt.commit()
        return list(rows)
    attempt.rollback()
    added = set(map(tuple, connection.execute(statement.returning(*(table.c[n] for n in key)), rows)))
    return [row for row in rows if tuple(row[n] for n in key) in added]


def _add_new_postgresql(
    connection: Connection, table: Table, rows: Sequence[Row], key: Sequence[str]
) -> list[Row]:
    """COPY is in vain where one row is there already: then by way of the temporary table."""
    if fits(table, rows):
        attempt = connection.begin_nested()
        try:
            copy(connection, table, rows)
        except IntegrityError:
            attempt.rollback()
        else:
            attempt.commit()
            return list(rows)
    with staging(connection, table, rows):
        held = set(map(tuple, connection.execute(_add_staged(table, tuple(rows[0]), tuple(key)))))
    return [row for row in rows if tuple(row[n] for n in key) not in held] if held else list(rows)


def upsert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Inserts the rows; where the primary key is there, sets the columns that they name, no others."""
    if not rows:
        return
    names = tuple(rows[0])
    if connection.dialect.name == "sqlite":
        _run(connection, _upserts(table, names), rows)
        return
    with staging(connection, table, rows):
        connection.execute(_upsert_staged(table, names))


def set_columns(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Sets the columns that the rows name where the primary key is there; unknown keys are passed over."""
    if not rows:
        return
    names = tuple(rows[0])
    if connection.dialect.name == "sqlite":
        _run(connection, _sets(table, names), rows)
        return
    with staging(connection, table, rows):
        connection.execute(_update_staged(table, names))


def _run(connection: Connection, prepared: Prepared, rows: Sequence[Row]) -> int:
    """Runs a statement for every row; returns how many rows of the table it changed."""
    statement, names = prepared
    return connection.exec_driver_sql(statement, list(map(itemgetter(*names), rows))).rowcount


@cache
def _adds(table: Table, names: Names) -> Prepared:
    return _prepared(_insert_values(table, names).on_conflict_do_nothing())


@cache
def _upserts(table: Table, names: Names) -> Prepared:
    plain, keys = _insert_values(table, names), _keys(table)
    changes = {n: plain.excluded[n] for n in names if n not in keys}
    return _prepared(plain.on_conflict_do_update(keys, set_=changes))


@cache
def _sets(table: Table, names: Names) -> Prepared:
    keys = _keys(table)
    found = and_(*(table.c[n] == bindparam(f"_{n}") for n in keys))
    return _prepared(table.update().where(found).values({n: bindparam(n) for n in names if n not in keys}))


def _insert_values(table: Table, names: Names) -> sqlite.Insert:
    """What the rows leave out gets the number that the column has by default."""
    values: dict[str, ColumnElement[Any]] = {n: bindparam(n) for n in names}
    for column in table.columns:
        if column.name not in values and isinstance(column.default, ScalarElementColumnDefault):
            values[column.name] = literal_column(str(int(column.default.arg)))
    return sqlite.insert(table).values(values)


def _prepared(statement: ClauseElement) -> Prepared:
    compiled = statement.compile(dialect=_SQLITE)
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 - tells the type
    return compiled.string, tuple(name.removeprefix("_") for name in compiled.positiontup or ())


def _keys(table: Table) -> Names:
    return tuple(c.name for c in table.primary_key)


@cache
def _insert_staged(table: Table, names: Names) -> postgresql.Insert:
    statement: postgresql.Insert = postgresql.insert(table)
    return statement.from_select(list(names), select(*(sent(table, n) for n in names)))


@cache
def _add_staged(table: Table, names: Names, key: Names) -> CompoundSelect[*tuple[Any, ...]]:
    """Inserts, and tells the keys that were there: commonly none, where those that were not are all."""
    insert = _insert_staged(table, names).on_conflict_do_nothing()
    added = insert.returning(*(table.c[n] for n in key)).cte("added")
    return select(*(sent(table, n) for n in key)).except_(select(added))


@cache
def _upsert_staged(table: Table, names: Names) -> Insert:
    plain, keys = _insert_staged(table, names), _keys(table)
    changes = {n: plain.excluded[n] for n in names if n not in keys}
    return plain.on_conflict_do_update(index_elements=keys, set_=changes)


@cache
def _update_staged(table: Table, names: Names) -> Update:
    keys = _keys(table)
    found = and_(*(table.c[n] == sent(table, n) for n in keys))
    return table.update().where(found).values({n: sent(table, n) for n in names if n not in keys})
