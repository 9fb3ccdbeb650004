"""Laws of generalised advantage estimation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.advantages import Horizon, Trail, advantages_of
from arms.errors import EpisodeError

SHARES = st.floats(0, 1)


@st.composite
def trails(draw):
    """A random rollout of up to 30 ticks in up to 5 places, markets ending here and there."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    done = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5]))
    return Trail(rng.normal(size=shape), rng.normal(size=shape), done, rng.normal(size=shape[1]))


def markets_of(trail):
    """(place, first tick, stop, ended) of every market in a rollout."""
    ticks, places = trail.rewards.shape
    for place in range(places):
        first = 0
        for tick in range(ticks):
            if trail.done[tick, place] or tick == ticks - 1:
                yield place, first, tick + 1, bool(trail.done[tick, place])
                first = tick + 1


def discounted(rewards, gamma, last):
    """Sum of gamma^k * reward_k, and the value of the state after them."""
    return sum(gamma**k * reward for k, reward in enumerate(rewards)) + gamma ** len(rewards) * last


@given(trails(), SHARES)
def test_a_trace_of_1_is_the_discounted_return_less_the_value(trail, gamma):
    """The last value counts where the rollout was cut, and nothing where the market ended."""
    found = advantages_of(trail, gamma, 1.0)
    for place, first, stop, ended in markets_of(trail):
        last = 0.0 if ended else trail.last_values[place]
        for tick in range(first, stop):
            returned = discounted(trail.rewards[tick:stop, place], gamma, last)
            assert found[tick, place] == pytest.approx(returned - trail.values[tick, place], abs=1e-9)


@given(trails(), SHARES)
def test_a_trace_of_0_is_the_temporal_difference(trail, gamma):
    found = advantages_of(trail, gamma, 0.0)
    for place, first, stop, ended in markets_of(trail):
        values = [*trail.values[first:stop, place], 0.0 if ended else trail.last_values[place]]
        if stop < len(trail.rewards):
            assert ended
        for k, tick in enumerate(range(first, stop)):
            error = trail.rewards[tick, place] + gamma * values[k + 1] - values[k]
            assert found[tick, place] == pytest.approx(error, abs=1e-12)


@given(trails(), SHARES, SHARES, st.randoms(use_true_random=False))
def test_other_places_other_order_same_answers(trail, gamma, trace, random):
    order = list(range(trail.rewards.shape[1]))
    random.shuffle(order)
    moved = Trail(
        trail.rewards[:, order], trail.values[:, order], trail.done[:, order], trail.last_values[order]
    )
    np.testing.assert_array_equal(
        advantages_of(moved, gamma, trace), advantages_of(trail, gamma, trace)[:, order]
    )


@given(trails(), SHARES, SHARES, st.data())
def test_what_one_market_pays_never_reaches_another(trail, gamma, trace, data):
    """Neither one in another place nor the next or the last one in the same."""
    place, first, stop, _ = data.draw(st.sampled_from(list(markets_of(trail))))
    rewards, values, last = trail.rewards.copy(), trail.values.copy(), trail.last_values.copy()
    rewards[first:stop, place] += 100.0
    values[first:stop, place] -= 50.0
    if stop == len(rewards):
        last[place] += 25.0
    before = advantages_of(trail, gamma, trace)
    after = advantages_of(Trail(rewards, values, trail.done, last), gamma, trace)
    others = np.ones(before.shape, dtype=bool)
    others[first:stop, place] = False
    np.testing.assert_array_equal(after[others], before[others])
    assert (after[first:stop, place] != before[first:stop, place]).all()


@given(trails(), SHARES, SHARES)
def test_a_market_that_earned_and_promised_nothing_has_no_advantage(trail, gamma, trace):
    nothing = np.zeros_like(trail.rewards)
    silent = Trail(nothing, nothing, trail.done, np.zeros_like(trail.last_values))
    assert not advantages_of(silent, gamma, trace).any()


def test_a_reward_one_horizon_away_weighs_1_over_e():
    horizon = Horizon(tick_s=0.5, horizon_s=300)
    assert horizon.gamma == pytest.approx(math.exp(-0.5 / 300))
    rewards = np.zeros((601, 1))
    rewards[600] = 1.0
    trail = Trail(rewards, np.zeros_like(rewards), rewards > 0, np.zeros(1))
    assert advantages_of(trail, horizon.gamma, 1.0)[0, 0] == pytest.approx(1 / math.e)


def test_the_horizon_is_minutes():
    assert Horizon().horizon_s >= 60


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"tick_s": 0}, "tick_s"),
        ({"horizon_s": math.inf}, "horizon_s"),
        ({"horizon_s": math.nan}, "horizon_s"),
        ({"trace": 1.01}, "trace"),
    ],
)
def test_horizons_out_of_range_are_refused(wrong, named):
    with pytest.raises(EpisodeError, match=named):
        Horizon(**wrong)


def test_columns_that_do_not_fit_are_refused():
    ticks = np.zeros((3, 2))
    with pytest.raises(EpisodeError, match="last_values"):
        Trail(ticks, ticks, ticks > 0, np.zeros(3))
    with pytest.raises(EpisodeError, match="done"):
        Trail(ticks, ticks, ticks[:2] > 0, np.zeros(2))
