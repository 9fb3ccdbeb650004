"""Asks for the unit totals of an experiment as two texts: one row a unit, never a scan of decisions.

Rows of Python objects would take four times as long. Imports no numpy, which a process that is new can load
while the database works; `store.unit_columns` makes columns of the texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Connection, Integer, cast, func, select

from store import latencies, tables
from store.oddities import Counted, counted_of, sums
from store.sql import table_of

_UNITS = table_of(tables.Unit)

WORDS = ("arm", "weights", "excluded", "fill")
NUMBERS = (
    "split_version",
    "contaminated",
    "started_at_us",
    "start_conflicts",
    "first_at_us",
    "last_at_us",
    "decisions",
    "fallbacks",
    "stale",
    "unserved",
    "timed",
    "slow",
    "bots",
    "reported",
    "trades",
    "trade_wins",
    "market_trades",
    "pnl_micro",
    "fee_micro",
    "stake_micro",
    "won",
    "settled_at_us",
)
TIE = "first_position"
SINCE_START = ("first_at_us", "last_at_us", "settled_at_us")
"""Handed over as the time from the unit's start: short numbers take two thirds of the time."""
NEVER_US = -(2**62)
"""In place of a time from the start, where there is no such moment."""
BETWEEN, NOTHING, NEXT = "\x1f", "\x1e", "\n"
"""Between the words of a unit, in place of one that is NULL, and between units: no word holds them."""
_DERIVED = {"timed": latencies.timed, "slow": latencies.slow}


@dataclass(frozen=True, slots=True)
class UnitTexts:
    """As the database hands the units over: NUMBERS and TIE, and WORDS, of all units in one order."""

    numbers: str | None
    words: str | None
    counted: Counted


def fetch_units(connection: Connection, experiment: str) -> UnitTexts:
    """The units of this moment. Columns are made of them without the database, which can work meanwhile."""
    numbers = func.aggregate_strings(_line(connection, [_number(name) for name in (*NUMBERS, TIE)]), ",")
    words = func.aggregate_strings(_words(), NEXT)
    asked = select(numbers, words, *sums()).where(_UNITS.c.experiment == experiment)
    all_numbers, all_words, *rest = connection.execute(asked).one()
    return UnitTexts(all_numbers, all_words, counted_of(rest))


def column_of(name: str) -> ColumnElement[Any]:
    """What the database says for a field of UnitColumns."""
    return _DERIVED[name]().label(name) if name in _DERIVED else _UNITS.c[name]


def _line(connection: Connection, numbers: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    """The numbers of a unit with commas between them. None of them is NULL: concat_ws would leave it out."""
    if connection.dialect.name == "sqlite":
        return func.printf(",".join(["%d"] * len(numbers)), *numbers)
    return func.concat_ws(",", *numbers)


def _number(name: str) -> ColumnElement[Any]:
    column = column_of(name)
    if name in SINCE_START:
        return func.coalesce(column - _UNITS.c.started_at_us, NEVER_US)
    number = cast(column, Integer) if isinstance(column.type, Boolean) else column
    return func.coalesce(number, -1) if name == "won" else number


def _words() -> ColumnElement[Any]:
    first, *rest = (func.coalesce(_UNITS.c[name], NOTHING) for name in WORDS)
    words: ColumnElement[Any] = first
    for word in rest:
        words = words.concat(BETWEEN).concat(word)
    return words
