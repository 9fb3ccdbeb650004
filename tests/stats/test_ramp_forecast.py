"""The forecast of a ramp against simulated ramps that share nothing with it but the bound itself."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.boundary import radius_one_sided
from stats.errors import DesignError
from stats.ramp_forecast import Claim, Leg, Ramp, ends, legs, promotion, smallest
from stats.scale import PROMOTION_SHARE, ROLLBACK_SHARE, gate_rho, plan_variance

LEGS = (Leg(0.1, 2, 14, 40), Leg(0.25, 2, 14, 100), Leg(0.5, 3, 20, 200))
RAMP = Ramp(LEGS, 400.0, 14.0, is_planned=False)
CLAIM = Claim(0.25, 0.0, 0.05, 2000)


def simulated_sums(effect, days, rng, runs=4000):
    """Overlap-weighted sums of units with normal outcomes, day by day: (sum, variance) at each day's end."""
    total, variance = np.zeros(runs), 0.0
    for day in range(days):
        share = 0.1 if day < 2 else 0.25 if day < 4 else 0.5
        information = 400 * share * (1 - share)
        total = total + effect * information + rng.normal(0, math.sqrt(0.25 * information), runs)
        variance += 0.25 * information
        yield day + 1, total, variance


@pytest.mark.parametrize("effect", [0.0, 0.02, 0.04])
def test_promotion_is_as_likely_as_it_is_in_simulated_ramps(effect):
    rng = np.random.default_rng(1)
    rho = gate_rho(plan_variance(0.25, 2000), PROMOTION_SHARE, 0.05)
    shown = np.zeros(4000, dtype=bool)
    by_day = {}
    for day, total, variance in simulated_sums(effect, 24, rng):
        if day >= 14:
            shown |= total >= radius_one_sided(variance, rho, 0.05)
            by_day[day] = shown.mean()
    found = promotion(RAMP, CLAIM, effect)
    assert found.days[0] == 14.0
    assert found.days[-1] == 24.0
    for day, chance in zip(found.days, found.chances, strict=True):
        noise = 4 * math.sqrt(0.25 / 4000)
        assert abs(chance - by_day[round(day)]) < noise


def test_harm_is_seen_as_it_is_in_simulated_ramps():
    """The forecast looks once a day; so does the simulation."""
    rng = np.random.default_rng(2)
    rho = gate_rho(plan_variance(0.25, 2000), ROLLBACK_SHARE, 0.01)
    seen = np.zeros(4000, dtype=bool)
    ends_at = {}
    for day, total, variance in simulated_sums(-0.15, 7, rng):
        seen |= -total >= radius_one_sided(variance, rho, 0.01)
        ends_at[day] = seen.mean()
    told = legs(RAMP, Claim(0.25, 0.0, 0.01, 2000), 0.15)
    assert [row.days for row in told] == [2.0, 4.0, 7.0]
    assert [row.units for row in told] == [80, 280, 880]
    for row in told:
        assert abs(row.seen - ends_at[round(row.days)]) < 4 * math.sqrt(0.25 / 4000)


def test_a_planned_look_is_a_fixed_test():
    week = Ramp((Leg(0.5, 7, 7, 100),), 400.0, 7.0, is_planned=True)
    assert promotion(week, CLAIM, 0.0).whole == pytest.approx(0.05)
    error = math.sqrt(4 * 0.25 / 2800)
    found = smallest(week, CLAIM)
    assert found == pytest.approx((1.6448536 + 0.8416212) * error, rel=1e-6)
    assert promotion(week, CLAIM, found).day_of(0.79) == 7.0


@given(st.floats(0.0, 0.1), st.floats(0.0, 0.05))
@settings(max_examples=15)
def test_more_effect_or_more_margin_is_more_chance(effect, more):
    few = Ramp((Leg(0.2, 3, 10, 20), Leg(0.5, 3, 12, 20)), 100.0, 7.0, is_planned=False)
    base = promotion(few, CLAIM, effect).whole
    assert promotion(few, CLAIM, effect + more).whole >= base - 1e-9
    wider = Claim(0.25, more, 0.05, 2000)
    assert promotion(few, wider, effect).whole == pytest.approx(promotion(few, CLAIM, effect + more).whole)


def test_the_smallest_effect_has_the_wanted_chance():
    assert promotion(RAMP, CLAIM, smallest(RAMP, CLAIM)).whole == pytest.approx(0.8, abs=1e-6)


def test_a_leg_that_cannot_get_its_units_ends_nothing_after_it():
    slow = Ramp(LEGS, 25.0, 14.0, is_planned=False)
    assert ends(slow) == (None, None, None)
    assert promotion(slow, CLAIM, 0.5).whole == 0.0
    assert promotion(slow, CLAIM, 0.5).day_of(0.5) is None
    assert smallest(slow, CLAIM) is None
    assert [row.units for row in legs(slow, CLAIM, 0.1)] == [None, None, None]
    medium = Ramp(LEGS, 50.0, 14.0, is_planned=False)
    assert ends(medium)[:2] == (8.0, 16.0)


def test_a_ramp_without_units_is_refused():
    with pytest.raises(DesignError, match="units_per_day"):
        Ramp(LEGS, 0.0, 14.0, is_planned=False)
