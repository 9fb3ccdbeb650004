"""A paper account: what one arm's actions would have made of a unit, filled as `arms.fills` says.

At each tick first `met`, then `position_features` for the state, then `decided`: an order meets the quotes
of the first tick strictly after its decision + latency, so nobody trades at a price it has seen. One order
can be on its way; actions until it has met its tick are ignored, and one that cannot be filled is dropped.
"""

from dataclasses import dataclass, replace
from typing import Final

from arms.fills import (
    FLAT,
    MICRO,
    NO_POSITION,
    FeeSchedule,
    Filled,
    Order,
    Position,
    Quotes,
    Side,
    TradingRules,
    fill,
    liquidation_micro,
    order_of,
    settle,
)

PNL_SCALE_MICRO: Final = 50 * MICRO
"""position_pnl of a state is the unrealised result over this, clipped to [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Pending:
    """An order on its way: it meets the first tick strictly after `due_us`."""

    order: Order
    due_us: int


@dataclass(frozen=True, slots=True)
class Account:
    """booked_micro: net of fees, of all that was sold. mark_micro: what selling the rest would have left at
    the last tick with a bid. unfilled: orders that met no quote, no depth or a closed book."""

    position: Position = NO_POSITION
    pending: Pending | None = None
    booked_micro: int = 0
    mark_micro: int = 0
    fills: int = 0
    unfilled: int = 0


NEW_ACCOUNT: Final = Account()


@dataclass(frozen=True, slots=True)
class Tick:
    """What an account sees. at_us: when. left_us: to the unit's end."""

    at_us: int
    left_us: int
    quotes: Quotes


def met(account: Account, tick: Tick, rules: TradingRules) -> Account:
    """The account at this tick's quotes: its order filled or dropped where it is due, the rest marked."""
    return _marked(_filled(account, tick, rules), tick.quotes, rules.fees)


def decided(account: Account, action: int, at_us: int, rules: TradingRules) -> Account:
    """The account once its arm has said hold, buy or sell (0, 1, 2) at this tick."""
    order = None if account.pending else order_of(action, account.position)
    return account if order is None else replace(account, pending=Pending(order, at_us + rules.latency_us))


def settled_micro(account: Account, outcome: Side) -> int:
    """Net result once the market has paid: what is held then pays 1 USD a share or nothing."""
    return account.booked_micro + held_micro(account.position, outcome)


def held_micro(position: Position, outcome: Side) -> int:
    """What holding a position to the end makes, net of its entry fee."""
    return 0 if position.side == FLAT else settle(position, outcome).pnl_micro


def position_features(account: Account) -> tuple[float, float, float]:
    """has_position, position_side, position_pnl as a state has them."""
    if account.position.side == FLAT:
        return 0.0, 0.0, 0.0
    return 1.0, float(account.position.side), min(1.0, max(-1.0, account.mark_micro / PNL_SCALE_MICRO))


def _filled(account: Account, tick: Tick, rules: TradingRules) -> Account:
    pending = account.pending
    if pending is None or tick.at_us <= pending.due_us:
        return account
    found = fill(pending.order, account.position, tick.quotes, tick.left_us, rules)
    if not isinstance(found, Filled):
        return replace(account, pending=None, unfilled=account.unfilled + 1)
    booked_micro = account.booked_micro + found.pnl_micro
    return replace(
        account, position=found.position, pending=None, booked_micro=booked_micro, fills=account.fills + 1
    )


def _marked(account: Account, quotes: Quotes, fees: FeeSchedule) -> Account:
    """Without a bid the last mark stands."""
    mark_micro = liquidation_micro(account.position, quotes, fees)
    return account if mark_micro in (None, account.mark_micro) else replace(account, mark_micro=mark_micro)
