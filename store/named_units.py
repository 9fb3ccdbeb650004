"""Unit totals with the names of units and of their bots, for slices: row by row, so slower than columns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from store import tables
from store.sql import table_of
from store.unit_columns import UnitColumns
from store.unit_texts import WORDS, column_of
from store.word_column import Words

_UNITS = table_of(tables.Unit)
_BOTS = table_of(tables.UnitBot)
_ABSENT = {"won": -1, "settled_at_us": 0}
_NAMES = tuple(UnitColumns.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class NamedUnits:
    """columns: as `read_units` gives them; names: of the same rows."""

    columns: UnitColumns
    names: tuple[str, ...]


def read_named_units(connection: Connection, experiment: str) -> NamedUnits:
    """The columns of this moment, and whose they are."""
    c = _UNITS.c
    query = (
        select(c.unit, *map(column_of, _NAMES))
        .where(c.experiment == experiment)
        .order_by(c.first_at_us, c.first_position, c.first_journal_id)
    )
    rows = connection.execute(query).all()
    names, *values = zip(*rows, strict=True) if rows else ((),) * (1 + len(_NAMES))
    pairs = zip(_NAMES, values, strict=True)
    columns: dict[str, Any] = {name: _column(name, column) for name, column in pairs}
    return NamedUnits(UnitColumns(**columns), tuple(names))


def _column(name: str, values: tuple[Any, ...]) -> Words | NDArray[np.int64]:
    if name in WORDS:
        return Words.of(values)
    absent = _ABSENT.get(name, 0)
    return np.array([absent if v is None else v for v in values], dtype=np.int64)


def bots_of_units(connection: Connection, experiment: str) -> dict[str, str]:
    """The bots that asked in each unit, in the order of their names: "a+b"."""
    c = _BOTS.c
    found: dict[str, str] = {}
    rows = connection.execute(select(c.unit, c.bot).where(c.experiment == experiment).order_by(c.unit, c.bot))
    for unit, bot in rows:
        found[unit] = f"{found[unit]}+{bot}" if unit in found else bot
    return found
