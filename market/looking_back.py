"""What every tick of a market knows of the ticks before it: the look-back of the features.

Whole markets here; `market.live_features` keeps the same for one tick at a time. Times are int64 microseconds
that do not fall. Never beyond the first tick of the market, which stands in where less is known.
"""

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MICRO = 1_000_000
SECOND_US = 1_000_000
CHANGES_US = (60 * SECOND_US, 300 * SECOND_US, 600 * SECOND_US)
HOUR_US = 3600 * SECOND_US
TRADES_US = 10 * SECOND_US
SHORT_TICKS, LONG_TICKS = 30, 120
MEDIAN_TICKS = 100
FLOW_HALF_LIFE_S = 395.0
LARGE_DECAY_PER_S = 0.7 ** (1 / 60)
LEAST_VARIANCE = 1e-12

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Quotes:
    """float64[n] each. mid and spread: of UP, USD. depths: of UP, micro-shares. changes: float64[3,n] of the
    mid's logit over `CHANGES_US`. stds: of the mid over the last 30 and 120 ticks."""

    mid: Floats
    spread: Floats
    bid_depth: Floats
    ask_depth: Floats
    changes: Floats
    short_std: Floats
    long_std: Floats


@dataclass(frozen=True, slots=True)
class Reference:
    """Of the logarithm of the underlying's price. changes: float64[3,n] over `CHANGES_US`. hour_change:
    float64[n]. hour_squares: float64[n], sum of the squared changes per tick in the last hour."""

    changes: Floats
    hour_change: Floats
    hour_squares: Floats


@dataclass(frozen=True, slots=True)
class Flow:
    """float64[n] each. bought, sold: USD of the tick. kept: of all ticks, halved every `FLOW_HALF_LIFE_S`.
    flag: 1 at a tick of unusual size, fading by `LARGE_DECAY_PER_S`."""

    bought: Floats
    sold: Floats
    kept_bought: Floats
    kept_sold: Floats
    flag: Floats


def quotes_of(tick_us: Ints, prices: Ints, depths: Ints) -> Quotes:
    """prices, depths: int64[T,4] as a tape has them."""
    mid = up_mid(prices)
    spread = np.where(_is_quoted(prices), (prices[:, 1] - prices[:, 0]) / MICRO, np.nan)
    return Quotes(
        mid,
        _carried(spread, 0.0),
        depths[:, 0].astype(np.float64),
        depths[:, 1].astype(np.float64),
        _changes(tick_us, logit(mid)),
        _rolling_std(mid, SHORT_TICKS),
        _rolling_std(mid, LONG_TICKS),
    )


def reference_of(tick_us: Ints, reference_usd: Floats) -> Reference:
    """reference_usd: float64[T], the underlying."""
    log_price = np.log(reference_usd)
    per_tick = np.diff(log_price, prepend=log_price[0])
    return Reference(
        _changes(tick_us, log_price),
        log_price - log_price[_ticks_ago(tick_us, HOUR_US)],
        _window_sums(tick_us, per_tick * per_tick, HOUR_US),
    )


def flow_of(tick_us: Ints, flow_usd: Floats) -> Flow:
    """flow_usd: float64[T,2] bought and sold since the tick before."""
    bought, sold = flow_usd[:, 0], flow_usd[:, 1]
    keep, fade = kept_shares(np.diff(tick_us, prepend=tick_us[0]) / SECOND_US)
    return Flow(
        bought,
        sold,
        _decayed(bought, keep),
        _decayed(sold, keep),
        _latched(_are_large(bought + sold), fade),
    )


def trades_of(tick_us: Ints, trade_count: Floats) -> Floats:
    """float64[T]: trades of the last 10 s."""
    return _window_sums(tick_us, trade_count, TRADES_US)


def up_mid(prices: Ints) -> Floats:
    """UP mid in USD per tick: both sides quoted, else carried forward; 0.5 before the first."""
    return _carried(np.where(_is_quoted(prices), (prices[:, 0] + prices[:, 1]) / (2 * MICRO), np.nan), 0.5)


def logit(mid: Floats) -> Floats:
    """float64[n] -> float64[n]; of 0.001 to 0.999."""
    bounded = np.clip(mid, 0.001, 0.999)
    return np.asarray(np.log(bounded / (1 - bounded)), dtype=np.float64)


def kept_shares(gap_s: Floats) -> tuple[Floats, Floats]:
    """What is left of flow, and of the flag, after gaps of so many seconds."""
    return np.power(0.5, gap_s / FLOW_HALF_LIFE_S), np.power(LARGE_DECAY_PER_S, gap_s)


class PastMedian:
    """The median of up to 100 values before the newest; infinite before the first."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque()
        self._sorted: list[float] = []

    def push(self, value: float) -> float:
        """The median of those before it; from now on it counts."""
        median = self._median()
        if len(self._newest) == MEDIAN_TICKS:
            del self._sorted[bisect_left(self._sorted, self._newest.popleft())]
        self._newest.append(value)
        insort(self._sorted, value)
        return median

    def _median(self) -> float:
        half, odd = divmod(len(self._sorted), 2)
        if not self._sorted:
            return np.inf
        return self._sorted[half] if odd else (self._sorted[half - 1] + self._sorted[half]) / 2


def is_large(traded_usd: float, past_median_usd: float) -> bool:
    """Above 3 times the median of the ticks before."""
    return traded_usd > 3 * past_median_usd and traded_usd > 0


def _are_large(traded_usd: Floats) -> list[bool]:
    past = PastMedian()
    return [is_large(value, past.push(value)) for value in traded_usd.tolist()]


def _is_quoted(prices: Ints) -> NDArray[np.bool_]:
    return np.asarray((prices[:, 0] > 0) & (prices[:, 1] > 0))


def _changes(tick_us: Ints, level: Floats) -> Floats:
    """float64[3,T]."""
    return np.stack([level - level[_ticks_ago(tick_us, span_us)] for span_us in CHANGES_US])


def _ticks_ago(tick_us: Ints, span_us: int) -> Ints:
    """The last tick at least `span_us` before each tick, or the first tick of the market."""
    return np.maximum(np.searchsorted(tick_us, tick_us - span_us, side="right") - 1, 0).astype(np.int64)


def _window_sums(tick_us: Ints, values: Floats, span_us: int) -> Floats:
    """Sum over the ticks in (t - span, t]."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    first = np.searchsorted(tick_us, tick_us - span_us, side="right")
    return np.asarray(total[np.arange(1, len(total))] - total[first], dtype=np.float64)


def _rolling_std(values: Floats, window: int) -> Floats:
    """Population standard deviation of up to `window` newest values; 0 at the first tick."""
    starts = np.maximum(np.arange(len(values)) + 1 - window, 0)
    stops = np.arange(1, len(values) + 1)
    centred = values - values[0]
    sums, squares = (np.concatenate(([0.0], np.cumsum(x))) for x in (centred, centred * centred))
    count = stops - starts
    mean = (sums[stops] - sums[starts]) / count
    variance = (squares[stops] - squares[starts]) / count - mean * mean
    return np.sqrt(np.where(variance > LEAST_VARIANCE, variance, 0.0))


def _carried(values: Floats, first: float) -> Floats:
    """NaN replaced by the last number before it, `first` where there is none."""
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))))
    return np.where(last >= 0, values[np.maximum(last, 0)], first)


def _decayed(values: Floats, keep: Floats) -> Floats:
    kept, level = [], 0.0
    for value, share in zip(values.tolist(), keep.tolist(), strict=True):
        level = value + share * level
        kept.append(level)
    return np.array(kept)


def _latched(events: list[bool], keep: Floats) -> Floats:
    flags, level = [], 0.0
    for event, share in zip(events, keep.tolist(), strict=True):
        level = max(float(event), share * level)
        flags.append(level)
    return np.array(flags)
