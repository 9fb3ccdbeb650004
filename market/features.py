"""The 18 features of `market-v1` from what a source knows; strictly causal: row t uses ticks up to t only.

A feature is measured, a documented substitute, or lacking (column 0, mask False):

| feature           | with the optional feed                               | from quotes and depth alone |
|-------------------|------------------------------------------------------|-----------------------------|
| returns_1m/5m/10m | 50 * (reference price now / 1, 5, 10 min ago - 1)    | logit(UP mid) change / 4    |
| ob_imbalance_l1   | (bid - ask) / (bid + ask) of the best UP sizes       | ob_imbalance_l5             |
| ob_imbalance_l5   | (bid - ask) / (bid + ask) of UP depth                | the same                    |
| trade_flow        | (buy - sell) / (buy + sell) USD, half-life 6.6 min   | lacking                     |
| cvd_accel         | 10 * (buy - sell) USD of the tick / 1e6              | lacking                     |
| spread_pct        | 20 * (ask - bid) / max(0.01, mid) of UP              | the same                    |
| trade_intensity   | trades of the last 10 s / 100                        | lacking                     |
| large_trade_flag  | 1 at a tick of > 3 x the median USD, x 0.7 per 60 s  | lacking                     |
| vol_5m            | 20 * std of UP mid, last 30 ticks                    | the same                    |
| vol_expansion     | std of UP mid, last 30 / last 120 ticks - 1          | the same                    |
| vol_regime        | 1 if the hour's std of reference returns is > 0.01   | lacking                     |
| trend_regime      | 1 if the hour's reference return is > 0.005 in size  | lacking                     |

Look-back never crosses the start of a market: where less is known, the first tick stands in. A missing quote
is carried forward from the last tick that had one; before the first one the mid is 0.5 and the spread 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arms.schema import MARKET_V1
from market.tape import SESSION_FILLS

MICRO = 1_000_000
SECOND_US = 1_000_000
FLOW_HALF_LIFE_S = 395.0
LARGE_DECAY_PER_S = 0.7 ** (1 / 60)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Feed:
    """What may be known beside the quotes, one row per tick; None = the source lacks it.

    reference_usd: float64[T] price of the underlying. best_sizes: float64[T,2] shares at the best UP bid and
    ask. flow_usd: float64[T,2] USD bought and sold since the tick before. trade_count: float64[T] since then.
    """

    reference_usd: Floats | None = None
    best_sizes: Floats | None = None
    flow_usd: Floats | None = None
    trade_count: Floats | None = None


NO_FEED = Feed()


def features_of(
    tick_us: Ints, prices: Ints, depths: Ints, feed: Feed = NO_FEED
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """float32[T,F], 0 in the columns that a session fills, and the mask bool[F] of what the source knows."""
    columns = _from_quotes(tick_us, prices, depths) | _from_feed(tick_us, feed)
    features = np.zeros((len(tick_us), MARKET_V1.width))
    mask = np.isin(np.arange(MARKET_V1.width), SESSION_FILLS)
    for i, name in enumerate(MARKET_V1.names):
        if name in columns:
            features[:, i] = columns[name]
            mask[i] = True
    return np.clip(features, MARKET_V1.low, MARKET_V1.high).astype(np.float32), mask


def up_mid(prices: Ints) -> Floats:
    """UP mid in USD per tick: both sides quoted, else carried forward; 0.5 before the first."""
    bid, ask = prices[:, 0], prices[:, 1]
    return _carried(np.where((bid > 0) & (ask > 0), (bid + ask) / (2 * MICRO), np.nan), 0.5)


def _from_quotes(tick_us: Ints, prices: Ints, depths: Ints) -> dict[str, Floats]:
    mid = up_mid(prices)
    quoted = (prices[:, 0] > 0) & (prices[:, 1] > 0)
    spread = _carried(np.where(quoted, (prices[:, 1] - prices[:, 0]) / MICRO, np.nan), 0.0)
    imbalance = _imbalance(depths[:, 0].astype(np.float64), depths[:, 1].astype(np.float64))
    short = _rolling_std(mid, 30)
    return {
        **{name: change / 4 for name, change in _changes(tick_us, _logit(mid)).items()},
        "ob_imbalance_l1": imbalance,
        "ob_imbalance_l5": imbalance,
        "spread_pct": 20 * spread / np.maximum(0.01, mid),
        "vol_5m": 20 * short,
        "vol_expansion": _ratio(short, _rolling_std(mid, 120)),
    }


def _from_feed(tick_us: Ints, feed: Feed) -> dict[str, Floats]:
    columns: dict[str, Floats] = {}
    if feed.reference_usd is not None:
        columns |= _from_reference(tick_us, feed.reference_usd)
    if feed.best_sizes is not None:
        columns["ob_imbalance_l1"] = _imbalance(feed.best_sizes[:, 0], feed.best_sizes[:, 1])
    if feed.flow_usd is not None:
        columns |= _from_flow(tick_us, feed.flow_usd)
    if feed.trade_count is not None:
        columns["trade_intensity"] = _window_sums(tick_us, feed.trade_count, 10 * SECOND_US) / 100
    return columns


def _from_reference(tick_us: Ints, reference_usd: Floats) -> dict[str, Floats]:
    log_price = np.log(reference_usd)
    hour = np.expm1(log_price - log_price[_ticks_ago(tick_us, 3600 * SECOND_US)])
    per_tick = np.diff(log_price, prepend=log_price[0])
    hourly_std = np.sqrt(_window_sums(tick_us, per_tick**2, 3600 * SECOND_US))
    return {
        **{name: 50 * np.expm1(change) for name, change in _changes(tick_us, log_price).items()},
        "vol_regime": (hourly_std > 0.01).astype(np.float64),
        "trend_regime": (np.abs(hour) > 0.005).astype(np.float64),
    }


def _from_flow(tick_us: Ints, flow_usd: Floats) -> dict[str, Floats]:
    bought, sold = flow_usd[:, 0], flow_usd[:, 1]
    gap_s = np.diff(tick_us, prepend=tick_us[0]) / SECOND_US
    kept = _decayed(np.stack((bought, sold), axis=1), 0.5 ** (gap_s / FLOW_HALF_LIFE_S))
    traded = bought + sold
    large = (traded > 3 * _past_median(traded)) & (traded > 0)
    return {
        "trade_flow": _imbalance(kept[:, 0], kept[:, 1]),
        "cvd_accel": 10 * (bought - sold) / 1e6,
        "large_trade_flag": _latched(large, LARGE_DECAY_PER_S**gap_s),
    }


def _changes(tick_us: Ints, level: Floats) -> dict[str, Floats]:
    return {
        f"returns_{minutes}m": level - level[_ticks_ago(tick_us, minutes * 60 * SECOND_US)]
        for minutes in (1, 5, 10)
    }


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
    sums, squares = (np.concatenate(([0.0], np.cumsum(x))) for x in (centred, centred**2))
    count = stops - starts
    mean = (sums[stops] - sums[starts]) / count
    variance = (squares[stops] - squares[starts]) / count - mean**2
    return np.sqrt(np.where(variance > 1e-12, variance, 0.0))


def _carried(values: Floats, first: float) -> Floats:
    """NaN replaced by the last number before it, `first` where there is none."""
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))))
    return np.where(last >= 0, values[np.maximum(last, 0)], first)


def _decayed(values: Floats, keep: Floats) -> Floats:
    kept = values.copy()
    for t in range(1, len(kept)):
        kept[t] += keep[t] * kept[t - 1]
    return kept


def _latched(events: NDArray[np.bool_], keep: Floats) -> Floats:
    level = events.astype(np.float64)
    for t in range(1, len(level)):
        level[t] = max(level[t], keep[t] * level[t - 1])
    return level


def _past_median(values: Floats) -> Floats:
    """Median of up to 100 ticks before each tick, that tick excluded; infinite at the first."""
    return np.array([np.median(values[max(0, t - 100) : t]) if t else np.inf for t in range(len(values))])


def _imbalance(bid: Floats, ask: Floats) -> Floats:
    total = bid + ask
    return np.divide(bid - ask, total, out=np.zeros_like(total), where=total > 0)


def _ratio(short: Floats, long: Floats) -> Floats:
    return np.divide(short, long, out=np.ones_like(short), where=long > 0) - 1


def _logit(mid: Floats) -> Floats:
    bounded = np.clip(mid, 0.001, 0.999)
    return np.asarray(np.log(bounded / (1 - bounded)), dtype=np.float64)
