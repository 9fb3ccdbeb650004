"""Resolution speed: outcomes at equal age by arm, watched daily."""

import math
from dataclasses import astuple, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.design import Design
from stats.errors import DesignError, UnitsError
from stats.panel import panel_looks, panel_of, panel_scores
from stats.resolution import Arrivals, ages_of, resolution, unjudged
from stats.sequence import looks
from stats.watched import watched
from stats.words import seconds

DESIGN = Design(
    arms=("base", "transformer"), control="base", treatment="transformer", metric="win_rate",
    started_us=0, attribution_s=900,
)  # fmt: skip
AGES = ages_of(900, 900)
WINDOW_US = 1_800_000_000
UNITS, DAYS = 800, 40


def arrivals(rng, units=UNITS, slower_s=0.0, lost=0.0, share=None):
    """Units of DAYS days under a split of 10, 25, 50%; delays drift with the days and have a heavy tail."""
    day = np.arange(units) * DAYS // units
    e = np.array([0.1, 0.25, 0.5])[np.minimum(np.arange(units) * 3 // units, 2)] if share is None else share
    e = np.broadcast_to(np.asarray(e, float), (units,)).copy()
    arm = (rng.random(units) < e).astype(np.int64)
    level = 900 + 60 * np.cumsum(rng.normal(0, 0.2, DAYS))[day]
    taken_s = level + rng.exponential(60, units) * rng.lognormal(0, 1, units) + slower_s * arm
    gone = (rng.random(units) < 0.02 + lost * arm) | (taken_s > 1800)
    return Arrivals(arm, e, day, np.where(gone, -1, np.maximum(taken_s, 1.0) * 1e6).astype(np.int64))


def until(found, rows):
    return Arrivals(found.arm[:rows], found.e[:rows], found.day[:rows], found.taken_us[:rows])


def test_daily_looks_at_equal_delays_alarm_in_five_percent_at_most():
    """p is always valid: its value at the end holds the smallest of all days, so one look sees them all."""
    rng, runs = np.random.default_rng(20260301), 400
    alarms = 0
    for run in range(runs):
        share = None if run % 2 else 0.5
        alarms += resolution(DESIGN, arrivals(rng, share=share), AGES).later is not None
    print(f"resolution speed, no difference, {runs} runs of {DAYS} daily looks: {alarms / runs:.3f}")
    assert alarms / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize(
    ("slower_s", "lost", "least"), [
        (20.0, 0.0, 0.4), (30.0, 0.0, 0.6), (60.0, 0.0, 0.85), (120.0, 0.0, 0.95),
        (0.0, 0.1, 0.3), (0.0, 0.15, 0.8), (0.0, 0.3, 0.95),
    ],
)  # fmt: skip
def test_a_slow_arm_is_found_and_named(slower_s, lost, least):
    rng, runs = np.random.default_rng(11), 60
    found = [resolution(DESIGN, arrivals(rng, slower_s=slower_s, lost=lost), AGES) for _ in range(runs)]
    named = sum(one.later == "transformer" for one in found)
    print(f"slower by {slower_s:.0f} s, lost {lost:.0%}: named in {named}/{runs}")
    assert named / runs >= least
    assert all(one.later != "base" for one in found)
    said = next(one.sentence for one in found if one.sentence)
    assert said.startswith("transformer's outcomes come later than base's: ")
    assert "no verdict rests on it" in said


def test_p_never_rises_from_one_day_to_the_next():
    whole = arrivals(np.random.default_rng(3), slower_s=200.0)
    seen = [resolution(DESIGN, until(whole, rows), AGES).p for rows in range(20, UNITS + 1, 20)]
    known = [p for p in seen if p is not None]
    assert len(known) > 20
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(known))


@given(seed=st.integers(0, 10**6), slower_s=st.floats(-300, 300))
@settings(max_examples=25, deadline=None)
def test_intervals_contain_estimates_and_swapping_the_arms_swaps_the_signs(seed, slower_s):
    found = arrivals(np.random.default_rng(seed), units=200, slower_s=slower_s, share=0.4)
    other = replace(DESIGN, control="transformer", treatment="base")
    mirrored = replace(found, e=1.0 - found.e)
    one, two = resolution(DESIGN, found, AGES), resolution(other, mirrored, AGES)
    assert one.later == two.later
    for ours, theirs in zip(
        (*(a.resolved for a in one.ages), one.delay_s), (*(a.resolved for a in two.ages), two.delay_s),
        strict=True,
    ):  # fmt: skip
        assert ours.status == theirs.status
        if ours.low is not None:
            assert ours.low <= ours.estimate <= ours.high
            assert ours.estimate == pytest.approx(-theirs.estimate, abs=1e-9)
            assert ours.low == pytest.approx(-theirs.high, abs=1e-9)
            assert ours.p == pytest.approx(theirs.p, rel=1e-6)


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_a_resolved_share_never_falls_with_age(seed):
    found = arrivals(np.random.default_rng(seed), units=150, share=0.5)
    constant = replace(found, day=np.zeros(150, np.int64))  # one day: one centre, so rates are plain means
    shares = [age.resolved.treatment for age in resolution(DESIGN, constant, AGES).ages]
    assert all(b >= a - 1e-12 for a, b in pairwise(shares))
    last = resolution(DESIGN, constant, AGES).ages[-1].resolved
    treated = constant.arm == 1
    assert last.treatment == pytest.approx(np.mean(constant.taken_us[treated] >= 0))


def test_arms_that_differ_in_every_unit_are_told_apart_without_any_variance():
    rng = np.random.default_rng(1)
    arm = (rng.random(80) < 0.5).astype(np.int64)
    taken_us = np.where(arm == 1, 1_200, 905) * 1_000_000
    found = resolution(DESIGN, Arrivals(arm, np.full(80, 0.5), np.arange(80) // 4, taken_us), AGES)
    sharp = next(age.resolved for age in found.ages if age.age_s == 956.25)
    assert (sharp.status, sharp.estimate, sharp.low) == ("ok", -1.0, None)
    assert found.later == "transformer"
    assert "15 min 56 s after a market's start 0.0% had come, against 100.0%" in found.sentence
    same = next(age.resolved for age in found.ages if age.age_s == 1800)
    assert (same.status, same.estimate, same.p) == ("degenerate", 0.0, None)


def test_too_few_units_say_so_and_nothing_else():
    few = resolution(DESIGN, arrivals(np.random.default_rng(2), units=20), AGES)
    assert (few.status, few.p, few.later, few.sentence) == ("not_ready", None, None, None)
    none = resolution(DESIGN, until(arrivals(np.random.default_rng(2)), 0), AGES)
    assert (none.status, none.units) == ("not_ready", 0)
    assert "no unit's window has closed yet" in none.reason
    assert [age.age_s for age in none.ages] == list(AGES)


def test_without_propensities_nothing_is_said():
    found = arrivals(np.random.default_rng(2))
    unlogged = resolution(DESIGN, replace(found, e=np.full(UNITS, np.nan)), AGES)
    assert (unlogged.status, unlogged.p) == ("invalid_design", None)


def test_ages_follow_from_the_experiment_alone():
    assert AGES == (450.0, 900.0, 956.25, 1125.0, 1800.0)
    assert ages_of(900, 0) == (450.0, 900.0)
    assert ages_of(0, 900) == (56.25, 225.0, 900.0)
    with pytest.raises(DesignError, match="above 0"):
        ages_of(0, 0)
    with pytest.raises(DesignError, match="rising"):
        resolution(DESIGN, arrivals(np.random.default_rng(2)), (900.0, 450.0))


def test_columns_that_do_not_fit_are_refused():
    found = arrivals(np.random.default_rng(2))
    with pytest.raises(UnitsError, match="different length"):
        replace(found, e=found.e[1:])
    with pytest.raises(UnitsError, match="day falls"):
        replace(found, day=found.day[::-1])
    with pytest.raises(UnitsError, match="outside"):
        replace(found, e=found.e + 1.0)


def test_what_cannot_be_asked_has_its_reason():
    found = unjudged(DESIGN, AGES, "invalid_design", "replays run as fast as the machine")
    assert {age.resolved.reason for age in found.ages} == {"replays run as fast as the machine"}


@pytest.mark.parametrize(
    ("span_s", "text"),
    [(14, "14 s"), (956.25, "15 min 56 s"), (3600, "1 h"), (7500, "2 h 5 min"), (0.25, "0.25 s")],
)
def test_spans_are_said_in_two_units(span_s, text):
    assert seconds(span_s) == text


@given(seed=st.integers(0, 10**6), units=st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_looks_of_a_panel_are_those_of_the_units_one_by_one(seed, units):
    rng = np.random.default_rng(seed)
    e = rng.choice([0.0, 0.1, 0.5, 1.0, np.nan], units, p=[0.1, 0.3, 0.4, 0.1, 0.1])
    arm = rng.integers(0, 3, units)
    panel = panel_of(
        replace(DESIGN, arms=("base", "transformer", "third")), arm, e, np.sort(rng.integers(0, 9, units))
    )
    outcome = rng.choice([0.0, 0.3, 1.0], len(panel.rows))
    ours = panel_looks(panel, outcome, 0.5, 20.0, 0.8)
    theirs = looks(panel_scores(panel, outcome), 0.5, 20.0, 0.8)
    assert len(ours) == len(theirs)
    for one, two in zip(ours, theirs, strict=True):
        assert (one.has_both, one.ready) == (two.has_both, two.ready)
        for arm_moments in ("treatment", "control"):
            assert astuple(getattr(one, arm_moments)) == pytest.approx(
                astuple(getattr(two, arm_moments)), rel=1e-9, abs=1e-12
            )
        assert (one.information, one.centre_sum) == pytest.approx((two.information, two.centre_sum))


def test_a_watched_rate_needs_values_in_range_and_a_level():
    panel = panel_of(DESIGN, np.array([0, 1]), np.array([0.5, 0.5]), np.array([0, 0]))
    with pytest.raises(UnitsError, match="one value in"):
        watched(DESIGN, panel, np.array([0.0, 2.0]), 0.05)
    with pytest.raises(DesignError, match="level"):
        watched(DESIGN, panel, np.array([0.0, 1.0]), 0.0)
