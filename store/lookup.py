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

EXPERIMENT = bindparam("experiment", type_=Text)
"""Stands in a query for the experiment that is asked about."""
_ASKED = "asked"
_JSON = msgspec.json.Encoder()


class Lookup:
    """A query that names EXPERIMENT, for some values of a column. To make one takes longer than to run it."""

    def __init__(self, query: Select[*tuple[Any, ...]], column: ColumnElement[Any]) -> None:
        self._one_of = query.where(column.in_(bindparam(_ASKED, expanding=True)))
        text = cast(bindparam(_ASKED, type_=Text), postgresql.JSON)  # an array takes the driver much longer
        asked = func.json_array_elements_text(text).table_valued("value", name=_ASKED).render_derived()
        each = query.where(column == asked.c.value).offset(literal_column("0")).lateral("each")
        self._each = select(each).select_from(asked.join(each, true()))

    def rows(self, connection: Connection, experiment: str, values: Sequence[str]) -> Iterator[Any]:
        """The rows, each as a tuple, in no order. values: all different."""
        if not values:
            return
        if connection.dialect.name == "sqlite":
            for chunk in chunks(values):
                yield from connection.execute(self._one_of, {"experiment": experiment, _ASKED: chunk}).all()
        else:
            asked = {"experiment": experiment, _ASKED: _JSON.encode(values).decode()}
            yield from connection.execute(self._each, asked).all()
