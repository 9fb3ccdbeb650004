"""What may be looked at any time, without simulation: expectations and chances summed over every outcome."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats import boundary, srm
from stats.always_valid import always_valid, rho_tuned
from stats.betting import STAKES, bet, log_wealth, payoffs
from stats.errors import DesignError, UnitsError
from stats.mean_sequence import (
    asymptotic_bounds,
    betting_bounds,
    conjugate_bernstein_bounds,
    empirical_bernstein_bounds,
    hoeffding_bounds,
    running_betting_bounds,
)
from stats.scores import Scores
from stats.share_sequence import log_e, share_bounds, tuned_share_bounds
from stats.subexponential import gamma_exponential_log_e, gamma_exponential_radius, stitched_radius

COINS = list(itertools.product((0, 1), repeat=10))


def scores_of(day, treated, e, trials, sums):
    return Scores(
        day=np.asarray(day, dtype=np.int64),
        treated=np.asarray(treated, dtype=bool),
        traded=np.asarray(trials) > 0,
        e=np.asarray(e, dtype=float),
        trials=np.asarray(trials, dtype=float),
        sums=np.asarray(sums, dtype=float),
        reference=0.0,
        unlogged=0,
    )


@given(
    st.lists(st.floats(0.01, 0.99), min_size=10, max_size=10),
    st.lists(st.integers(0, 5), min_size=10, max_size=10),
    st.lists(st.floats(0.0, 1.0), min_size=10, max_size=10),
    st.floats(0.0, 1.0),
)
def test_wealth_has_mean_one_when_the_coin_changes_nothing(e, trials, rates, prior):
    """All 1,024 ways the coins can fall, weighed by their chances: whatever outcomes, ramp and sizes are."""
    day, sums = np.arange(10) // 3, np.array(trials) * np.array(rates)
    total = 0.0
    for coins in COINS:
        chance = math.prod(share if coin else 1.0 - share for coin, share in zip(coins, e, strict=True))
        wealth = log_wealth(payoffs(scores_of(day, coins, e, trials, sums), prior))
        total += chance * math.exp(wealth[-1])
    assert total == pytest.approx(1.0, abs=1e-9)


def test_wealth_never_dies_and_grows_with_a_real_effect():
    worst = log_wealth(np.full(200, -1.0))
    assert np.all(np.isfinite(worst))
    treated = np.arange(400) % 2 == 0
    found = bet(scores_of(np.arange(400) // 40, treated, np.full(400, 0.5), np.ones(400), treated), 0.5)
    assert found.p < 1e-10
    assert found.e_value > 1e10
    assert found.units == 400


def test_a_bet_needs_bounded_outcomes_and_a_coin_with_two_sides():
    one_sided = bet(scores_of([0, 0], [1, 0], [1.0, 0.0], [1, 1], [1, 0]), 0.5)
    assert (one_sided.e_value, one_sided.p, one_sided.units) == (1.0, 1.0, 0)
    nothing = bet(scores_of([], [], [], [], []), 0.5)
    assert (nothing.e_value, nothing.p, nothing.units) == (1.0, 1.0, 0)
    with pytest.raises(UnitsError, match="outside"):
        bet(scores_of([0], [1], [0.5], [1], [2.0]), 0.5)
    with pytest.raises(UnitsError, match="could become negative"):
        log_wealth(np.array([1.5]))
    assert max(STAKES) < 1.0


@given(
    st.integers(1, 12),
    st.lists(st.integers(1, 100), min_size=3, max_size=3),
    st.sampled_from([1.0, 10.0, 100.0]),
)
def test_the_srm_e_value_has_mean_one_under_the_planned_split(units, weights, strength):
    total = 0.0
    shares = [weight / sum(weights) for weight in weights]
    for first in range(units + 1):
        for second in range(units - first + 1):
            counts = (first, second, units - first - second)
            ways = math.factorial(units) / math.prod(math.factorial(count) for count in counts)
            chance = ways * math.prod(share**count for share, count in zip(shares, counts, strict=True))
            total += chance * math.exp(srm.log_e(counts, weights, strength))
    assert total == pytest.approx(1.0, rel=1e-9)


def ever_outside(bounds, share, flips):
    """Chance that the bounds ever leave the true share out, by the count of wins after each flip."""
    alive, lost = {0: 1.0}, 0.0
    for flip in range(1, flips + 1):
        moved = {}
        for wins, chance in alive.items():
            for win, odds in ((1, share), (0, 1.0 - share)):
                moved[wins + win] = moved.get(wins + win, 0.0) + chance * odds
        alive = {}
        for wins, chance in moved.items():
            found = bounds(wins, flip - wins)
            if found.low <= share <= found.high:
                alive[wins] = chance
            else:
                lost += chance
    return lost


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_a_share_is_ever_left_out_at_most_as_often_as_stated(share, alpha):
    for bounds in (
        lambda won, lost: share_bounds(won, lost, alpha),
        lambda won, lost: tuned_share_bounds(won, lost, alpha, 50.0),
        lambda won, lost: share_bounds(won, lost, alpha, 100 * share, 100 * (1 - share)),
    ):
        missed = ever_outside(bounds, share, 120)
        assert missed <= alpha
    assert missed > 0.0


@pytest.mark.parametrize("alpha", [0.05, 0.3])
@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("bounds", [running_betting_bounds, empirical_bernstein_bounds, betting_bounds])
def test_a_mean_is_left_out_at_most_as_often_as_stated(bounds, share, alpha):
    """Over all 1,024 sequences of ten coin flips."""
    missed = 0.0
    for coins in COINS:
        found = bounds(np.array(coins, dtype=float), alpha)
        if not found.low <= share <= found.high:
            missed += share ** sum(coins) * (1.0 - share) ** (10 - sum(coins))
    assert missed <= alpha


@given(st.lists(st.floats(0.0, 1.0), max_size=60), st.sampled_from([0.01, 0.05, 0.2]))
def test_bounds_of_a_mean_lie_in_order_and_turn_with_the_outcomes(outcomes, alpha):
    values = np.array(outcomes)
    for bounds in (
        betting_bounds,
        empirical_bernstein_bounds,
        lambda x, level: hoeffding_bounds(x, level, 50.0),
        lambda x, level: conjugate_bernstein_bounds(x, level, 10.0),
    ):
        found, mirrored = bounds(values, alpha), bounds(1.0 - values, alpha)
        assert 0.0 <= found.low <= found.high <= 1.0
        assert mirrored.low == pytest.approx(1.0 - found.high, abs=1e-7)
        assert len(values) or (found.low, found.high) == (0.0, 1.0)


def test_running_bounds_only_shrink():
    values = np.random.default_rng(1).random(80)
    found = [running_betting_bounds(values[:count], 0.05) for count in range(1, 81)]
    for before, after in itertools.pairwise(found):
        assert after.low >= before.low - 1e-12
        assert after.high <= before.high + 1e-12
    assert asymptotic_bounds(np.ones(5), 0.05, 10.0) is None


@given(st.floats(0.1, 1e6), st.sampled_from([0.001, 0.01, 0.05, 0.2]), st.floats(0.2, 5.0))
def test_tuned_rho_is_the_tightest_there(v_opt, alpha, factor):
    for tuned, radius in (
        (boundary.tuned_rho, boundary.radius),
        (boundary.tuned_rho_one_sided, boundary.radius_one_sided),
    ):
        best = tuned(v_opt, alpha)
        assert radius(v_opt, best, alpha) <= radius(v_opt, factor * best, alpha) * (1.0 + 1e-12)


@given(st.floats(0.0, 1e6), st.floats(0.1, 1e4), st.sampled_from([0.001, 0.05, 0.2]))
def test_boundaries_in_their_order(variance, rho, alpha):
    one_sided = boundary.radius_one_sided(variance, rho, alpha)
    assert one_sided < boundary.radius(variance, rho, alpha)
    closed = boundary.radius_one_sided_closed(variance, rho, alpha)
    assert one_sided <= closed * (1.0 + 1e-9)
    assert closed <= one_sided * (1.021 if alpha <= 0.05 else 1.13)
    assert boundary.log_e_one_sided(one_sided, variance, rho) == pytest.approx(-math.log(alpha), abs=1e-6)
    found = gamma_exponential_radius(variance, rho, alpha, 1.0)
    assert found >= one_sided * (1.0 - 1e-9)
    assert gamma_exponential_log_e(found, variance, rho, 1.0) == pytest.approx(-math.log(alpha), abs=1e-5)
    assert stitched_radius(variance, alpha, 1.0, 0.0) <= stitched_radius(variance, alpha, 1.0, 1.0)


def test_a_summary_is_judged_as_its_mixture_says():
    """Johari, Pekelis, Walsh 2022: sqrt(s2/(s2+t2)) exp(t2 d^2 / (2 s2 (s2+t2)))."""
    gap, s2, t2 = 0.02, 1e-4, 1e-3
    found = always_valid(gap, s2**0.5, 1.0 / t2)
    ratio = (s2 / (s2 + t2)) ** 0.5 * math.exp(t2 * gap**2 / (2.0 * s2 * (s2 + t2)))
    assert found.log_e == pytest.approx(math.log(ratio))
    assert found.low < found.lower < gap < found.upper < found.high
    assert always_valid(gap, 0.0, 1.0).status == "degenerate"
    tightest = rho_tuned(0.01, 1000, 1000.0)
    widths = [always_valid(gap, 0.01, rho).high for rho in (tightest / 2.0, tightest, tightest * 2.0)]
    assert min(widths) == widths[1]
    with pytest.raises(DesignError, match="rho is 0"):
        always_valid(gap, 0.1, 0.0)


def test_rules():
    with pytest.raises(DesignError, match="share is"):
        log_e(1, 1, 1.0)
    with pytest.raises(UnitsError, match="counts are 0 or more"):
        share_bounds(-1, 2)
    with pytest.raises(UnitsError, match="outside"):
        betting_bounds(np.array([1.2]))
