"""What an order costs: fills, fees and settlement in integers, for simulator, bots and shadow alike.

Units: prices are micro-USD per share (0.5 -> 500_000; 0 = nobody quotes), shares are micro-shares on a
grid of 0.01 share, money is micro-USD. With prices on a grid of 0.0001 every product is exact: nothing is
rounded but the fee.

A decision made at tick t fills at the quotes of the first tick strictly after t + latency, never at t.
Which tick that is, is the caller's business (`market.session`); `quotes` here are the ones that are met.
"""

from dataclasses import dataclass
from typing import Final, Literal

MICRO: Final = 1_000_000
SHARE_GRID: Final = 10_000

HOLD: Final = 0
BUY: Final = 1
SELL: Final = 2

Side = Literal[-1, 0, 1]
UP: Final = 1
FLAT: Final = 0
DOWN: Final = -1

Unfilled = Literal["book_closed", "no_quote", "no_depth", "below_minimum"]


@dataclass(frozen=True, slots=True)
class FeeSchedule:
    """Taker fee = shares * rate * (p * (1 - p)) ** exponent, floored to five decimals of a USD."""

    name: str
    rate_ppm: int
    exponent: int


NO_FEE: Final = FeeSchedule("none", 0, 1)
"""Crypto markets before 2026-01-06."""
CRYPTO_2026_01: Final = FeeSchedule("crypto-2026-01", 250_000, 2)
"""From 2026-01-06."""
CRYPTO_2026_05: Final = FeeSchedule("crypto-2026-05", 72_000, 1)
CRYPTO_2026_07: Final = FeeSchedule("crypto-2026-07", 70_000, 1)
"""`crypto_fees_v2`: {"rate": 0.07, "exponent": 1, "takerOnly": true}."""

FEES: Final = {fees.name: fees for fees in (NO_FEE, CRYPTO_2026_01, CRYPTO_2026_05, CRYPTO_2026_07)}


@dataclass(frozen=True, slots=True)
class Quotes:
    """Best prices (micro-USD, 0 = no quote) and the shares to be had there (micro-shares) of both tokens.

    DOWN has a book of its own: its ask is not 1 - UP bid.
    """

    up_bid: int
    up_ask: int
    down_bid: int
    down_ask: int
    up_bid_depth: int
    up_ask_depth: int
    down_bid_depth: int
    down_ask_depth: int


@dataclass(frozen=True, slots=True)
class TradingRules:
    """What venue and owner impose. `stake_micro`: the notional an opening order asks for, before its fee."""

    fees: FeeSchedule
    stake_micro: int = 100 * MICRO
    latency_us: int = 150_000
    closed_last_us: int = 20_000_000
    min_open_shares_micro: int = 5 * MICRO
    min_notional_micro: int = MICRO


@dataclass(frozen=True, slots=True)
class Position:
    """Shares held of one token with what they cost; cost and entry fee shrink pro rata at a partial close."""

    side: Side
    shares_micro: int
    cost_micro: int
    fee_micro: int


NO_POSITION: Final = Position(FLAT, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Order:
    """Opens or closes `side`; a market order that takes what the book shows and drops the rest."""

    kind: Literal["open", "close"]
    side: Side


@dataclass(frozen=True, slots=True)
class Filled:
    """One execution and the position after it. `pnl_micro` is net of both legs' fees; 0 at an opening."""

    position: Position
    side: Side
    shares_micro: int
    price_micro: int
    fee_micro: int
    pnl_micro: int


def price_micro(price_usd: float) -> int:
    """Micro-USD of a quoted price. 0.0 and NaN, and anything outside (0, 1), mean that nobody quotes: 0."""
    return round(price_usd * MICRO) if 0.0 < price_usd < 1.0 else 0


def taker_fee_micro(shares_micro: int, price_micro: int, fees: FeeSchedule) -> int:
    """Exact in integers, then floored to 10 micro-USD (five decimals)."""
    odds: int = (price_micro * (MICRO - price_micro)) ** fees.exponent
    scale: int = MICRO * MICRO ** (2 * fees.exponent)
    return shares_micro * fees.rate_ppm * odds // (10 * scale) * 10


def order_of(action: int, position: Position) -> Order | None:
    """Buy opens UP or closes DOWN, sell the reverse; hold, or the held side again, orders nothing."""
    wanted: Side = UP if action == BUY else DOWN if action == SELL else FLAT
    if wanted in (FLAT, position.side):
        return None
    if position.side == FLAT:
        return Order("open", wanted)
    return Order("close", position.side)


def fill(
    order: Order, position: Position, quotes: Quotes, left_us: int, rules: TradingRules
) -> Filled | Unfilled:
    """Executes `order` against `quotes` with `left_us` to the market's end, or says why nothing happened."""
    if left_us <= rules.closed_last_us:
        return "book_closed"
    if order.kind == "open":
        return _open(order.side, quotes, rules)
    return _close(position, quotes, rules)


def _open(side: Side, quotes: Quotes, rules: TradingRules) -> Filled | Unfilled:
    """Buys the side's token at its ask for the stake, or for what the ask holds."""
    ask, depth = _entry_side(side, quotes)
    if not 0 < ask < MICRO:
        return "no_quote"
    shares = _on_grid(min(rules.stake_micro * MICRO // ask, depth))
    if shares == 0:
        return "no_depth"
    cost = shares * ask // MICRO
    if shares < rules.min_open_shares_micro or cost < rules.min_notional_micro:
        return "below_minimum"
    fee = taker_fee_micro(shares, ask, rules.fees)
    return Filled(Position(side, shares, cost, fee), side, shares, ask, fee, 0)


def _close(position: Position, quotes: Quotes, rules: TradingRules) -> Filled | Unfilled:
    """Sells the held token at its own bid; what the bid cannot take stays in the position."""
    bid, depth = _exit_side(position.side, quotes)
    if not 0 < bid < MICRO:
        return "no_quote"
    shares = min(position.shares_micro, _on_grid(depth))
    if shares == 0:
        return "no_depth"
    fee = taker_fee_micro(shares, bid, rules.fees)
    return _sold(position, shares, bid, fee)


def settle(position: Position, outcome: Side) -> Filled:
    """Every share of the winning token pays 1 USD, of the other 0; no fee. A tie is UP."""
    return _sold(position, position.shares_micro, MICRO if position.side == outcome else 0, 0)


def liquidation_micro(position: Position, quotes: Quotes, fees: FeeSchedule) -> int | None:
    """Net result if all shares were sold at their bid now, both legs' fees paid; None without a bid.

    Depth is not looked at: this is a mark, not a promise.
    """
    if position.side == FLAT:
        return 0
    bid, _ = _exit_side(position.side, quotes)
    if bid == 0:
        return None
    proceeds = position.shares_micro * bid // MICRO
    fee = taker_fee_micro(position.shares_micro, bid, fees)
    return proceeds - position.cost_micro - position.fee_micro - fee


def _sold(position: Position, shares: int, price: int, fee: int) -> Filled:
    cost = position.cost_micro * shares // position.shares_micro
    entry_fee = position.fee_micro * shares // position.shares_micro
    left = position.shares_micro - shares
    rest = (
        Position(position.side, left, position.cost_micro - cost, position.fee_micro - entry_fee)
        if left
        else NO_POSITION
    )
    pnl = shares * price // MICRO - fee - cost - entry_fee
    return Filled(rest, position.side, shares, price, fee, pnl)


def _entry_side(side: Side, quotes: Quotes) -> tuple[int, int]:
    return (quotes.up_ask, quotes.up_ask_depth) if side == UP else (quotes.down_ask, quotes.down_ask_depth)


def _exit_side(side: Side, quotes: Quotes) -> tuple[int, int]:
    return (quotes.up_bid, quotes.up_bid_depth) if side == UP else (quotes.down_bid, quotes.down_bid_depth)


def _on_grid(shares_micro: int) -> int:
    return shares_micro // SHARE_GRID * SHARE_GRID
