"""Rows by many values of a column, found by an index whatever the database believes about its tables.

Until autovacuum was there PostgreSQL knows nothing about what a table holds. It takes a list of 400 values
for half of the table then, and reads all of it for every list: 400 outcomes a second. A subquery for every
value leaves it nothing but the index.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, Text, bindparam, cast, func, select, true
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import literal_column

from store.bulk import chunks

_JSON = msgspec.json.Encoder()


def found(
    connection: Connection, query: Select[*tuple[Any, ...]], column: ColumnElement[Any], values: Sequence[str]
) -> Iterator[Any]:
    """The rows of a query, each as a tuple, whose column has one of the values; these are all different."""
    if not values:
        return
    if connection.dialect.name == "sqlite":
        for chunk in chunks(values):
            yield from connection.execute(query.where(column.in_(chunk))).all()
        return
    text = cast(
        bindparam("asked", type_=Text), postgresql.JSON
    )  # an array takes the driver three times as long
    asked = func.json_array_elements_text(text).table_valued("value", name="asked").render_derived()
    each = query.where(column == asked.c.value).offset(literal_column("0")).lateral("each")
    joined = select(each).select_from(asked.join(each, true()))
    yield from connection.execute(joined, {"asked": _JSON.encode(values).decode()}).all()
