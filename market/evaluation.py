"""What a policy makes of many markets: all sessions in lock step, one policy call per tick."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arms.fills import MICRO, TradingRules
from arms.schema import MARKET_V1
from market.looking_back import up_mid
from market.session import MarketResult, Session
from market.tape import Tape

Policy = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.int64]]
"""(histories float32[n,k,F] newest last and front-padded with 0, lengths int64[n]) -> actions int64[n]."""


@dataclass(frozen=True, slots=True)
class PlayTotals:
    """Per assigned market, traded or not. Shares are of `markets`; wins are markets with net PnL above 0."""

    markets: int
    traded_share: float
    profit_share: float
    trades_per_market: float
    pnl_per_market_usd: float
    pnl_stderr_usd: float
    fee_per_market_usd: float


def play(
    policy: Policy, tapes: Sequence[Tape], window: int, rules: TradingRules | None = None
) -> tuple[MarketResult, ...]:
    """One result per tape, in their order. `rules` replaces every tape's own fees and the default stake."""
    sessions = [Session(tape, rules) for tape in tapes]
    histories = np.zeros((len(sessions), window, MARKET_V1.width), dtype=np.float32)
    live = sessions
    while live := [session for session in live if not session.done]:
        batch = histories[: len(live)]
        lengths = _gather(live, batch)
        for session, action in zip(live, policy(batch, lengths).tolist(), strict=True):
            session.step(action)
    return tuple(session.result() for session in sessions)


def totals_of(results: Sequence[MarketResult]) -> PlayTotals:
    """Means over markets; the standard error treats markets as independent."""
    pnl_usd = np.array([result.pnl_micro for result in results]) / MICRO
    count = len(results)
    return PlayTotals(
        markets=count,
        traded_share=sum(1 for result in results if result.trades) / count,
        profit_share=float((pnl_usd > 0).mean()),
        trades_per_market=sum(len(result.trades) for result in results) / count,
        pnl_per_market_usd=float(pnl_usd.mean()),
        pnl_stderr_usd=float(pnl_usd.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0,
        fee_per_market_usd=sum(result.fee_micro for result in results) / count / MICRO,
    )


def expected_pnl_usd(results: Sequence[MarketResult], tapes: Sequence[Tape]) -> NDArray[np.float64]:
    """Net PnL per market with settled shares paid the last UP mid instead of 0 or 1 USD.

    Same mean where the last quotes are calibrated, without the luck of the draw: for choosing between
    policies on few markets. Reports show what was paid.
    """
    luck_usd = [_settlement_luck_usd(result, tape) for result, tape in zip(results, tapes, strict=True)]
    paid_usd = [result.pnl_micro / MICRO for result in results]
    return np.asarray(np.array(paid_usd) - np.array(luck_usd), dtype=np.float64)


def _settlement_luck_usd(result: MarketResult, tape: Tape) -> float:
    surprise = float(tape.up_won) - float(up_mid(tape.prices)[-1])
    shares = sum(trade.side * trade.shares_micro for trade in result.trades if trade.settled)
    return surprise * shares / MICRO


def _gather(live: Sequence[Session], batch: NDArray[np.float32]) -> NDArray[np.int64]:
    """Writes every session's newest states to the end of its row of `batch`; returns how many there were."""
    window = batch.shape[1]
    lengths = np.empty(len(live), dtype=np.int64)
    for row, session in enumerate(live):
        history = session.history(window)
        lengths[row] = len(history)
        batch[row, : window - len(history)] = 0.0
        batch[row, window - len(history) :] = history
    return lengths
