"""What a policy is worth on whole markets, and against another one on the same markets. Pure.

Intervals are clustered by window: markets that end together share what moved them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arms.fills import MICRO
from market.session import MarketResult, Trade
from market.tape import Tape
from stats.clustered_mean import clustered_mean
from stats.comparison import Comparison

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """Per market, traded or not, fees paid. Shares are in [0, 1]; None: there was no trade to say it of.

    windows: different ends of markets. pnl_usd: net, with its interval. trade_win_rate: of closed trades,
    those with net PnL above 0. edge_usd: what a share brought above its entry price, before fees, by shares.
    drawdown_usd: the deepest fall of the sum of results, in the order in which markets ended. exposure: share
    of the markets' time with a position. unfilled: dropped orders by reason.
    """

    markets: int
    windows: int
    traded_share: float
    profit_share: float
    trades: int
    trade_win_rate: float | None
    pnl_usd: Comparison
    fee_usd: float
    edge_usd: float | None
    drawdown_usd: float
    exposure: float
    unfilled: dict[str, int]


def score(results: Sequence[MarketResult], tapes: Sequence[Tape], alpha: float = 0.05) -> Score:
    """Of results in the order of their tapes; there must be one at least."""
    pnl_usd, ends = pnl_of(results), ends_of(tapes)
    trades = [trade for result in results for trade in result.trades]
    unfilled = sum((Counter(dict(result.unfilled)) for result in results), Counter[str]())
    return Score(
        markets=len(results),
        windows=len(np.unique(ends)),
        traded_share=sum(1 for result in results if result.trades) / len(results),
        profit_share=float((pnl_usd > 0.0).mean()),
        trades=len(trades),
        trade_win_rate=sum(trade.pnl_micro > 0 for trade in trades) / len(trades) if trades else None,
        pnl_usd=clustered_mean(pnl_usd, ends, alpha),
        fee_usd=sum(result.fee_micro for result in results) / len(results) / MICRO,
        edge_usd=_edge_usd(trades),
        drawdown_usd=_drawdown_usd(pnl_usd[np.argsort(ends, kind="stable")]),
        exposure=_exposure(results, tapes),
        unfilled=dict(sorted(unfilled.items())),
    )


def difference(
    ours: Sequence[MarketResult], theirs: Sequence[MarketResult], tapes: Sequence[Tape], alpha: float = 0.05
) -> Comparison:
    """Net USD per market, ours less theirs, paired: both played the same tapes."""
    return clustered_mean(pnl_of(ours) - pnl_of(theirs), ends_of(tapes), alpha)


def pnl_of(results: Sequence[MarketResult]) -> Floats:
    """float64[n], net USD of each market."""
    return np.array([result.pnl_micro for result in results], dtype=np.float64) / MICRO


def ends_of(tapes: Sequence[Tape]) -> NDArray[np.int64]:
    """int64[n], microseconds: what a window is known by."""
    return np.array([tape.end_us for tape in tapes], dtype=np.int64)


def _edge_usd(trades: Sequence[Trade]) -> float | None:
    shares = sum(trade.shares_micro for trade in trades)
    if not shares:
        return None
    gained = sum(t.shares_micro * (t.exit_price_micro - t.entry_price_micro) for t in trades)
    return gained / shares / MICRO


def _drawdown_usd(pnl_usd: Floats) -> float:
    """0 or more; the sum begins at 0, so a first loss is a fall."""
    held = np.concatenate(([0.0], np.cumsum(pnl_usd)))
    return float((np.maximum.accumulate(held) - held).max())


def _exposure(results: Sequence[MarketResult], tapes: Sequence[Tape]) -> float:
    pairs = zip(results, tapes, strict=True)
    held_us = sum(t.closed_us - int(tape.tick_us[t.decided_tick]) for r, tape in pairs for t in r.trades)
    open_us = sum(tape.end_us - int(tape.tick_us[0]) for tape in tapes)
    return held_us / open_us
