from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.fills import (
    BUY,
    CRYPTO_2026_01,
    CRYPTO_2026_05,
    CRYPTO_2026_07,
    DOWN,
    FEES,
    FLAT,
    HOLD,
    MICRO,
    NO_FEE,
    NO_POSITION,
    SELL,
    UP,
    Filled,
    Order,
    Position,
    Quotes,
    TradingRules,
    fill,
    liquidation_micro,
    order_of,
    price_micro,
    settle,
    taker_fee_micro,
)

PLENTY = 10_000 * MICRO
EARLY_US = 600 * MICRO
FREE = TradingRules(NO_FEE)
PAID = TradingRules(CRYPTO_2026_07)


def book(up_bid=0.49, up_ask=0.50, down_bid=0.48, down_ask=0.52, depth=PLENTY, **depths):
    prices = [price_micro(p) for p in (up_bid, up_ask, down_bid, down_ask)]
    sizes = [depths.get(f"{n}_depth", depth) for n in ("up_bid", "up_ask", "down_bid", "down_ask")]
    return Quotes(*prices, *sizes)


def opened(side, quotes=None, rules=FREE):
    met = fill(Order("open", side), NO_POSITION, quotes or book(), EARLY_US, rules)
    assert isinstance(met, Filled)
    return met.position


@pytest.mark.parametrize(
    ("action", "side", "order"),
    [
        (HOLD, FLAT, None),
        (HOLD, UP, None),
        (BUY, FLAT, Order("open", UP)),
        (BUY, UP, None),
        (BUY, DOWN, Order("close", DOWN)),
        (SELL, FLAT, Order("open", DOWN)),
        (SELL, DOWN, None),
        (SELL, UP, Order("close", UP)),
    ],
)
def test_buy_opens_up_or_closes_down_and_sell_the_reverse(action, side, order):
    assert order_of(action, Position(side, MICRO, 1, 0)) == order


def test_up_is_bought_at_its_ask_and_down_at_its_own_ask():
    up, down = opened(UP), opened(DOWN)
    assert (up.shares_micro, up.cost_micro) == (200 * MICRO, 100 * MICRO)
    # 100 / 0.52 = 192.307.. shares, cut to 0.01 share; not bought at 1 - UP bid = 0.51.
    assert (down.shares_micro, down.cost_micro) == (192_300_000, 99_996_000)


@pytest.mark.parametrize(("side", "price"), [(UP, 490_000), (DOWN, 480_000)])
def test_a_close_sells_at_the_held_tokens_bid(side, price):
    met = fill(Order("close", side), opened(side), book(), EARLY_US, FREE)
    assert isinstance(met, Filled) and met.price_micro == price and met.position == NO_POSITION


def test_an_opening_takes_what_the_ask_holds():
    met = fill(Order("open", UP), NO_POSITION, book(up_ask_depth=7_339_999), EARLY_US, FREE)
    assert isinstance(met, Filled) and met.shares_micro == 7_330_000


def test_less_than_five_shares_are_not_opened():
    quotes = book(up_ask_depth=4_990_000)
    assert fill(Order("open", UP), NO_POSITION, quotes, EARLY_US, FREE) == "below_minimum"


def test_less_than_a_dollar_is_not_opened():
    quotes = book(up_bid=0.01, up_ask=0.1, up_ask_depth=9 * MICRO)
    assert fill(Order("open", UP), NO_POSITION, quotes, EARLY_US, FREE) == "below_minimum"


def test_a_close_beyond_the_depth_keeps_the_rest_and_loses_nothing():
    position = opened(UP, rules=PAID)
    thin = book(up_bid_depth=33_330_000)
    first = fill(Order("close", UP), position, thin, EARLY_US, PAID)
    assert isinstance(first, Filled) and first.position.shares_micro == 200 * MICRO - 33_330_000
    rest = fill(Order("close", UP), first.position, book(), EARLY_US, PAID)
    assert isinstance(rest, Filled) and rest.position == NO_POSITION
    proceeds = 200 * 490_000
    fees = position.fee_micro + first.fee_micro + rest.fee_micro
    assert first.pnl_micro + rest.pnl_micro == proceeds - position.cost_micro - fees


def test_nothing_fills_in_the_last_twenty_seconds():
    order = Order("open", UP)
    assert fill(order, NO_POSITION, book(), 20 * MICRO, FREE) == "book_closed"
    assert isinstance(fill(order, NO_POSITION, book(), 20 * MICRO + 1, FREE), Filled)
    assert fill(Order("close", UP), opened(UP), book(), 1, FREE) == "book_closed"


@pytest.mark.parametrize("nobody", [0.0, float("nan"), 1.0, -0.2])
def test_a_missing_quote_is_not_a_price(nobody):
    assert fill(Order("open", UP), NO_POSITION, book(up_ask=nobody), EARLY_US, FREE) == "no_quote"
    assert fill(Order("close", UP), opened(UP), book(up_bid=nobody), EARLY_US, FREE) == "no_quote"
    assert liquidation_micro(opened(UP), book(up_bid=nobody), NO_FEE) is None


def test_an_empty_book_does_not_fill():
    assert fill(Order("open", DOWN), NO_POSITION, book(down_ask_depth=0), EARLY_US, FREE) == "no_depth"
    assert fill(Order("close", UP), opened(UP), book(up_bid_depth=9_999), EARLY_US, FREE) == "no_depth"


@pytest.mark.parametrize(
    ("fees", "fee_usd"),
    [(NO_FEE, 0.0), (CRYPTO_2026_01, 1.5625), (CRYPTO_2026_05, 1.8), (CRYPTO_2026_07, 1.75)],
)
def test_the_fee_of_a_hundred_shares_at_one_half(fees, fee_usd):
    assert taker_fee_micro(100 * MICRO, 500_000, fees) == round(fee_usd * MICRO)
    assert FEES[fees.name] is fees


@given(st.integers(1, 10**10), st.integers(1, MICRO - 1), st.sampled_from(list(FEES.values())))
def test_fees_are_floored_to_five_decimals(shares, price, fees):
    chance = Fraction(price, MICRO)
    exact = shares * Fraction(fees.rate_ppm, MICRO) * (chance * (1 - chance)) ** fees.exponent
    fee = taker_fee_micro(shares, price, fees)
    assert fee % 10 == 0 and 0 <= exact - fee < 10


@pytest.mark.parametrize(
    ("side", "outcome", "won"), [(UP, UP, 1), (UP, DOWN, 0), (DOWN, DOWN, 1), (DOWN, UP, 0)]
)
def test_settlement_pays_one_or_nothing_and_takes_no_fee(side, outcome, won):
    position = opened(side, rules=PAID)
    met = settle(position, outcome)
    assert met.fee_micro == 0 and met.position == NO_POSITION
    assert met.pnl_micro == won * position.shares_micro - position.cost_micro - position.fee_micro


prices = st.integers(1, 998).map(lambda mill: mill / 1000)


@given(prices, prices, st.sampled_from([UP, DOWN]), st.sampled_from(list(FEES.values())))
def test_a_round_trip_in_one_book_always_costs_spread_and_both_fees(one, other, side, fees):
    bid, ask = min(one, other), max(one, other) + 0.001
    quotes, rules = book(bid, ask, bid, ask, depth=10**12), TradingRules(fees)
    position = opened(side, quotes, rules)
    mark = liquidation_micro(position, quotes, fees)
    met = fill(Order("close", side), position, quotes, EARLY_US, rules)
    assert isinstance(met, Filled) and met.pnl_micro == mark
    spread = position.shares_micro * (price_micro(ask) - price_micro(bid)) // MICRO
    assert met.pnl_micro == -spread - position.fee_micro - met.fee_micro < 0


@given(st.lists(st.integers(1, 100), min_size=1, max_size=6), prices)
def test_partial_closes_book_the_cost_exactly_once(cuts, bid):
    position = opened(UP, rules=PAID)
    total, fees, left = 0, position.fee_micro, position
    for cut in [*cuts, 10**6]:
        if left.side == FLAT:
            break
        met = fill(Order("close", UP), left, book(up_bid=bid, up_bid_depth=cut * MICRO), EARLY_US, PAID)
        assert isinstance(met, Filled)
        total, fees, left = total + met.pnl_micro, fees + met.fee_micro, met.position
    assert left == NO_POSITION
    assert total == 200 * price_micro(bid) - position.cost_micro - fees
