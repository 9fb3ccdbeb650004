"""Shares of a bandit: what they must never do. What they save: tests/bench/test_bandit.py."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stats.bandit import GRID, ArmTotals, Mean, Rate, chances, gridded, shares, totals_of
from stats.beta_binomial import belief
from stats.errors import DesignError
from stats.regret import regret
from stats.two_by_two import TwoByTwo
from stats.units import Units

FLOOR = 50_000


def rated(units, won):
    return ArmTotals(units=units, traded=units, won=won)


@st.composite
def rates(draw, fewest_units=0):
    units = draw(st.integers(fewest_units, 3000))
    return rated(units, draw(st.integers(0, units)))


@st.composite
def money(draw):
    units = draw(st.integers(20, 5000))
    pnl = draw(st.integers(-(10**12), 10**12))
    return ArmTotals(units=units, pnl_micro=pnl, squares=draw(st.floats(1.0, 1e18)))


SOME_RATES = st.lists(rates(), min_size=2, max_size=5)
SOME_MONEY = st.lists(money(), min_size=2, max_size=5)


@given(SOME_RATES, st.integers(0, 200_000))
def test_shares_fill_the_grid_and_keep_the_floor(arms, floor):
    found = shares("win_rate", arms, floor).millionths
    assert sum(found) == GRID
    assert min(found) >= floor


@given(SOME_RATES, st.data())
def test_a_win_never_lowers_its_arms_share(arms, data):
    place = data.draw(st.integers(0, len(arms) - 1))
    arm = arms[place]
    more = rated(arm.units + 1, arm.won + 1)
    instead = rated(arm.units, min(arm.won + 1, arm.units))
    was = shares("profit_rate", arms, FLOOR).millionths
    for better in (more, instead):
        now = shares("profit_rate", [*arms[:place], better, *arms[place + 1 :]], FLOOR).millionths
        assert now[place] >= was[place]


@given(SOME_MONEY, st.integers(0, 10**9), st.data())
def test_more_money_of_the_same_spread_never_lowers_its_arms_share(arms, more_micro, data):
    place = data.draw(st.integers(0, len(arms) - 1))
    arm = arms[place]
    richer = ArmTotals(units=arm.units, pnl_micro=arm.pnl_micro + more_micro * arm.units, squares=arm.squares)
    was = shares("pnl", arms, FLOOR).millionths
    now = shares("pnl", [*arms[:place], richer, *arms[place + 1 :]], FLOOR).millionths
    assert now[place] >= was[place]
    assert sum(now) == GRID
    assert min(now) >= FLOOR


@given(SOME_MONEY, st.integers(-(10**9), 10**9))
def test_money_added_to_every_unit_of_all_arms_changes_nothing(arms, more_micro):
    """A rebate, a fee, another market: only differences say which arm is best."""
    shifted = [
        ArmTotals(units=arm.units, pnl_micro=arm.pnl_micro + more_micro * arm.units, squares=arm.squares)
        for arm in arms
    ]
    was, now = (shares("pnl", each, FLOOR).millionths for each in (arms, shifted))
    assert max(abs(one - other) for one, other in zip(was, now, strict=True)) <= 2


@given(rates(), rates())
@example(rated(0, 0), rated(3000, 1500))
@example(rated(3, 3), rated(3000, 3000))
def test_the_chance_of_two_rates_is_that_of_the_exact_posterior(base, other):
    table = TwoByTwo(other.won, other.units, base.won, base.units)
    found = chances([Rate(base.won, base.units - base.won), Rate(other.won, other.units - other.won)])
    assert found[1] == pytest.approx(belief(table).chance_to_win, abs=2e-5)


@given(st.floats(-1e9, 1e9), st.floats(1.0, 1e9), st.floats(-1e9, 1e9), st.floats(1.0, 1e9))
def test_the_chance_of_two_means_is_that_of_their_difference(a, sd_a, b, sd_b):
    z = (b - a) / math.hypot(sd_a, sd_b)
    exact = 0.5 * math.erfc(-z / math.sqrt(2.0))
    assert chances([Mean(a, sd_a), Mean(b, sd_b)])[1] == pytest.approx(exact, abs=0.01)
    if 0.02 < sd_a / sd_b < 50:
        assert chances([Mean(a, sd_a), Mean(b, sd_b)])[1] == pytest.approx(exact, abs=2e-5)


def test_three_means_as_by_draws():
    rng = np.random.default_rng(5)
    arms = [Mean(0.0, 2.0), Mean(1.0, 1.0), Mean(0.5, 3.0)]
    drawn = rng.normal([0.0, 1.0, 0.5], [2.0, 1.0, 3.0], size=(400_000, 3)).argmax(axis=1)
    by_draws = np.bincount(drawn) / len(drawn)
    assert chances(arms) == pytest.approx(tuple(by_draws), abs=0.004)


@given(st.lists(rates(), min_size=3, max_size=3))
def test_no_arm_is_favoured_for_its_place(arms):
    as_they_are = chances([Rate(arm.won, arm.units - arm.won) for arm in arms])
    for order in permutations(range(3)):
        moved = chances([Rate(arms[at].won, arms[at].units - arms[at].won) for at in order])
        assert moved == pytest.approx([as_they_are[at] for at in order], abs=1e-12)


def test_nothing_known_is_an_even_split():
    assert shares("win_rate", [ArmTotals(), ArmTotals()], FLOOR).millionths == (500_000, 500_000)
    assert shares("win_rate", [ArmTotals()] * 3, FLOOR).millionths == (333_334, 333_333, 333_333)
    assert gridded((1.0, 0.0), 0) == (GRID, 0)


@pytest.mark.parametrize(
    ("arms", "why"),
    [
        ([ArmTotals(units=19, pnl_micro=5, squares=3.0), ArmTotals(units=40, squares=3.0)], "19 mature"),
        ([ArmTotals(units=20), ArmTotals(units=40, pnl_micro=40)], "no unit's PnL differs"),
    ],
)
def test_money_that_says_nothing_is_an_even_split_with_the_reason(arms, why):
    found = shares("pnl", arms, FLOOR)
    assert found.millionths == (500_000, 500_000)
    assert why in found.reason


@pytest.mark.parametrize(
    ("arms", "floor"),
    [
        ([ArmTotals()], FLOOR),
        ([ArmTotals(), ArmTotals()], 500_001),
        ([ArmTotals(), ArmTotals(won=1)], FLOOR),
        ([ArmTotals(), ArmTotals(units=1, squares=math.nan)], FLOOR),
    ],
)
def test_what_is_no_bandit_is_refused(arms, floor):
    with pytest.raises(DesignError):
        shares("win_rate", arms, floor)


def units_of(arm, e, day, won, pnl_micro=None):
    count = len(arm)
    ones, zeros = np.ones(count, np.int64), np.zeros(count, np.int64)
    return Units(
        arm=arm,
        stage=zeros,
        e=e,
        day=day,
        traded=np.ones(count, bool),
        won=won,
        pnl_micro=np.where(won, 1, -1) * 1_000_000 if pnl_micro is None else pnl_micro,
        stake_micro=ones,
        fee_micro=zeros,
        decisions=ones,
        fallbacks=zeros,
        trades=ones,
        trade_wins=won.astype(np.int64),
    )


def test_totals_are_exact_for_large_money():
    pnl = np.array([2**60, 2**60 + 2, 2**60 + 4], np.int64)
    zeros = np.zeros(3, np.int64)
    found = totals_of(units_of(zeros, np.full(3, 0.5), zeros, np.array([True, False, True]), pnl))
    assert (found.units, found.traded, found.won) == (3, 3, 2)
    assert found.pnl_micro == 3 * 2**60 + 6
    assert found.squares == 8.0


def test_regret_by_hand():
    arm = np.repeat([0, 1], [30, 50])
    won = np.concatenate([np.arange(30) < 12, np.arange(50) < 30])
    played = units_of(arm, np.full(80, 0.5), np.zeros(80, np.int64), won)
    found = regret("win_rate", played, 2, np.full(80, 0.5))
    assert found.best == 1
    assert found.levels == pytest.approx((0.4, 0.6))
    assert found.so_far == pytest.approx(30 * 0.2)
    assert found.even_split == pytest.approx(40 * 0.2)
    usd = regret("pnl", played, 2, np.full(80, 0.5))
    assert usd.so_far == pytest.approx(30 * (0.2 - -0.2))


def test_regret_is_not_fooled_by_the_weeks_that_an_arm_had():
    """Equal arms, of which one had most units in the good week: raw rates differ by 36 points."""
    shares_then, rate_then = (0.9, 0.1), (0.7, 0.2)
    rows = [(week, arm) for week in (0, 1) for arm in (0, 1)]
    counts = [round(1000 * (shares_then[w] if arm == 1 else 1 - shares_then[w])) for w, arm in rows]
    arm = np.repeat([arm for _, arm in rows], counts)
    week = np.repeat([week for week, _ in rows], counts)
    strata = zip(rows, counts, strict=True)
    won = np.concatenate([np.arange(n) < round(n * rate_then[w]) for (w, _), n in strata])
    e = np.array(shares_then)[week]
    own = np.where(arm == 1, e, 1 - e)
    found = regret("profit_rate", units_of(arm, e, week, won), 2, own)
    assert found.levels == pytest.approx((0.45, 0.45))
    assert found.so_far == pytest.approx(0.0, abs=1e-9)


def test_regret_says_when_it_cannot_say():
    arm = np.repeat([0, 1], [30, 19])
    found = regret("win_rate", units_of(arm, np.full(49, 0.5), arm * 0, arm == 1), 2, np.full(49, 0.5))
    assert (found.status, found.so_far) == ("not_ready", None)
    assert "19 of the 20" in found.reason
