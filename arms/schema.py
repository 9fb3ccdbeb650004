"""What a state is: named float32 features with unit and range, the tick, and a hash that every model carries.

This module is the only one that knows how many features there are. Nothing is silently clipped: a value
outside its range means that sender and model disagree about the feature, and only the sender can mend that.
"""

import hashlib
from collections.abc import Sequence, Sized
from dataclasses import asdict, dataclass
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from arms.errors import HistoryError


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a state. `endogenous`: it describes the bot's own position, not the market."""

    name: str
    unit: str
    low: float
    high: float
    endogenous: bool = False


@dataclass(frozen=True)
class StateSchema:
    """An ordered list of features, one row per tick. `hash` covers all of it."""

    name: str
    features: tuple[Feature, ...]
    tick_us: int

    @cached_property
    def hash(self) -> str:
        """blake2b-8 over the canonical JSON, 16 hex digits."""
        return hashlib.blake2b(msgspec.json.encode(asdict(self), order="sorted"), digest_size=8).hexdigest()

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @property
    def width(self) -> int:
        return len(self.features)

    @cached_property
    def low(self) -> NDArray[np.float32]:
        return _frozen([feature.low for feature in self.features])

    @cached_property
    def high(self) -> NDArray[np.float32]:
        return _frozen([feature.high for feature in self.features])

    def history_of(self, rows: list[list[float]]) -> NDArray[np.float32]:
        """Rows, oldest first, as one validated float32[k,F] array."""
        try:
            history = np.array(rows, dtype=np.float32)
        except (TypeError, ValueError):
            raise HistoryError(_ragged(rows, self.width)) from None
        self.validate(history)
        return history

    def validate(self, history: NDArray[np.float32]) -> None:
        """Pass, or name the first row and feature that is not finite or out of range."""
        if history.ndim != 2 or not len(history) or history.shape[1] != self.width:
            raise HistoryError(
                f"history has shape {list(history.shape)}: send 1 or more rows of {self.width} numbers "
                f"in the order of schema {self.name}"
            )
        inside = (history >= self.low) & (history <= self.high)  # NaN compares false
        if not inside.all():
            raise HistoryError(self._complaint(history, inside))

    def _complaint(self, history: NDArray[np.float32], inside: NDArray[np.bool_]) -> str:
        row, column = (int(i) for i in np.argwhere(~inside)[0])
        feature, value = self.features[column], float(history[row, column])
        where = f"history[{row}][{column}] ({feature.name})"
        if not np.isfinite(value):
            return f"{where} is {value}: send a finite number, and 0 where the source is silent"
        allowed = f"[{feature.low:g}, {feature.high:g}] ({feature.unit})"
        return f"{where} is {value:g}: it must lie in {allowed}; clip before sending"


def _frozen(values: list[float]) -> NDArray[np.float32]:
    array = np.array(values, dtype=np.float32)
    array.setflags(write=False)
    return array


def _ragged(rows: Sequence[object], width: int) -> str:
    for i, row in enumerate(rows):
        length = len(row) if isinstance(row, Sized) else "no"
        if length != width:
            return f"history[{i}] has {length} numbers: every row needs exactly {width}"
    return f"history must hold rows of {width} plain numbers"


MARKET_V1 = StateSchema(
    name="market-v1",
    tick_us=500_000,
    features=(
        Feature("returns_1m", "return x 50, clipped", -1, 1),
        Feature("returns_5m", "return x 50, clipped", -1, 1),
        Feature("returns_10m", "return x 50, clipped", -1, 1),
        Feature("ob_imbalance_l1", "(bid - ask) / (bid + ask) sizes, best level", -1, 1),
        Feature("ob_imbalance_l5", "(bid - ask) / (bid + ask) sizes, 5 levels", -1, 1),
        Feature("trade_flow", "(buy - sell) / (buy + sell) USD", -1, 1),
        Feature("cvd_accel", "change of buy - sell USD per tick / 100,000, clipped", -1, 1),
        Feature("spread_pct", "(ask - bid) / mid x 20, clipped; negative in a crossed book", -1, 1),
        Feature("trade_intensity", "trades per second / 10, clipped", 0, 1),
        Feature("large_trade_flag", "1 after an outsize trade, decaying", 0, 1),
        Feature("vol_5m", "standard deviation of the price x 20, clipped", 0, 1),
        Feature("vol_expansion", "short / long volatility - 1, clipped", -1, 1),
        Feature("has_position", "0 or 1", 0, 1, endogenous=True),
        Feature("position_side", "+1 up, -1 down, 0 flat", -1, 1, endogenous=True),
        Feature("position_pnl", "unrealised USD / 50, clipped", -1, 1, endogenous=True),
        # Not a share: books open before their window starts (> 1) and quote on after it ends (< 0).
        Feature("time_remaining", "seconds to the end / 900, not clipped to [0, 1]", -1, 2),
        Feature("vol_regime", "0 or 1", 0, 1),
        Feature("trend_regime", "0 or 1", 0, 1),
    ),
)
