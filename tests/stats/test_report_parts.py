"""The parts of a report that describe: headline, dependence, curves, served, slices, delays."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.curves import MOST_MOMENTS, curves
from stats.delays import SHARES, delay_quantiles
from stats.dependence import dependence
from stats.design import Design, History
from stats.design_effect import correlation
from stats.headline import DAY_US, arrivals_per_day, headline
from stats.report import report
from stats.served import served
from stats.slices import MOST, slices
from stats.units import Stage, Units

START_US = 1_767_225_600_000_000
DESIGN = Design(
    arms=("base", "transformer"), control="base", treatment="transformer", metric="win_rate",
    started_us=START_US, attribution_s=900,
)  # fmt: skip
HISTORY = History()
EVEN = (Stage(version=1, weights=(0.5, 0.5), counts=(1, 1), started_us=START_US),)


def drawn(count, lift=0.0, seed=1, design=DESIGN, **columns):
    """Units of ten days at an even split; each third has no fill."""
    rng = np.random.default_rng(seed)
    arm, traded = rng.integers(0, 2, count), np.arange(count) % 3 > 0
    won = (rng.random(count) < 0.5 + lift * arm) & traded
    trades = traded * rng.integers(1, 4, count)
    fields = {
        "arm": arm, "stage": np.zeros(count, int), "e": np.full(count, 0.5),
        "day": np.arange(count) * 10 // max(count, 1), "traded": traded, "won": won,
        "pnl_micro": np.where(traded, np.where(won, 1_100_000, -1_000_000), 0),
        "stake_micro": traded * 1_000_000, "fee_micro": traded * 10, "decisions": np.full(count, 10),
        "fallbacks": np.zeros(count, int), "trades": trades, "trade_wins": trades * won,
    }  # fmt: skip
    return Units.of(fields | columns)


def times_of(units):
    return START_US + np.arange(len(units)) * 10 * DAY_US // max(len(units), 1)


def judged(units, design=DESIGN):
    return report(design, units, {}, EVEN)


def sentence(units, per_day=None, design=DESIGN):
    return headline(design, judged(units, design), per_day, START_US + 10 * DAY_US)


# headline


def test_the_headline_leads_with_the_bound_and_says_when():
    said = sentence(drawn(3000, 0.3))
    bound = judged(drawn(3000, 0.3)).effect.low
    assert said.sentence == (
        f"transformer is better than base by at least {100 * bound:+.1f} points of win rate per market, in"
        " this period (2026-01-01 00:00 UTC to 2026-01-11 00:00 UTC)."
    )
    assert (said.more_units, said.more_days) == (None, None)


def test_worse_is_said_by_its_own_bound():
    found = judged(drawn(3000, -0.3))
    said = sentence(drawn(3000, -0.3)).sentence
    assert said.startswith(
        f"transformer is worse than base by at least {-100 * found.effect.high:+.1f} points"
    )


def test_what_it_would_take_is_said_in_units_and_days_at_the_pace_of_the_units():
    said = sentence(drawn(300, 0.1), per_day=120.0)
    assert said.more_units > 0
    assert said.more_days == said.more_units / 120.0
    assert "Cannot say yet whether transformer is better than base" in said.sentence
    assert f"{said.more_days:.0f} days at this split." in said.sentence


def test_without_a_pace_no_days_are_invented():
    said = sentence(drawn(300, 0.1))
    assert said.more_units > 0
    assert said.more_days is None
    assert "at this split" not in said.sentence


def test_without_anything_known_it_is_silent():
    assert sentence(Units.empty()).sentence.startswith("Cannot say yet whether")
    broken = Stage(version=1, weights=(0.9, 0.1), counts=(500, 500), started_us=START_US)
    told = headline(DESIGN, report(DESIGN, drawn(900), {}, (broken,)), 10.0, START_US)
    assert "the assignment is broken" in told.sentence


def test_the_pace_counts_from_the_first_unit_or_over_the_lookback():
    first = START_US + np.arange(10) * DAY_US
    now_us = int(first[-1]) + DAY_US
    assert arrivals_per_day(first, now_us, 100 * DAY_US) == pytest.approx(1.0)
    assert arrivals_per_day(first, now_us, 4 * DAY_US) == pytest.approx(3 / 4)
    assert arrivals_per_day(first[:1], now_us, 100 * DAY_US) is None
    assert arrivals_per_day(first, now_us + 90 * DAY_US, 7 * DAY_US) is None, "nothing came lately"
    assert arrivals_per_day(np.array([5, 5]), 5, DAY_US) is None, "no time has passed"


# dependence


def test_trades_within_units_are_what_one_way_analysis_of_variance_says():
    units = drawn(200)
    found = dependence(DESIGN, units, np.arange(200))
    rows, values = [], []
    for row in range(200):
        wins, trades = int(units.trade_wins[row]), int(units.trades[row])
        rows += [row] * trades
        values += [1.0] * wins + [0.0] * (trades - wins)
    rate = [np.mean([v for r, v in zip(rows, values, strict=True) if units.arm[r] == a]) for a in (0, 1)]
    residuals = np.array([v - rate[units.arm[r]] for r, v in zip(rows, values, strict=True)])
    must = correlation(np.array(rows), residuals)
    assert (found.observation, found.cluster) == ("trade", "market")
    assert found.icc == pytest.approx(must.icc)
    assert found.effective == round(must.effective) < found.observations
    assert (
        f"2,000 decisions, {len(rows)} trades in {must.units} markets ~ {found.effective} independent trades"
        in (found.sentence)
    )


def test_a_difference_between_the_arms_is_no_correlation():
    count = 4000
    arm = np.arange(count) % 2
    independent = np.random.default_rng(2).binomial(4, np.where(arm, 0.9, 0.1))
    units = drawn(
        count, arm=arm, traded=np.ones(count, bool), trades=np.full(count, 4), trade_wins=independent
    )
    assert dependence(DESIGN, units, np.arange(count)).icc < 0.02


def test_where_no_unit_has_two_trades_windows_tell():
    count = 400
    won = (np.arange(count) // 4) % 2 == 0
    ones = np.ones(count, bool)
    units = drawn(count, traded=ones, won=won, trades=ones.astype(int), trade_wins=won.astype(int))
    found = dependence(DESIGN, units, np.arange(count) // 4)
    assert (found.observation, found.cluster, found.clusters) == ("market", "window", 100)
    assert found.icc > 0.9
    assert found.effective < 120


def test_where_nothing_repeats_nothing_is_invented():
    ones = np.ones(40, bool)
    units = drawn(40, traded=ones, trades=ones.astype(int), trade_wins=np.zeros(40, int), won=~ones)
    found = dependence(DESIGN, units, np.arange(40))
    assert (found.icc, found.effective) == (None, None)
    assert "cannot be said" in found.sentence
    assert dependence(DESIGN, Units.empty(), np.array([], np.int64)).decisions == 0


# curves


@pytest.mark.parametrize("metric", ["win_rate", "profit_rate", "pnl"])
def test_the_curve_ends_where_the_report_stands(metric):
    design, units = replace(DESIGN, metric=metric), drawn(900, 0.2)
    told = judged(units, design)
    found = curves(design, units, times_of(units), {metric: told.effect, "pnl": told.pnl_effect}, HISTORY)
    for curve, effect in ((found.effect, told.effect), (found.pnl_effect, told.pnl_effect)):
        for name in ("estimate", "low", "high", "e_value"):
            assert getattr(curve, name)[-1] == pytest.approx(getattr(effect, name), rel=1e-9), name
    assert found.arms["base"].mature[-1] == told.arms["base"].mature
    assert found.arms["base"].win_rate[-1] == told.arms["base"].win_rate
    assert found.arms["transformer"].pnl_usd[-1] == told.arms["transformer"].pnl_usd
    assert len(found.at_us) == MOST_MOMENTS


def test_an_early_moment_knows_nothing_of_what_came_later():
    units = drawn(900, 0.2)
    told, times = judged(units), times_of(units)
    effects = {"win_rate": told.effect, "pnl": told.pnl_effect}
    whole = curves(DESIGN, units, times, effects, HISTORY)
    early = times <= whole.at_us[19]
    part = curves(DESIGN, units.take(early), times[early], effects, HISTORY)
    assert part.at_us[-1] == whole.at_us[19]
    for name in ("estimate", "low", "high", "e_value"):
        assert getattr(part.effect, name)[-1] == pytest.approx(getattr(whole.effect, name)[19], rel=1e-9)


def test_no_interval_is_drawn_before_there_is_one():
    units = drawn(900, 0.2)
    told = judged(units)
    found = curves(DESIGN, units, times_of(units), {"win_rate": told.effect, "pnl": told.pnl_effect}, HISTORY)
    assert found.effect.low[0] is None
    assert found.effect.low[-1] is not None


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_units_make_a_short_curve(count):
    units = drawn(count)
    told = judged(units)
    found = curves(DESIGN, units, times_of(units), {"win_rate": told.effect, "pnl": told.pnl_effect}, HISTORY)
    assert len(found.at_us) == len(found.effect.low) == len(found.arms["base"].mature) == count


def test_units_of_one_instant_are_never_parted():
    units = drawn(900)
    told, same = judged(units), np.full(900, START_US)
    found = curves(DESIGN, units, same, {"win_rate": told.effect, "pnl": told.pnl_effect}, HISTORY)
    assert found.at_us == (START_US,)


# served


def test_who_was_served_by_the_control_counts_there_and_a_mixed_unit_nowhere():
    fallbacks = np.zeros(6, int)
    fallbacks[[1, 3]] = (10, 4)
    arm = np.array([0, 1, 1, 1, 0, 1])
    units = drawn(6, arm=arm, fallbacks=fallbacks)
    found = served(DESIGN, units, HISTORY, judged(units).effect)
    base, treated = found.arms["base"], found.arms["transformer"]
    assert (base.assigned.units, base.served.units, base.mixed) == (2, 3, 0)
    assert (treated.assigned.units, treated.served.units, treated.mixed) == (4, 2, 1)
    assert (treated.decisions, treated.fallbacks) == (40, 14)


def test_without_stand_ins_both_sides_are_the_same():
    units = drawn(600, 0.2)
    found = served(DESIGN, units, HISTORY, judged(units).effect)
    assert found.estimate_assigned == found.estimate_served == judged(units).effect.estimate
    assert all(arm.assigned == arm.served for arm in found.arms.values())


# slices


def test_a_planted_slice_stands_out_and_the_others_do_not():
    units = drawn(4000)
    names = np.array(["a", "b", "c", "d"])[np.arange(4000) % 4]
    lucky = (names == "c") & units.traded
    chance = np.random.default_rng(5).random(4000) < np.where(units.arm == 1, 0.9, 0.1)
    won = np.where(lucky, chance, units.won)
    found = slices(DESIGN, replace(units, won=won), "market", names.tolist(), HISTORY)
    assert {part.name: part.stands_out for part in found.slices} == {
        "a": False,
        "b": False,
        "c": True,
        "d": False,
    }
    assert sum(sum(part.units.values()) for part in found.slices) == 4000
    assert "not evidence" in found.label


def test_slices_that_differ_by_chance_seldom_stand_out():
    """40 times 20 slices of nothing: at a nominal 5% two alarms are expected of an exact method."""
    names = [f"s{row % 20:02d}" for row in range(2000)]
    alarms = sum(
        any(part.stands_out for part in slices(DESIGN, drawn(2000, seed=seed), "bot", names, HISTORY).slices)
        for seed in range(40)
    )
    assert alarms <= 4


def test_many_slices_are_pooled_and_of_days_the_last_are_kept():
    units = drawn(300)
    names = [f"day-{row % 60:03d}" for row in range(300)]
    found = slices(DESIGN, units, "day", names, HISTORY)
    assert len(found.slices) == MOST + 1
    assert (found.slices[0].name, found.slices[-1].name) == ("day-059", "20 others")
    assert sum(sum(part.units.values()) for part in found.slices) == 300


def test_no_units_have_no_slices():
    assert slices(DESIGN, Units.empty(), "bot", [], HISTORY).slices == ()


# delays


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=60))
def test_delays_are_those_that_occurred_and_rise(delays):
    found = delay_quantiles(np.zeros(len(delays), np.int64), np.array(delays), ("base", "transformer"))
    assert len(found["base"]) == len(SHARES)
    assert list(found["base"]) == sorted(found["base"])
    assert set(found["base"]) <= {delay / 1e6 for delay in delays}
    assert (found["base"][0], found["base"][-1]) == (min(delays) / 1e6, max(delays) / 1e6)
    for share, seconds in zip(SHARES, found["base"], strict=True):
        assert sum(delay / 1e6 <= seconds for delay in delays) >= share * len(delays) - 1e-9
    assert found["transformer"] == ()
