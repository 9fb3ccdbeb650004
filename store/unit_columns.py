"""The unit totals of an experiment as columns, made of the texts that the database hands over."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from store.unit_texts import (
    BETWEEN,
    NEVER_US,
    NEXT,
    NOTHING,
    NUMBERS,
    SINCE_START,
    TIE,
    WORDS,
    UnitTexts,
    fetch_units,
)
from store.word_column import Words

Ints = NDArray[np.int64]

_ROWS_AT_A_TIME = 2000
"""So many rows lie in the processor's cache while they are turned: three times as fast as all at once."""


@dataclass(frozen=True, slots=True)
class UnitColumns:
    """All units of an experiment in the order of their first decision; money in micro-USD.

    timed: decisions whose latency is known; slow: those of them above latencies.SLOW_US.
    won: -1 not reported, 0 no, 1 yes. settled_at_us: 0 without an outcome. excluded, fill: None or a word.
    """

    arm: Words
    weights: Words
    excluded: Words
    fill: Words
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
    timed: Ints
    slow: Ints
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


def read_units(connection: Connection, experiment: str) -> UnitColumns:
    """The columns of this moment."""
    return columns_of(fetch_units(connection, experiment))


def columns_of(texts: UnitTexts) -> UnitColumns:
    """The columns, in their order."""
    table = np.fromstring(texts.numbers or "", dtype=np.int64, sep=",").reshape(-1, len(NUMBERS) + 1)
    _from_start(table)
    order = _order(table[:, NUMBERS.index("first_at_us")], table[:, -1])
    found: dict[str, Any] = dict(zip((*NUMBERS, TIE), _turned(table[order]), strict=True))
    del found[TIE]
    return UnitColumns(**found, **_words(texts.words, order))


def _from_start(table: Ints) -> None:
    """Puts moments where times from the start stand; 0 where there is none."""
    start_us = table[:, NUMBERS.index("started_at_us")]
    for name in SINCE_START:
        since_us = table[:, NUMBERS.index(name)]
        since_us[:] = np.where(since_us == NEVER_US, 0, since_us + start_us)


def _order(first_at_us: Ints, position: Ints) -> Ints:
    """By the first decision, those of one moment by their place in the journal."""
    by_position = np.argsort(position, kind="stable")
    order: Ints = by_position[np.argsort(first_at_us[by_position], kind="stable")]
    return order


def _turned(table: Ints) -> Ints:
    """Columns as rows, each in one piece."""
    turned = np.empty(table.shape[::-1], dtype=np.int64)
    for at in range(0, len(table), _ROWS_AT_A_TIME):
        turned[:, at : at + _ROWS_AT_A_TIME] = table[at : at + _ROWS_AT_A_TIME].T
    return turned


def _words(text: str | None, order: Ints) -> dict[str, Any]:
    """Columns of words. Few units differ in all of them together: each that does is taken apart once."""
    lines = Words.of(text.split(NEXT) if text else [])
    apart = [(line or "").split(BETWEEN) for line in lines.words]
    columns = zip(*apart, strict=True) if apart else ((),) * len(WORDS)
    at = lines.at[order]
    return {name: Words(tuple(map(_word, column)), at) for name, column in zip(WORDS, columns, strict=True)}


def _word(word: str) -> str | None:
    return None if word == NOTHING else word
