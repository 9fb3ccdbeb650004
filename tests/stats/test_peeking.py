"""False alarms under peeking: no effect, looks every 20 units, fixed seeds: ours holds 5%, naive does not.

One "day" is 20 units, so one pass of `looks` is one experiment watched at every look. The split climbs
10% -> 25% -> 50%, the market drifts, and a unit's trades are correlated.
"""

import math

import numpy as np
import pytest

from stats.centre import DECAY_PER_DAY, PRIOR_UNITS
from stats.scale import blinded_variance, rate_variance, rho_of
from stats.scores import Scores
from stats.sequence import looks
from stats.two_by_two import TwoByTwo
from stats.two_proportion import pooled_z

UNITS, EVERY, RUNS, ALPHA, PLAN = 800, 20, 500, 0.05, 2000
ALLOWED = ALPHA + 2.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / RUNS)
DAY = np.arange(UNITS) // EVERY
E = np.array([0.1, 0.25, 0.5])[np.minimum(np.arange(UNITS) * 3 // UNITS, 2)]


def coins(rng):
    return rng.random(UNITS) < E


def scores_of(treated, traded, sums, trials):
    return Scores(
        day=DAY, treated=treated, traded=traded, e=E, trials=trials, sums=sums, reference=0.0, unlogged=0
    )


def paths(scores, prior, rho):
    ready = [
        look for look in looks(scores, prior, PRIOR_UNITS, DECAY_PER_DAY) if look.has_both and look.ready
    ]
    return [(look.effect, look.half_width(rho, ALPHA)) for look in ready]


def drift(rng):
    """Random walk of the base rate, sd 8 points over the run."""
    return np.cumsum(rng.normal(0.0, 0.08 / math.sqrt(UNITS), UNITS))


def test_rates_hold_five_percent_where_the_naive_test_alarms():
    rng = np.random.default_rng(20260101)
    rho = rho_of(rate_variance(), PLAN, ALPHA)
    ours = naive = 0
    for _ in range(RUNS):
        treated = coins(rng)
        level = np.clip(0.5 + drift(rng) + rng.normal(0.0, 0.2, UNITS), 0.02, 0.98)
        trades = rng.integers(1, 12, UNITS)
        wins = rng.binomial(trades, level)
        won = (2 * wins > trades).astype(float)
        seen = paths(scores_of(treated, trades > 0, won, np.ones(UNITS)), 0.5, rho)
        ours += any(abs(effect) > half for effect, half in seen)
        naive += naive_alarm(treated, trades, wins)
    print(f"rates, {RUNS} runs, a look every {EVERY} units: ours {ours / RUNS:.3f}, naive {naive / RUNS:.3f}")
    assert ours / RUNS <= ALLOWED
    assert naive / RUNS > 0.15


def naive_alarm(treated, trades, wins):
    totals = [np.cumsum(np.where(treated == arm, values, 0)) for arm in (1, 0) for values in (wins, trades)]
    for at in range(EVERY - 1, UNITS, EVERY):
        test = pooled_z(TwoByTwo(*(int(total[at]) for total in totals)))
        if test.p is not None and test.p < ALPHA:
            return True
    return False


@pytest.mark.parametrize("true_effect", [0.0, 0.7])
def test_money_holds_five_percent_with_a_blinded_scale(true_effect):
    """Heavy tails (t with 3 degrees of freedom), 40% of the units untraded, money in odd units."""
    rng = np.random.default_rng(20260102)
    alarms = 0
    for _ in range(RUNS):
        treated = coins(rng)
        traded = rng.random(UNITS) < 0.6
        pnl = 1e6 * (np.where(traded, rng.standard_t(3, UNITS), 0.0) + drift(rng) + true_effect * treated)
        scores = scores_of(treated, traded, pnl, np.ones(UNITS))
        rho = rho_of(blinded_variance(scores), PLAN, ALPHA)
        alarms += any(abs(effect - 1e6 * true_effect) > half for effect, half in paths(scores, 0.0, rho))
    print(f"money, true effect {true_effect} USD: {alarms / RUNS:.3f} of {RUNS} runs ever miss it")
    assert alarms / RUNS <= ALLOWED


@pytest.mark.parametrize("win_share", [0.9, 0.95, 0.98, 0.99])
@pytest.mark.parametrize("e", [0.05, 0.1, 0.5, 0.95])
def test_rare_losses_hold_five_percent(win_share, e):
    """Both arms buy favourites at a fair price: a small win nearly always, the stake lost now and then."""
    rng = np.random.default_rng(20260104)
    units, runs = 2000, 250
    day, share = np.arange(units) // 40, np.full(units, e)
    alarms = bare = 0
    for _ in range(runs):
        won = rng.random(units) < win_share
        pnl = np.where(won, 1e6 * (1.0 - win_share) / win_share, -1e6) + rng.normal(0.0, 1e3, units)
        scores = Scores(
            day=day, treated=rng.random(units) < e, traded=np.ones(units, bool), e=share,
            trials=np.ones(units), sums=pnl, reference=0.0, unlogged=0,
        )  # fmt: skip
        rho = rho_of(blinded_variance(scores), PLAN, ALPHA)
        seen = [look for look in looks(scores, 0.0, PRIOR_UNITS, DECAY_PER_DAY) if look.ready]
        outside = [look for look in seen if abs(look.effect) > look.half_width(rho, ALPHA)]
        bare += bool(outside)
        alarms += any(look.near_normal for look in outside)
    print(f"wins {win_share}, e {e}: {alarms / runs:.3f}; without the skewness rule {bare / runs:.3f}")
    assert alarms / runs <= ALPHA + 2.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / runs)


def test_a_large_effect_is_found():
    rng = np.random.default_rng(20260103)
    rho = rho_of(rate_variance(), PLAN, ALPHA)
    found = 0
    for _ in range(50):
        treated = coins(rng)
        won = (rng.random(UNITS) < np.where(treated, 0.75, 0.45)).astype(float)
        seen = paths(scores_of(treated, won >= 0, won, np.ones(UNITS)), 0.5, rho)
        found += any(effect > half for effect, half in seen)
    print(f"30 points: found in {found} of 50 runs")
    assert found >= 48
