"""Reads the unit totals of an experiment as columns: one row a unit, never a scan of decisions.

The database hands all of them over as one text of numbers, which numpy reads: rows of Python objects would
take four times as long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Boolean, ColumnElement, Connection, Integer, cast, func, select

from store import tables
from store.sql import table_of

_UNITS = table_of(tables.Unit)

Ints = NDArray[np.int64]
Texts = NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class UnitColumns:
    """All units of an experiment in the order of their first decision; money in micro-USD.

    won: -1 not reported, 0 no, 1 yes. settled_at_us: 0 without an outcome. excluded, fill: None or a word.
    """

    arm: Texts
    weights: Texts
    excluded: Texts
    fill: Texts
    split_version: Ints
    contaminated: Ints
    started_at_us: Ints
    start_conflicts: Ints
    first_at_us: Ints
    last_at_us: Ints
    decisions: Ints
    fallbacks: Ints
    stale: Ints
    unserved: Ints
    bots: Ints
    reported: Ints
    trades: Ints
    trade_wins: Ints
    market_trades: Ints
    pnl_micro: Ints
    fee_micro: Ints
    stake_micro: Ints
    won: Ints
    settled_at_us: Ints

    def __len__(self) -> int:
        return len(self.arm)


_TEXTS = ("arm", "weights", "excluded", "fill")
_INTS = tuple(name for name in UnitColumns.__dataclass_fields__ if name not in _TEXTS)
_TIE = "first_position"
_ABSENT = {"won": -1, "settled_at_us": 0}
_BETWEEN, _NOTHING, _NEXT = "\x1f", "\x1e", "\n"
"""Between the words of a unit, in place of one that is NULL, and between units: no word holds them."""


@dataclass(frozen=True, slots=True)
class UnitTexts:
    """As the database hands the units over: their numbers, and their words."""

    numbers: str | None
    words: str | None


def read_units(connection: Connection, experiment: str) -> UnitColumns:
    """The columns of this moment."""
    return columns_of(fetch_units(connection, experiment))


def fetch_units(connection: Connection, experiment: str) -> UnitTexts:
    """What `columns_of` makes columns of; that needs no database, which can do something else meanwhile."""
    numbers = func.aggregate_strings(_line(connection, [_number(name) for name in (*_INTS, _TIE)]), ",")
    words = func.aggregate_strings(_words(), _NEXT)
    row = connection.execute(select(numbers, words).where(_UNITS.c.experiment == experiment)).one()
    return UnitTexts(*row)


def columns_of(texts: UnitTexts) -> UnitColumns:
    """The columns, in their order."""
    table = np.fromstring(texts.numbers or "", dtype=np.int64, sep=",").reshape(-1, len(_INTS) + 1)
    found: dict[str, Any] = dict(zip((*_INTS, _TIE), table.T, strict=True)) | _texts(texts.words)
    order = np.lexsort((found.pop(_TIE), found["first_at_us"]))
    return UnitColumns(**{name: values[order] for name, values in found.items()})


def _line(connection: Connection, numbers: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    """The numbers of a unit with commas between them. None of them is NULL: concat_ws would leave it out."""
    if connection.dialect.name == "sqlite":
        return func.printf(",".join(["%d"] * len(numbers)), *numbers)
    return func.concat_ws(",", *numbers)


def _number(name: str) -> ColumnElement[Any]:
    column = _UNITS.c[name]
    number = cast(column, Integer) if isinstance(column.type, Boolean) else column
    return func.coalesce(number, _ABSENT[name]) if name in _ABSENT else number


def _words() -> ColumnElement[Any]:
    first, *rest = (func.coalesce(_UNITS.c[name], _NOTHING) for name in _TEXTS)
    words: ColumnElement[Any] = first
    for word in rest:
        words = words.concat(_BETWEEN).concat(word)
    return words


def _texts(text: str | None) -> dict[str, Texts]:
    """Columns of words. There are few different ones: each is made once."""
    each = text.split(_NEXT) if text else []
    numbers = {words: number for number, words in enumerate(dict.fromkeys(each))}
    index = np.fromiter(map(numbers.__getitem__, each), dtype=np.int64, count=len(each))
    distinct = [words.split(_BETWEEN) for words in numbers]
    columns = zip(*distinct, strict=True) if distinct else ((),) * len(_TEXTS)
    return {name: _objects(words)[index] for name, words in zip(_TEXTS, columns, strict=True)}


def _objects(words: Sequence[str]) -> Texts:
    return np.array([None if word == _NOTHING else word for word in words], dtype=np.object_)
