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
from market.looking_back import (
    Floats,
    Flow,
    Ints,
    Quotes,
    Reference,
    flow_of,
    quotes_of,
    reference_of,
    trades_of,
)
from market.tape import SESSION_FILLS

MINUTES = (1, 5, 10)


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


@dataclass(frozen=True, slots=True)
class Seen:
    """What n ticks know of themselves and of the ticks before them, look-back done; None = lacking.

    best_sizes: float64[n,2]. trades: float64[n], of the last 10 s.
    """

    quotes: Quotes
    best_sizes: Floats | None = None
    reference: Reference | None = None
    flow: Flow | None = None
    trades: Floats | None = None


def features_of(
    tick_us: Ints, prices: Ints, depths: Ints, feed: Feed = NO_FEED
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """float32[T,F], 0 in the columns that a session fills, and the mask bool[F] of what the source knows."""
    reference, flow, trades = feed.reference_usd, feed.flow_usd, feed.trade_count
    return features_seen(
        Seen(
            quotes_of(tick_us, prices, depths),
            feed.best_sizes,
            None if reference is None else reference_of(tick_us, reference),
            None if flow is None else flow_of(tick_us, flow),
            None if trades is None else trades_of(tick_us, trades),
        )
    )


def features_seen(seen: Seen) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """See `features_of`: the formulas alone, of any number of ticks, each by itself."""
    columns = _columns(seen)
    features = np.zeros((len(seen.quotes.mid), MARKET_V1.width))
    mask = _IS_FILLED.copy()
    for i, name in enumerate(MARKET_V1.names):
        if name in columns:
            features[:, i] = columns[name]
            mask[i] = True
    return np.clip(features, MARKET_V1.low, MARKET_V1.high).astype(np.float32), mask


_IS_FILLED = np.isin(np.arange(MARKET_V1.width), SESSION_FILLS)


def _columns(seen: Seen) -> dict[str, Floats]:
    columns = _from_quotes(seen.quotes)
    if seen.reference is not None:
        columns |= _from_reference(seen.reference)
    if seen.best_sizes is not None:
        columns["ob_imbalance_l1"] = _imbalance(seen.best_sizes[:, 0], seen.best_sizes[:, 1])
    if seen.flow is not None:
        columns |= _from_flow(seen.flow)
    if seen.trades is not None:
        columns["trade_intensity"] = seen.trades / 100
    return columns


def _from_quotes(quotes: Quotes) -> dict[str, Floats]:
    imbalance = _imbalance(quotes.bid_depth, quotes.ask_depth)
    return {
        **_returns(quotes.changes / 4),
        "ob_imbalance_l1": imbalance,
        "ob_imbalance_l5": imbalance,
        "spread_pct": 20 * quotes.spread / np.maximum(0.01, quotes.mid),
        "vol_5m": 20 * quotes.short_std,
        "vol_expansion": _ratio(quotes.short_std, quotes.long_std) - 1,
    }


def _from_reference(reference: Reference) -> dict[str, Floats]:
    hour = np.expm1(reference.hour_change)
    return {
        **_returns(50 * np.expm1(reference.changes)),
        "vol_regime": (np.sqrt(reference.hour_squares) > 0.01).astype(np.float64),
        "trend_regime": (np.abs(hour) > 0.005).astype(np.float64),
    }


def _from_flow(flow: Flow) -> dict[str, Floats]:
    return {
        "trade_flow": _imbalance(flow.kept_bought, flow.kept_sold),
        "cvd_accel": 10 * (flow.bought - flow.sold) / 1e6,
        "large_trade_flag": flow.flag,
    }


def _returns(changes: Floats) -> dict[str, Floats]:
    return {f"returns_{minutes}m": change for minutes, change in zip(MINUTES, changes, strict=True)}


def _imbalance(bid: Floats, ask: Floats) -> Floats:
    total = bid + ask
    return np.divide(bid - ask, total, out=np.zeros_like(total), where=total > 0)


def _ratio(short: Floats, long: Floats) -> Floats:
    return np.divide(short, long, out=np.ones_like(short), where=long > 0)
