"""The newest states of every market, each market for itself, in the form that an arm reads."""

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from arms.errors import HistoryError

MARKET_BYTES_MAX: Final = 256
_UNSTORABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

Window = tuple[NDArray[np.float32], NDArray[np.int64]]
"""float32[1,window,F], newest last, zeros in front of the first real state; int64[1], how many are real."""


@dataclass(slots=True)
class _Held:
    rows: NDArray[np.float32]  # [1,window,F]
    ticks: NDArray[np.int64]  # [1]


class Histories:
    """Bounded: with `markets_max` held, a new market takes the place of the one that ticked longest ago. Not
    thread-safe."""

    def __init__(self, shape: tuple[int, int], markets_max: int) -> None:
        """shape: (window, features)."""
        self._shape = shape
        self._markets_max = markets_max
        self._held: OrderedDict[str, _Held] = OrderedDict()

    def added(self, market: str, state: NDArray[np.float32]) -> Window:
        """The market's window once this state [F] is its newest. The arrays are those held: copy to keep."""
        held = self._of(market)
        rows = held.rows[0]
        rows[:-1] = rows[1:]
        rows[-1] = state
        if held.ticks[0] < len(rows):
            held.ticks += 1
        return held.rows, held.ticks

    def replaced(self, market: str, states: NDArray[np.float32]) -> Window:
        """The market's window once these states [k,F], newest last, are its whole history."""
        held = self._of(market)
        rows = held.rows[0]
        newest = states[-len(rows) :]
        rows[: len(rows) - len(newest)] = 0
        rows[len(rows) - len(newest) :] = newest
        held.ticks[0] = len(newest)
        return held.rows, held.ticks

    def reset(self, market: str) -> None:
        """Forgets a market; one that is not held is no error."""
        self._held.pop(market, None)

    def _of(self, market: str) -> _Held:
        held = self._held.get(market)
        if held is None:
            check_market(market)
            empty = np.zeros((1, *self._shape), dtype=np.float32)
            held = self._held[market] = _Held(empty, np.zeros(1, dtype=np.int64))
            if len(self._held) > self._markets_max:
                self._held.popitem(last=False)
        else:
            self._held.move_to_end(market)
        return held


def check_market(market: str) -> None:
    """Raise HistoryError unless it can be a unit of the service (docs/assignment.md, section 1)."""
    rule = None
    if not market.strip():
        rule = "must not be blank"
    elif _UNSTORABLE.search(market):
        rule = "must not hold control characters or lone surrogates"
    elif len(market.encode()) > MARKET_BYTES_MAX:
        rule = f"must be at most {MARKET_BYTES_MAX} bytes of UTF-8"
    if rule:
        raise HistoryError(f"market {rule}: give its id, such as btc-updown-15m-1767225600")
