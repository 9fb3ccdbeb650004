"""Many tapes in step: what is seen, what is paid, who comes next."""

from dataclasses import replace

import numpy as np
import pytest

from arms.fills import BUY, CRYPTO_2026_07, HOLD, MICRO, NO_FEE, SELL, TradingRules
from arms.schema import MARKET_V1
from market.errors import SessionError, TapeError
from market.evaluation import play
from market.oracles import decoy_oracle, random_policy
from market.session import Session
from market.tape import Tape
from market.vector_env import VectorEnv
from market.worlds import DECOY_FAST, tape_of

COLUMNS = ("tick_us", "prices", "depths", "features")


def shortened(tape, ticks):
    return replace(tape, **{name: getattr(tape, name)[:ticks] for name in COLUMNS})


TAPES = [shortened(tape_of(DECOY_FAST, seed), 40 + 11 * seed) for seed in range(7)]


def book_tape(mids, spread=0.02, depth_shares=10_000, fees=CRYPTO_2026_07):
    """DOWN mirrors UP; 0.5 s ticks, 60 s left after the last."""
    mid = np.rint(np.asarray(mids) * MICRO).astype(np.int64)
    half, ticks = round(spread * MICRO / 2), np.arange(len(mid), dtype=np.int64) * 500_000
    return Tape(
        market="book",
        tick_us=ticks,
        end_us=int(ticks[-1]) + 60 * MICRO,
        prices=np.stack((mid - half, mid + half, MICRO - mid - half, MICRO - mid + half), axis=1),
        depths=np.full((len(mid), 4), depth_shares * MICRO),
        features=np.zeros((len(mid), MARKET_V1.width), dtype=np.float32),
        mask=np.ones(MARKET_V1.width, dtype=bool),
        up_won=True,
        fees=fees,
    )


def paid_usd(tape, actions, rules=None):
    """Rewards of one market, held to its end after the actions."""
    env = VectorEnv([tape], markets=1, window=3, seed=0, rules=rules)
    actions = [*actions, *[HOLD] * (len(tape.tick_us) - len(actions))]
    steps = [env.step(np.array([action])) for action in actions]
    assert [bool(done[0]) for _, done in steps] == [False] * (len(actions) - 1) + [True]
    return [float(rewards[0]) for rewards, _ in steps]


def taker_fee_usd(shares, price):
    return shares * 0.07 * price * (1 - price)


def test_every_window_is_what_the_session_itself_shows():
    """A state enters the history once, and never that of the next market."""
    env, rng = VectorEnv(TAPES, markets=3, window=4, seed=1), np.random.default_rng(0)
    mirrors = list(env._sessions)
    for _ in range(300):
        histories, lengths = env.observe()
        for place, session in enumerate(mirrors):
            shown = session.history(4)
            assert lengths[place] == len(shown)
            np.testing.assert_array_equal(histories[place, 4 - len(shown) :], shown)
            assert not histories[place, : 4 - len(shown)].any()
        _, done = env.step(rng.integers(0, 3, 3))
        mirrors = list(env._sessions)
        assert (env.observe()[1][done] == 1).all()


def test_what_was_observed_stays_as_it_was():
    env = VectorEnv(TAPES, markets=2, window=4, seed=1)
    histories, lengths = env.observe()
    kept = histories.copy(), lengths.copy()
    env.step(np.array([BUY, SELL]))
    np.testing.assert_array_equal(histories, kept[0])
    np.testing.assert_array_equal(lengths, kept[1])


@pytest.mark.parametrize("policy", [decoy_oracle(10), random_policy(3)], ids=["oracle", "random"])
def test_rewards_add_up_to_what_evaluation_says(policy):
    """Every market's rewards are its own net PnL, whoever plays beside it."""
    tapes = [tape_of(DECOY_FAST, seed) for seed in range(6)]
    env = VectorEnv(tapes, markets=1, window=10, seed=4)
    names, totals, actions = [], [], []
    for _ in tapes:
        names.append(env._sessions[0].tape.market)
        total, taken, over = 0.0, [], False
        while not over:
            action = policy(*env.observe())
            rewards, done = env.step(action)
            total, over = total + rewards[0], bool(done[0])
            taken.append(int(action[0]))
        totals.append(total)
        actions.append(taken)
    for name, total, taken in zip(names, totals, actions, strict=True):
        (tape,) = (tape for tape in tapes if tape.market == name)
        steps = iter(taken)
        (result,) = play(lambda h, n, steps=steps: np.array([next(steps)]), [tape], 10)
        assert total == pytest.approx(result.pnl_micro / MICRO, abs=1e-9)


def test_places_do_not_know_each_other():
    """The same actions in a market pay the same, alone and beside others."""
    rules, rng = TradingRules(CRYPTO_2026_07), np.random.default_rng(5)
    env = VectorEnv(TAPES, markets=4, window=3, seed=2, rules=rules)
    alone = [Session(session.tape, rules) for session in env._sessions]
    for _ in range(400):
        actions = rng.integers(0, 3, 4)
        before = [session.booked_micro for session in alone]
        for session, action in zip(alone, actions.tolist(), strict=True):
            session.step(action)
        rewards, done = env.step(actions)
        expected = [(s.booked_micro - b) / MICRO for s, b in zip(alone, before, strict=True)]
        assert rewards.tolist() == expected
        assert done.tolist() == [session.done for session in alone]
        alone = [Session(env._sessions[i].tape, rules) if s.done else s for i, s in enumerate(alone)]


def test_all_tapes_are_played_before_one_comes_again_in_an_order_of_the_seed():
    def order(seed):
        env = VectorEnv(TAPES, markets=1, window=2, seed=seed)
        names = [env._sessions[0].tape.market]
        while len(names) < 2 * len(TAPES):
            if env.step(np.array([HOLD]))[1][0]:
                names.append(env._sessions[0].tape.market)
        return names

    names = order(7)
    everyone = sorted(tape.market for tape in TAPES)
    assert sorted(names[: len(TAPES)]) == sorted(names[len(TAPES) :]) == everyone
    assert order(7) == names != order(8)


@pytest.mark.parametrize(("latency_us", "first"), [(150_000, 2), (499_999, 2), (500_000, 3), (700_000, 3)])
def test_fills_happen_at_the_book_as_it_is_after_the_latency(latency_us, first):
    """Not at the mid, not at the book that was seen, not at any of the ticks in between."""
    mids = [0.30, 0.35, 0.41, 0.48, 0.56, 0.60, 0.66]
    rules = TradingRules(CRYPTO_2026_07, latency_us=latency_us)
    wait = first - 1
    rewards = paid_usd(book_tape(mids), [HOLD, BUY, *[HOLD] * wait, SELL], rules)
    bought, sold = mids[first] + 0.01, mids[first + wait + 1] - 0.01
    shares = np.floor(100 / bought * 100) / 100
    expected = shares * (sold - bought) - taker_fee_usd(shares, bought) - taker_fee_usd(shares, sold)
    assert sum(rewards) == pytest.approx(expected, abs=1e-4)
    assert [tick for tick, usd in enumerate(rewards) if usd] == [1 + 2 * wait]


def test_spread_and_fee_are_in_the_reward():
    """A round trip at a price that stands still costs both."""
    shares = 196.07
    flat = [0.5] * 6
    assert sum(paid_usd(book_tape(flat, fees=NO_FEE), [BUY, SELL])) == pytest.approx(-shares * 0.02)
    fees = taker_fee_usd(shares, 0.51) + taker_fee_usd(shares, 0.49)
    costly = sum(paid_usd(book_tape(flat), [BUY, SELL]))
    assert costly == pytest.approx(-shares * 0.02 - fees, abs=1e-4)


def test_below_the_smallest_order_nothing_is_bought_or_earned():
    rising = [0.3, 0.3, 0.6, 0.6, 0.6]
    assert paid_usd(book_tape(rising, depth_shares=4), [BUY, HOLD, SELL]) == [0.0] * 5
    assert sum(paid_usd(book_tape(rising, depth_shares=5), [BUY, HOLD, SELL])) > 0


def test_a_tick_that_books_nothing_pays_exactly_nothing():
    rewards = paid_usd(book_tape([0.5] * 8), [HOLD, BUY, HOLD, HOLD, SELL])
    assert [tick for tick, usd in enumerate(rewards) if usd != 0.0] == [4]
    assert paid_usd(book_tape([0.5] * 8), []) == [0.0] * 8


def test_what_is_held_at_the_end_is_settled_in_the_last_reward():
    rewards = paid_usd(book_tape([0.5] * 4, fees=NO_FEE), [BUY])
    shares = np.floor(100 / 0.51 * 100) / 100
    assert rewards[:-1] == [0.0] * 3
    assert rewards[-1] == pytest.approx(shares * 0.49)


def test_the_digest_is_of_tapes_and_rules():
    def digest(tapes, rules=None):
        return VectorEnv(tapes, markets=1, window=2, seed=0, rules=rules).digest

    held = digest(TAPES)
    assert digest(TAPES) == held and len(held) == 32
    assert len({held, digest(TAPES[:-1]), digest(TAPES, TradingRules(NO_FEE))}) == 3


def test_it_goes_on_from_its_state_as_if_it_had_never_ended():
    """Stopped and gone on every 37 ticks: through ends of markets, orders on their way and open positions."""
    whole, rng = VectorEnv(TAPES, markets=3, window=4, seed=1), np.random.default_rng(0)
    halting, ends = VectorEnv(TAPES, markets=3, window=4, seed=1), 0
    for tick in range(400):
        if tick % 37 == 0:
            state = {name: array.copy() for name, array in halting.state().items()}
            halting = VectorEnv(TAPES, markets=3, window=4, seed=1)
            halting.restore(state)
        for seen, expected in zip(halting.observe(), whole.observe(), strict=True):
            np.testing.assert_array_equal(seen, expected)
        actions = rng.integers(0, 3, 3)
        (paid, done), (expected_paid, expected_done) = halting.step(actions), whole.step(actions)
        np.testing.assert_array_equal(paid, expected_paid)
        np.testing.assert_array_equal(done, expected_done)
        ends += int(done.sum())
    assert ends > 2 * len(TAPES), "tapes came again"


def test_a_state_of_other_places_or_tapes_is_refused():
    state = VectorEnv(TAPES, markets=3, window=4, seed=1).state()
    with pytest.raises(TapeError, match="3 markets of at least"):
        VectorEnv(TAPES, markets=2, window=4, seed=1).restore(state)
    with pytest.raises(TapeError, match="go on with the tapes and places that it had"):
        VectorEnv(TAPES[:1], markets=3, window=4, seed=1).restore(state)


def test_bad_settings_and_actions_are_refused():
    with pytest.raises(TapeError, match="no tapes"):
        VectorEnv([], markets=1, window=2, seed=0)
    with pytest.raises(TapeError, match="1 or more"):
        VectorEnv(TAPES, markets=0, window=2, seed=0)
    with pytest.raises(SessionError, match="need 0, 1 or 2"):
        VectorEnv(TAPES, markets=1, window=2, seed=0).step(np.array([3]))
