"""What a report is made from: columns over mature units, counts per arm, and the stages of the split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from stats.errors import DesignError, UnitsError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_FLOAT_COLUMNS = frozenset({"e"})
_BOOL_COLUMNS = frozenset({"traded", "won"})
_MONEY = ("pnl_micro", "stake_micro", "fee_micro")
LARGEST_MICRO = 2**61
_NOT_NEGATIVE = ("arm", "stage", "stake_micro", "decisions", "fallbacks", "trades", "trade_wins")


@dataclass(frozen=True, slots=True)
class Units:
    """Mature, not excluded units of one fill kind, one row each, in maturity order.

    arm, stage: index into the arms and the stages of the report. day: day number of maturity, never falling.
    e: propensity of the treatment within the pair control/treatment at binding, in [0, 1]; nan = not logged.
    won: unit net PnL > 0 (or the bot's own word where the experiment says so). Money in micro-USD.
    """

    arm: Ints
    stage: Ints
    e: Floats
    day: Ints
    traded: Bools
    won: Bools
    pnl_micro: Ints
    stake_micro: Ints
    fee_micro: Ints
    decisions: Ints
    fallbacks: Ints
    trades: Ints
    trade_wins: Ints

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_column(field.name, getattr(self, field.name), len(self.arm))
        _check_ranges(self)

    def __len__(self) -> int:
        return len(self.arm)

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any] | npt.NDArray[Any]]) -> "Units":
        """Build from lists or arrays by name; lossy types and missing columns are refused."""
        names = [field.name for field in fields(cls)]
        absent = [name for name in names if name not in columns]
        if absent:
            raise UnitsError(f"units lack the column(s) {', '.join(absent)}: give all of {', '.join(names)}")
        return cls(**{name: _convert(name, columns[name]) for name in names})

    @classmethod
    def empty(cls) -> "Units":
        return cls.of({field.name: () for field in fields(cls)})

    def take(self, rows: Bools | Ints) -> "Units":
        """The rows picked by a mask or by positions."""
        at = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Units(**{field.name: getattr(self, field.name)[at] for field in fields(self)})


def _dtype_of(name: str) -> type[np.generic]:
    if name in _FLOAT_COLUMNS:
        return np.float64
    return np.bool_ if name in _BOOL_COLUMNS else np.int64


def _convert(name: str, values: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[Any]:
    wanted = _dtype_of(name)
    array = np.asarray(values)
    if array.size == 0 or array.dtype == wanted or np.can_cast(array.dtype, wanted, "safe"):
        return array.astype(wanted)
    raise UnitsError(f"units.{name} holds {array.dtype}, which is not {np.dtype(wanted).name}: convert it")


def _check_column(name: str, values: object, length: int) -> None:
    wanted = np.dtype(_dtype_of(name))
    if not isinstance(values, np.ndarray):
        raise UnitsError(
            f"units.{name} is a {type(values).__name__}, not an array: build units with Units.of(...)"
        )
    if values.dtype != wanted or values.ndim != 1:
        shown = f"{values.dtype} with {values.ndim} dimension(s)"
        raise UnitsError(f"units.{name} is {shown}, not {wanted} with 1: build units with Units.of(...)")
    if len(values) != length:
        raise UnitsError(
            f"units.{name} has {len(values)} rows and units.arm has {length}: give one row per unit"
        )


def _check_ranges(units: Units) -> None:
    if not len(units):
        return
    for name in _NOT_NEGATIVE:
        if getattr(units, name).min() < 0:
            raise UnitsError(f"units.{name} has a negative value: only zero and above can be counted")
    for name in _MONEY:
        values = getattr(units, name)
        if values.max() > LARGEST_MICRO or values.min() < -LARGEST_MICRO:
            raise UnitsError(f"units.{name} goes beyond 2**61 micro-USD: check the unit of the money")
    if np.any(units.e < 0) or np.any(units.e > 1):
        raise UnitsError(
            "units.e has a value outside [0, 1]: give the treatment's share within the pair, or nan"
        )
    if np.any(units.day[1:] < units.day[:-1]):
        raise UnitsError("units.day falls from one row to the next: sort the units by maturity time")
    if np.any(units.trade_wins > units.trades) or np.any(units.fallbacks > units.decisions):
        raise UnitsError(
            "units has more trade_wins than trades, or more fallbacks than decisions: check the columns"
        )


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """Counts per assigned arm. units: all assigned units, every fill kind, mature or not.

    unserved: units of which a decision was refused, be it the only one or one of many. missing_weight: what
    the missing units would weigh in the comparison of the pair: 1 - e of the treatment's, e of the control's.
    """

    units: int = 0
    pending: int = 0
    missing: int = 0
    excluded: int = 0
    contaminated: int = 0
    decisions: int = 0
    fallbacks: int = 0
    unserved: int = 0
    missing_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One split version in force. weights: share per arm; counts: assigned, not excluded units per arm."""

    version: int
    weights: tuple[float, ...]
    counts: tuple[int, ...]
    started_us: int

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.counts):
            raise DesignError(
                f"stage {self.version} has {len(self.weights)} weights and {len(self.counts)} counts:"
                " give one of each per arm"
            )
        if min(self.weights, default=0.0) < 0 or min(self.counts, default=0) < 0:
            raise DesignError(
                f"stage {self.version} has a negative weight or count: only zero and above are possible"
            )
