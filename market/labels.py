"""What each action was worth at each tick, costs paid and without hindsight about when to get out.

Entering at t means: fill at the first tick after t + latency, spread and fees paid, then a FIXED exit rule
that looks at nothing but the own position's result and the clock. No label ever picks the best exit after the
fact. While holding, the labels clone that rule. A single market's values are one draw of luck: a tick where
the lucky side is unknowable has a negative value on average over markets, so a learner must weigh values (the
sum of probability * value), not copy the best action of each draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from arms.episodes import Episode
from arms.fills import BUY, DOWN, HOLD, MICRO, SELL, UP, FeeSchedule, Side, TradingRules
from arms.paper import PNL_SCALE_MICRO
from market.session import REMAINING_SCALE_US, fill_ticks
from market.tape import EXOGENOUS, HAS_POSITION, POSITION_PNL, POSITION_SIDE, TIME_REMAINING, Tape

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ExitRule:
    """Close at a net gain of `take_profit_usd`, at a net loss of `stop_loss_usd`, or near the end."""

    take_profit_usd: float
    stop_loss_usd: float
    flatten_left_us: int = 22 * MICRO


DECOY_EXIT: Final = ExitRule(take_profit_usd=1.0, stop_loss_usd=40.0)
MARKET_EXIT: Final = ExitRule(take_profit_usd=8.0, stop_loss_usd=15.0, flatten_left_us=30 * MICRO)

EVENTFUL: Final = 0.4


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How often the roll that fills in-position states enters: at random, and where the entry will have paid.

    clone_usd: the loss stated for leaving the exit rule. quiet_share: share of uneventful ticks that are kept
    for learning; a tick is eventful when a feature moved by more than EVENTFUL, or when the exit rule acts.
    Thinning looks at states only, so it changes how often a state is seen and not what it is worth.
    """

    random_share: float = 0.01
    paying_share: float = 0.02
    clone_usd: float = 10.0
    quiet_share: float = 0.15


@dataclass(frozen=True, slots=True)
class Entries:
    """Entering one side at every tick: what it is worth (0 where it cannot fill), where it begins and ends.

    filled: bool[T]. filled_tick, closed_tick: int64[T]; the position shows in states filled_tick up to
    closed_tick - 1, and closed_tick = T means settlement. mark_usd, wants_out: [entry,tick], the result of
    closing there and the rule's wish.
    """

    filled: Bools
    value_usd: Floats
    filled_tick: Ints
    closed_tick: Ints
    mark_usd: Floats
    wants_out: Bools


DEFAULT_BEHAVIOUR: Final = Behaviour()


def labelled(
    tapes: Sequence[Tape], rule: ExitRule, seed: int, behaviour: Behaviour = DEFAULT_BEHAVIOUR
) -> tuple[Episode, ...]:
    """One episode per tape, in their order. The same seed gives the same bytes."""
    return tuple(
        episode_of(tape, rule, behaviour, np.random.default_rng((seed, i))) for i, tape in enumerate(tapes)
    )


def episode_of(tape: Tape, rule: ExitRule, behaviour: Behaviour, rng: np.random.Generator) -> Episode:
    """Flat ticks carry the values of entering, ticks of the rolled positions clone the exit rule."""
    rules = TradingRules(tape.fees)
    sides: dict[Side, Entries] = {
        UP: entries_of(tape, rule, rules, UP),
        DOWN: entries_of(tape, rule, rules, DOWN),
    }
    states = tape.features.copy()
    states[:, TIME_REMAINING] = np.clip(tape.left_us / REMAINING_SCALE_US, -1, 2)
    values = np.zeros((len(states), 3))
    values[:, BUY], values[:, SELL] = sides[UP].value_usd, sides[DOWN].value_usd
    use = sides[UP].filled | sides[DOWN].filled
    for side, entered in _roll(sides, behaviour, rng):
        _write_position(states, values, use, (sides[side], side, entered), behaviour.clone_usd)
    use &= _eventful(states, values) | (rng.random(len(use)) < behaviour.quiet_share)
    return Episode(tape.market, states, values.astype(np.float32), use)


def entries_of(tape: Tape, rule: ExitRule, rules: TradingRules, side: Side) -> Entries:
    """Every entry of one side at once, as [entry, tick] matrices.

    A close waits for a bid that takes all its shares, where a session would sell in parts.
    """
    ask, bid, ask_depth, bid_depth = _book(tape, side)
    fills_at = fill_ticks(tape.tick_us, rules.latency_us)
    meets = np.minimum(fills_at, len(ask) - 1)
    is_open = (fills_at < len(ask)) & (tape.left_us[meets] > rules.closed_last_us)
    price = ask[meets]
    shares = np.floor(np.minimum(_ratio(rules.stake_micro / MICRO, price), ask_depth[meets]) * 100) / 100
    filled = is_open & (shares >= rules.min_open_shares_micro / MICRO)
    filled &= shares * price >= rules.min_notional_micro / MICRO
    paid = shares * (price + _fee(price, rules.fees))
    net_bid = bid - _fee(bid, rules.fees)
    mark = np.outer(shares, _carried(net_bid, bid > 0)) - paid[:, None]
    wants_out = (mark >= rule.take_profit_usd) | (mark <= -rule.stop_loss_usd)
    wants_out |= tape.left_us <= rule.flatten_left_us
    can_sell = (is_open & (bid[meets] > 0)) & (bid_depth[meets] >= shares[:, None])
    sells = wants_out & can_sell & (np.arange(len(ask)) >= fills_at[:, None])
    first = sells.argmax(axis=1)
    sold = sells[np.arange(len(first)), first]
    payout = np.where(sold, net_bid[meets[first]], float(side == tape.outcome))
    return Entries(
        filled=filled,
        value_usd=np.where(filled, shares * payout - paid, 0.0),
        filled_tick=fills_at,
        closed_tick=np.where(sold, fills_at[first], len(ask)),
        mark_usd=mark,
        wants_out=wants_out,
    )


def _eventful(states: NDArray[np.float32], values: Floats) -> Bools:
    moved = np.abs(np.diff(states, axis=0, prepend=states[:1]))
    exits = (states[:, HAS_POSITION] > 0) & (values[:, HOLD] < 0)
    return np.asarray((moved[:, EXOGENOUS] > EVENTFUL).any(axis=1) | exits)


def _roll(
    sides: dict[Side, Entries], behaviour: Behaviour, rng: np.random.Generator
) -> list[tuple[Side, int]]:
    """Entries (side, decision tick) of one pass through the market, never two positions at once."""
    ticks = len(sides[UP].filled)
    draws, coins = rng.random(ticks), rng.random(ticks)
    entered: list[tuple[Side, int]] = []
    tick = 0
    while tick < ticks:
        side: Side = UP if coins[tick] < 0.5 else DOWN
        entry = sides[side]
        share = behaviour.random_share + (entry.value_usd[tick] > 0) * behaviour.paying_share
        if draws[tick] < share and entry.filled[tick]:
            entered.append((side, tick))
            tick = int(entry.closed_tick[tick])
        else:
            tick += 1
    return entered


def _write_position(
    states: NDArray[np.float32],
    values: Floats,
    use: Bools,
    trade: tuple[Entries, Side, int],
    clone_usd: float,
) -> None:
    """Overwrites the ticks that one rolled position covers; a pending order's ticks teach nothing."""
    entry, side, decided = trade
    start, stop = int(entry.filled_tick[decided]), int(entry.closed_tick[decided])
    held = slice(start, stop)
    states[held, HAS_POSITION] = 1.0
    states[held, POSITION_SIDE] = side
    states[held, POSITION_PNL] = np.clip(entry.mark_usd[decided, held] * MICRO / PNL_SCALE_MICRO, -1, 1)
    closing = SELL if side == UP else BUY
    values[held] = -clone_usd
    values[np.arange(start, stop), np.where(entry.wants_out[decided, held], closing, HOLD)] = 0.0
    use[decided + 1 : start] = False
    use[held] = entry.filled_tick[held] < len(use)


def _book(tape: Tape, side: Side) -> tuple[Floats, Floats, Floats, Floats]:
    """ask, bid in USD and their depths in shares of the side's own book."""
    bid = 0 if side == UP else 2
    return (
        tape.prices[:, bid + 1] / MICRO,
        tape.prices[:, bid] / MICRO,
        tape.depths[:, bid + 1] / MICRO,
        tape.depths[:, bid] / MICRO,
    )


def _fee(price_usd: Floats, fees: FeeSchedule) -> Floats:
    """USD per share, not floored: within 0.00001 USD per order of `arms.fills`."""
    return np.asarray(fees.rate_ppm / MICRO * (price_usd * (1 - price_usd)) ** fees.exponent)


def _ratio(stake_usd: float, price_usd: Floats) -> Floats:
    return np.divide(stake_usd, price_usd, out=np.zeros_like(price_usd), where=price_usd > 0)


def _carried(values: Floats, known: Bools) -> Floats:
    """Unknown values replaced by the last known one; 0 before the first."""
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], 0.0)
