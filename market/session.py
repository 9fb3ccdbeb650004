"""Plays one tape: state, action, fill, settlement. Simulator, evaluation and bots step the same class.

The order of events is the contract. `state()` shows tick t. `step(action)` decides at t; an order meets the
quotes of the first tick strictly after t + latency, so no policy can trade at a price it has seen. One order
can be on its way: actions until it has met its tick are ignored. An order that finds no quote, no depth or a
closed book is dropped and counted, never kept. What is still held at the end settles at 0 or 1 USD.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from arms.fills import (
    BUY,
    FLAT,
    HOLD,
    MICRO,
    NO_POSITION,
    SELL,
    Filled,
    Order,
    Quotes,
    Side,
    TradingRules,
    fill,
    liquidation_micro,
    order_of,
    settle,
)
from arms.paper import PNL_SCALE_MICRO
from market.errors import SessionError
from market.tape import HAS_POSITION, POSITION_PNL, POSITION_SIDE, TIME_REMAINING, Tape

REMAINING_SCALE_US = 900 * MICRO


@dataclass(frozen=True, slots=True)
class Trade:
    """One closed position. `decided_tick`: where its opening was decided; `stake_micro`: the notional paid.

    pnl_micro is net of fee_micro; exit_price_micro is the mean over partial closes, settlement included.
    """

    decided_tick: int
    side: Side
    shares_micro: int
    stake_micro: int
    entry_price_micro: int
    exit_price_micro: int
    fee_micro: int
    pnl_micro: int
    closed_us: int
    settled: bool


@dataclass(frozen=True, slots=True)
class MarketResult:
    """What one policy made of one market. `unfilled` counts dropped orders by reason."""

    market: str
    pnl_micro: int
    fee_micro: int
    stake_micro: int
    trades: tuple[Trade, ...]
    unfilled: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class _Pending:
    order: Order
    decided_tick: int
    fill_tick: int


def fill_ticks(tick_us: NDArray[np.int64], latency_us: int) -> NDArray[np.int64]:
    """For a decision at each tick, the first tick strictly after tick + latency; T where there is none."""
    return np.searchsorted(tick_us, tick_us + latency_us, side="right").astype(np.int64)


class Session:
    """One tape being played once. `tick` is the tick that `state()` shows; T = over."""

    def __init__(self, tape: Tape, rules: TradingRules | None = None) -> None:
        self.tape = tape
        self.rules = rules or TradingRules(tape.fees)
        self.tick = 0
        self.position = NO_POSITION
        self.trades: list[Trade] = []
        self._books = np.concatenate((tape.prices, tape.depths), axis=1).tolist()
        self._fill_ticks = fill_ticks(tape.tick_us, self.rules.latency_us).tolist()
        self._left_us = tape.left_us.tolist()
        self._pending: _Pending | None = None
        self._opening: Trade | None = None
        self._unfilled: Counter[str] = Counter()
        self._states = tape.features.copy()
        self._states[:, TIME_REMAINING] = np.clip(tape.left_us / REMAINING_SCALE_US, -1, 2)

    @property
    def done(self) -> bool:
        return self.tick >= len(self._books)

    @property
    def booked_micro(self) -> int:
        """Net PnL of everything sold so far, partial closes included."""
        partial = self._opening.pnl_micro if self._opening else 0
        return sum(trade.pnl_micro for trade in self.trades) + partial

    def state(self) -> NDArray[np.float32]:
        """float32[F] of the current tick, the own position included."""
        if self.done:
            raise SessionError(f"market {self.tape.market} is over: read result(), or start a new session")
        row: NDArray[np.float32] = self._states[self.tick]
        return row

    def history(self, window: int) -> NDArray[np.float32]:
        """float32[<=window,F] up to and including the current tick, newest last."""
        self.state()
        return self._states[max(0, self.tick + 1 - window) : self.tick + 1]

    def step(self, action: int) -> None:
        """Decides at the current tick, then moves to the next, where an order on its way may be filled."""
        if self.done or action not in (HOLD, BUY, SELL):
            raise SessionError(
                f"action {action} at tick {self.tick} of {len(self._books)}: need 0, 1 or 2, and a tick left"
            )
        order = None if self._pending else order_of(action, self.position)
        if order is not None:
            self._pending = _Pending(order, self.tick, self._fill_ticks[self.tick])
        self.tick += 1
        self._arrive()

    def _arrive(self) -> None:
        if self.done:
            self._settle()
            return
        if self._pending and self._pending.fill_tick == self.tick:
            self._execute(self._pending)
        if self.position.side != FLAT:
            self._describe_position()

    def result(self) -> MarketResult:
        """The market's net result; only once the tape is over, for an open position has none yet."""
        if not self.done:
            left = len(self._books) - self.tick
            raise SessionError(f"market {self.tape.market} has {left} ticks left: play them first")
        return MarketResult(
            self.tape.market,
            pnl_micro=sum(trade.pnl_micro for trade in self.trades),
            fee_micro=sum(trade.fee_micro for trade in self.trades),
            stake_micro=sum(trade.stake_micro for trade in self.trades),
            trades=tuple(self.trades),
            unfilled=tuple(sorted(self._unfilled.items())),
        )

    def _execute(self, pending: _Pending) -> None:
        self._pending = None
        quotes = Quotes(*self._books[self.tick])
        met = fill(pending.order, self.position, quotes, self._left_us[self.tick], self.rules)
        if not isinstance(met, Filled):
            self._unfilled[met] += 1
        elif pending.order.kind == "open":
            self._open(met, pending.decided_tick)
        else:
            self._reduce(met, int(self.tape.tick_us[self.tick]))

    def _settle(self) -> None:
        self._pending = None
        if self.position.side != FLAT:
            self._reduce(settle(self.position, self.tape.outcome), self.tape.end_us)

    def _open(self, met: Filled, decided_tick: int) -> None:
        self.position = met.position
        self._opening = Trade(
            decided_tick=decided_tick,
            side=met.side,
            shares_micro=met.shares_micro,
            stake_micro=met.position.cost_micro,
            entry_price_micro=met.price_micro,
            exit_price_micro=0,
            fee_micro=met.fee_micro,
            pnl_micro=0,
            closed_us=0,
            settled=False,
        )

    def _reduce(self, met: Filled, at_us: int) -> None:
        """Books a partial or whole exit; exit_price_micro holds the proceeds until the trade is closed."""
        opening = self._opening
        if opening is None:
            raise SessionError(f"market {self.tape.market} sold what it never bought")
        trade = replace(
            opening,
            exit_price_micro=opening.exit_price_micro + met.shares_micro * met.price_micro // MICRO,
            fee_micro=opening.fee_micro + met.fee_micro,
            pnl_micro=opening.pnl_micro + met.pnl_micro,
            closed_us=at_us,
            settled=self.done,
        )
        self.position, self._opening = met.position, trade
        if met.position.side == FLAT:
            mean_price = trade.exit_price_micro * MICRO // trade.shares_micro
            self.trades.append(replace(trade, exit_price_micro=mean_price))
            self._opening = None

    def _describe_position(self) -> None:
        """position_pnl: what closing now would leave, both fees paid; without a bid the last mark stands."""
        row = self._states[self.tick]
        row[HAS_POSITION] = 1.0
        row[POSITION_SIDE] = self.position.side
        mark = liquidation_micro(self.position, Quotes(*self._books[self.tick]), self.rules.fees)
        if mark is None:
            row[POSITION_PNL] = self._states[self.tick - 1, POSITION_PNL]
        else:
            row[POSITION_PNL] = min(1.0, max(-1.0, mark / PNL_SCALE_MICRO))
