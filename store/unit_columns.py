"""Reads the unit totals of an experiment as columns: one row a unit, never a scan of decisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

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

    unit: Texts
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


_TEXTS = ("unit", "arm", "weights", "excluded", "fill")
_NAMES = tuple(UnitColumns.__dataclass_fields__)


def read_units(connection: Connection, experiment: str) -> UnitColumns:
    """The columns of this moment."""
    c = _UNITS.c
    query = (
        select(*(c[name] for name in _NAMES))
        .where(c.experiment == experiment)
        .order_by(c.first_at_us, c.first_journal_id, c.first_position)
    )
    rows = connection.execute(query).all()
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(_NAMES)
    arrays: dict[str, Any] = {n: _column(n, values) for n, values in zip(_NAMES, columns, strict=True)}
    return UnitColumns(**arrays)


def _column(name: str, values: Sequence[Any]) -> Ints | Texts:
    if name in _TEXTS:
        return np.array(values, dtype=np.object_)
    absent = -1 if name == "won" else 0
    return np.array([absent if v is None else int(v) for v in values], dtype=np.int64)
