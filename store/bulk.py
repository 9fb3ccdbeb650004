"""Many rows with one statement: a prepared INSERT on SQLite, one JSON parameter on PostgreSQL.

PostgreSQL's time for an INSERT goes mostly into its bound parameters (31 a decision); read from one JSON text
by `json_to_recordset` the same rows take a fraction of it, in the same transaction and with the same errors.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    LargeBinary,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

Row = dict[str, Any]
_CHUNK = 400
_JSON = msgspec.json.Encoder()


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
    statement = _from_json(table, tuple(rows[0])).on_conflict_do_nothing()
    found = connection.execute(
        statement.returning(*(table.c[n] for n in key)), {"rows": _json_of(table, rows)}
    )
    return _matching(rows, key, found)


def _add_new_sqlite(
    connection: Connection, table: Table, rows: Sequence[Row], key: Sequence[str]
) -> list[Row]:
    """Asks which rows were new only where some were not: RETURNING halves the speed."""
    statement = sqlite.insert(table).on_conflict_do_nothing()
    attempt = connection.begin_nested()
    if connection.execute(statement, rows).rowcount == len(rows):
        attempt.commit()
        return list(rows)
    attempt.rollback()
    found = connection.execute(statement.returning(*(table.c[n] for n in key)), rows)
    return _matching(rows, key, found)


def _matching(rows: Sequence[Row], key: Sequence[str], found: Iterable[Any]) -> list[Row]:
    wanted = set(map(tuple, found))
    return [row for row in rows if tuple(row[name] for name in key) in wanted]


def upsert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Inserts the rows; where the primary key is there, sets the columns that they name, no others."""
    if not rows:
        return
    keys = [c.name for c in table.primary_key]
    names = [name for name in rows[0] if name not in keys]
    if connection.dialect.name == "sqlite":
        plain = sqlite.insert(table)
        connection.execute(
            plain.on_conflict_do_update(keys, set_={n: plain.excluded[n] for n in names}), rows
        )
        return
    bulk = _from_json(table, tuple(rows[0]))
    statement = bulk.on_conflict_do_update(index_elements=keys, set_={n: bulk.excluded[n] for n in names})
    connection.execute(statement, {"rows": _json_of(table, rows)})


def set_columns(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Sets the columns that the rows name where the primary key is there; unknown keys are passed over."""
    if not rows:
        return
    keys = [c.name for c in table.primary_key]
    names = [name for name in rows[0] if name not in keys]
    if connection.dialect.name == "sqlite":
        statement = table.update().values({name: bindparam(f"new_{name}") for name in names})
        for key in keys:
            statement = statement.where(table.c[key] == bindparam(f"key_{key}"))
        connection.execute(statement, [_prefixed(row, keys) for row in rows])
        return
    found = _recordset(table, tuple(rows[0]))
    bulk = table.update().values({name: found.c[name] for name in names})
    for key in keys:
        bulk = bulk.where(table.c[key] == found.c[key])
    connection.execute(bulk, {"rows": _json_of(table, rows)})


def _prefixed(row: Row, keys: Sequence[str]) -> Row:
    return {f"key_{n}" if n in keys else f"new_{n}": value for n, value in row.items()}


def _recordset(table: Table, names: Sequence[str]) -> Any:
    text = cast(bindparam("rows", type_=Text), postgresql.JSON)
    columns = (column(name, table.c[name].type) for name in names)
    return func.json_to_recordset(text).table_valued(*columns, name="r").render_derived(with_types=True)


def _from_json(table: Table, names: Sequence[str]) -> postgresql.Insert:
    found = _recordset(table, names)
    statement: postgresql.Insert = postgresql.insert(table)
    return statement.from_select(list(names), select(*(found.c[name] for name in names)))


def _json_of(table: Table, rows: Sequence[Mapping[str, Any]]) -> str:
    binary = [c.name for c in table.columns if isinstance(c.type, LargeBinary)]
    if not binary:
        return _JSON.encode(rows).decode()
    hexed = [{**row, **{n: "\\x" + row[n].hex() for n in binary if n in row}} for row in rows]
    return _JSON.encode(hexed).decode()
