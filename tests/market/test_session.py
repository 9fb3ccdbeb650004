from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arms.fills import BUY, HOLD, MICRO, NO_FEE, SELL, TradingRules
from arms.schema import MARKET_V1
from market.errors import SessionError, TapeError
from market.evaluation import play
from market.session import Session, fill_ticks
from market.tape import HAS_POSITION, POSITION_PNL, POSITION_SIDE, TIME_REMAINING, Tape
from market.worlds import DECOY_FAST, tape_of


def flat_tape(mids, tick_us=500_000, fees=NO_FEE, up_won=True, ends_in_us=60 * MICRO):
    """One-cent spread around `mids`; DOWN mirrors UP."""
    mid = np.rint(np.asarray(mids) * MICRO).astype(np.int64)
    ticks = np.arange(len(mid), dtype=np.int64) * tick_us
    return Tape(
        market="m",
        tick_us=ticks,
        end_us=int(ticks[-1]) + ends_in_us,
        prices=np.stack((mid - 5_000, mid + 5_000, MICRO - mid - 5_000, MICRO - mid + 5_000), axis=1),
        depths=np.full((len(mid), 4), 10_000 * MICRO),
        features=np.zeros((len(mid), MARKET_V1.width), dtype=np.float32),
        mask=np.ones(MARKET_V1.width, dtype=bool),
        up_won=up_won,
        fees=fees,
    )


def played(tape, actions, rules=None):
    session = Session(tape, rules)
    for action in actions:
        session.step(action)
    while not session.done:
        session.step(HOLD)
    return session.result()


def test_an_order_meets_the_next_tick_not_its_own():
    tape = flat_tape([0.40, 0.50, 0.60, 0.60])
    trade = played(tape, [BUY]).trades[0]
    assert (trade.decided_tick, trade.entry_price_micro) == (0, 505_000)


def test_an_oracle_that_sees_the_tick_cannot_trade_at_its_price():
    """Prices are independent from tick to tick; whoever got the price it sees would earn 0.19 USD a share."""
    rng = np.random.default_rng(1)
    trades = []
    for _ in range(500):
        mids = rng.choice([0.40, 0.60], 12)
        tape = flat_tape(mids)
        tape.depths[:] = 100 * MICRO
        session = Session(tape)
        while not session.done:
            cheap, side = mids[session.tick] < 0.5, session.position.side
            session.step(BUY if cheap and side == 0 else SELL if not cheap and side == 1 else HOLD)
        trades += [trade for trade in session.trades if not trade.settled]
    gain_usd = np.array([trade.pnl_micro for trade in trades]) / MICRO
    assert len(trades) > 1_000 and all(trade.shares_micro == 100 * MICRO for trade in trades)
    # What is left of 19 USD a trade is the spread of 1 USD, give or take luck.
    assert gain_usd.mean() < -1 + 4 * gain_usd.std() / len(gain_usd) ** 0.5
    assert gain_usd.mean() < 0.5


@pytest.mark.parametrize(
    ("latency_us", "first"), [(0, 1), (150_000, 1), (499_999, 1), (500_000, 2), (1_200_000, 3)]
)
def test_the_fill_is_at_the_first_tick_strictly_after_the_latency(latency_us, first):
    mids = [0.30 + 0.01 * t for t in range(8)]
    rules = TradingRules(NO_FEE, latency_us=latency_us)
    trade = played(flat_tape(mids), [BUY], rules).trades[0]
    assert trade.entry_price_micro == round(mids[first] * MICRO) + 5_000


@given(st.lists(st.integers(0, 3_000_000), min_size=2, max_size=30), st.integers(0, 2_000_000))
def test_fill_ticks_lie_strictly_after_t_plus_latency(gaps, latency_us):
    tick_us = np.cumsum(gaps)
    for t, filled in enumerate(fill_ticks(tick_us, latency_us)):
        later = np.flatnonzero(tick_us > tick_us[t] + latency_us)
        assert filled == (later[0] if len(later) else len(tick_us)) and filled > t


def test_actions_while_an_order_is_on_its_way_are_ignored():
    rules = TradingRules(NO_FEE, latency_us=1_200_000)
    result = played(flat_tape([0.5] * 10), [BUY, SELL, SELL, HOLD, BUY], rules)
    assert [trade.side for trade in result.trades] == [1]


def test_a_close_leaves_the_agent_flat_for_a_tick():
    session = Session(flat_tape([0.5] * 6))
    sides = []
    for action in (BUY, SELL, SELL, HOLD, HOLD):
        session.step(action)
        sides.append(session.position.side)
    assert sides == [1, 0, -1, -1, -1]


@pytest.mark.parametrize(
    ("action", "up_won", "won"), [(BUY, True, 1), (BUY, False, 0), (SELL, False, 1), (SELL, True, 0)]
)
def test_what_is_held_at_the_end_settles_at_one_or_nothing(action, up_won, won):
    result = played(flat_tape([0.5] * 4, up_won=up_won), [action])
    trade = result.trades[0]
    assert trade.settled and trade.exit_price_micro == won * MICRO
    assert result.pnl_micro == won * trade.shares_micro - trade.stake_micro
    assert trade.closed_us == 1_500_000 + 60 * MICRO


def test_an_order_that_meets_no_quote_is_dropped_and_counted():
    tape = flat_tape([0.5] * 5)
    tape.prices[1] = 0
    result = played(tape, [BUY, HOLD, BUY])
    assert result.unfilled == (("no_quote", 1),)
    assert result.trades[0].decided_tick == 2


def test_a_tie_is_up_and_the_last_twenty_seconds_are_closed():
    tape = flat_tape([0.5] * 50, ends_in_us=500_000)
    result = played(tape, [HOLD] * 8 + [BUY] + [HOLD] * 2 + [BUY] * 3)
    # 50 ticks end 25 s in; tick 9 has 20.5 s left and fills, tick 10 has 20.0 s.
    assert [trade.decided_tick for trade in result.trades] == [8]
    assert played(tape, [HOLD] * 9 + [BUY]).unfilled == (("book_closed", 1),)


def test_the_state_describes_the_own_position():
    session = Session(flat_tape([0.50, 0.50, 0.60, 0.60]))
    assert session.state()[TIME_REMAINING] == pytest.approx(61.5 / 900)
    session.step(BUY)
    assert session.state()[[HAS_POSITION, POSITION_SIDE]].tolist() == [1, 1]
    # 198.01 shares bought at 0.505, bid 0.495: 1.98 USD under water, of 50 USD.
    assert session.state()[POSITION_PNL] == pytest.approx(-198.01 * 0.01 / 50, abs=1e-6)
    session.step(HOLD)
    assert session.state()[POSITION_PNL] == pytest.approx(198.01 * 0.09 / 50, abs=1e-6)
    session.step(SELL)
    assert not session.state()[[HAS_POSITION, POSITION_SIDE, POSITION_PNL]].any()


def test_history_grows_to_its_window_and_the_tape_stays_untouched():
    tape = tape_of(DECOY_FAST, 1)
    before = tape.features.copy()
    session = Session(tape)
    lengths = []
    for _ in range(5):
        lengths.append(len(session.history(3)))
        session.step(BUY)
    assert lengths == [1, 2, 3, 3, 3]
    assert (tape.features == before).all()


def test_steps_after_the_end_and_unknown_actions_are_refused():
    session = Session(flat_tape([0.5, 0.5]))
    with pytest.raises(SessionError, match="need 0, 1 or 2"):
        session.step(3)
    with pytest.raises(SessionError, match="2 ticks left"):
        session.result()
    session.step(HOLD)
    session.step(HOLD)
    for late in (lambda: session.step(HOLD), session.state, lambda: session.history(3)):
        with pytest.raises(SessionError):
            late()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.02, 0.5))
def test_the_market_result_is_the_sum_of_its_trades_and_of_what_was_booked(seed, share):
    rng = np.random.default_rng(seed)
    tape = tape_of(DECOY_FAST, seed)
    tape.depths[:] = rng.integers(0, 200, tape.depths.shape) * MICRO
    tape.prices[rng.random(tape.prices.shape) < 0.1] = 0
    session, booked = Session(tape), []
    while not session.done:
        session.step(int(rng.choice([BUY, SELL])) if rng.random() < share else HOLD)
        booked.append(session.booked_micro)
    result = session.result()
    assert booked[-1] == result.pnl_micro == sum(trade.pnl_micro for trade in result.trades)
    for trade in result.trades:
        gross = trade.shares_micro * (trade.exit_price_micro - trade.entry_price_micro) / MICRO
        # The mean exit price of partial closes is floored: less than a micro-USD per share.
        assert abs(gross - trade.fee_micro - trade.pnl_micro) <= trade.shares_micro / MICRO + 1


def test_the_future_does_not_reach_into_the_past():
    """Changing everything after tick t changes no state up to t, whatever was traded."""
    tape = tape_of(DECOY_FAST, 5)
    bent = replace(tape, prices=tape.prices.copy(), features=tape.features.copy(), up_won=not tape.up_won)
    bent.prices[60:] = np.clip(bent.prices[60:] + 77_000, 1, MICRO - 1)
    bent.features[60:, 0] = 0.123
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 3, 60)
    one, other = Session(tape), Session(bent)
    for action in actions[:59]:
        assert (one.state() == other.state()).all()
        one.step(int(action))
        other.step(int(action))
    assert (one.history(60) == other.history(60)).all()


def test_batched_play_equals_single_play():
    tapes = [tape_of(DECOY_FAST, seed) for seed in range(20)]
    tapes[3] = replace(
        tapes[3],
        **{name: getattr(tapes[3], name)[:40] for name in ("tick_us", "prices", "depths", "features")},
    )

    def rule(histories, lengths):
        return (np.abs(histories[:, -1, 0] * 10).astype(np.int64) + lengths) % 3

    batched = play(rule, tapes, window=4)
    for tape, result in zip(tapes, batched, strict=True):
        (alone,) = play(rule, [tape], window=4)
        assert alone == result


def test_broken_tapes_are_refused_by_name():
    tape = flat_tape([0.5] * 3)
    with pytest.raises(TapeError, match="must not fall"):
        replace(tape, tick_us=tape.tick_us[::-1])
    with pytest.raises(TapeError, match="columns a session fills"):
        replace(tape, features=np.ones_like(tape.features))
    with pytest.raises(TapeError, match="need"):
        replace(tape, depths=tape.depths[:2])
    with pytest.raises(TapeError, match=r"\[0, 1\)"):
        replace(tape, prices=tape.prices + MICRO)
