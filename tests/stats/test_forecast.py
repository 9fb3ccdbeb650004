"""A forecast in the centre: fixed before the unit's coin, honest under peeking, worth what it explains."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.centre import DECAY_PER_DAY, PRIOR_UNITS
from stats.errors import UnitsError
from stats.forecast import centred, forecast
from stats.scale import rate_variance, rho_of
from stats.scores import Scores
from stats.sequence import looks

DAYS, A_DAY, ALPHA = 40, 40, 0.05
UNITS = DAYS * A_DAY
DAY = np.arange(UNITS) // A_DAY
E = np.array([0.1, 0.25, 0.5, 0.5])[DAY * 4 // DAYS]


def world(rng, r2=0.5, effect=0.0, width=1, days=DAYS):
    """Scores and covariates. The first covariate explains r2 of a unit's result around its day's level."""
    units = days * A_DAY
    day, e = DAY[:units], E[:units]
    known = rng.normal(size=(units, width))
    level = np.cumsum(rng.normal(0.0, 0.08 / math.sqrt(days), days))[day]
    noise = rng.normal(size=units)
    result = 0.5 + level + 0.3 * (math.sqrt(r2) * known[:, 0] + math.sqrt(1.0 - r2) * noise)
    treated = rng.random(units) < e
    trials = rng.integers(1, 12, units).astype(float)
    sums = (result + effect * treated) * trials
    traded = np.ones(units, dtype=np.bool_)
    return Scores(day, treated, traded, e, trials, sums, 0.0, 0), known


def path(scores):
    return looks(scores, 0.5, PRIOR_UNITS, DECAY_PER_DAY)


@given(seed=st.integers(0, 10**6), changed=st.integers(0, DAYS // 4 - 1), width=st.integers(1, 3))
def test_nothing_of_a_day_or_later_is_in_its_forecast(seed, changed, width):
    rng = np.random.default_rng(seed)
    scores, known = world(rng, width=width, days=DAYS // 4)
    later = scores.day >= changed
    other = replace(scores, sums=np.where(later, rng.normal(size=len(later)), scores.sums))
    before = scores.day <= changed
    assert np.array_equal(forecast(scores, known)[before], forecast(other, known)[before])
    flipped = replace(scores, treated=~scores.treated)
    assert np.array_equal(forecast(scores, known), forecast(flipped, known))  # nor is anybody's arm


@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-6, 0.1, 3.0, 1e6]), shift=st.floats(-1e3, 1e3))
def test_units_of_a_covariate_do_not_matter(seed, scale, shift):
    scores, known = world(np.random.default_rng(seed), width=2, days=DAYS // 4)
    moved = known * np.array([scale, -1.0]) + np.array([shift * scale, 0.0])
    assert forecast(scores, moved) == pytest.approx(forecast(scores, known), rel=1e-5, abs=1e-7)


def test_without_a_covariate_or_with_a_constant_one_nothing_changes():
    scores, _ = world(np.random.default_rng(1))
    for known in (np.empty((UNITS, 0)), np.full((UNITS, 1), 7.0)):
        expected = forecast(scores, known)
        assert not expected.any()
        assert path(centred(scores, expected)) == path(scores)


@pytest.mark.parametrize("r2", [0.0, 0.25, 0.5, 0.8])
def test_variance_falls_by_what_is_explained(r2):
    """At the end: what the 20 units of doubt and the first day's missing forecast cost is a few per cent."""
    rng, shares = np.random.default_rng(20261126), []
    for _ in range(40):
        scores, known = world(rng, r2, width=3)
        plain, less = path(scores)[-1], path(centred(scores, forecast(scores, known)))[-1]
        shares.append((less.error / plain.error) ** 2)
    print(f"R^2 {r2}: variance falls to {np.mean(shares):.3f}")
    assert np.mean(shares) == pytest.approx(1.0 - r2, abs=0.03 + 0.04 * r2)


def test_five_percent_holds_at_any_look_and_power_comes_back():
    """A ramp of 10, 25, 50%, drift of 8 points, trials of 1 to 11, daily looks."""
    rng, runs = np.random.default_rng(20261127), 1_000
    rho = rho_of(rate_variance() * 20.0, 1000, ALPHA)
    alarms, found = {True: 0, False: 0}, {True: 0, False: 0}
    for _ in range(runs):
        scores, known = world(rng)
        for has_forecast in (True, False):
            used = centred(scores, forecast(scores, known)) if has_forecast else scores
            alarms[has_forecast] += crosses(used, rho)
            better = replace(used, sums=used.sums + 0.05 * used.treated * used.trials)
            found[has_forecast] += crosses(better, rho)
    told = {name: (alarms[name] / runs, found[name] / runs) for name in alarms}
    print(f"false alarms, power of +5 points: with {told[True]}, without {told[False]}")
    assert max(share for share, _ in told.values()) <= ALPHA + 2.0 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    assert told[True][1] > told[False][1] + 0.2


def crosses(scores, rho):
    seen = [look for look in path(scores) if look.has_both and look.ready]
    return any(abs(look.effect) > look.half_width(rho, ALPHA) for look in seen)


def test_a_leak_takes_the_effect_out():
    """Why a covariate must be there before the coin."""
    scores, _ = world(np.random.default_rng(3), effect=0.3)
    leak = (scores.sums / scores.trials)[:, None]
    assert path(scores)[-1].effect == pytest.approx(0.3, abs=0.05)
    assert path(centred(scores, forecast(scores, leak)))[-1].effect < 0.1


def test_what_is_no_covariate_is_refused():
    scores, known = world(np.random.default_rng(4))
    with pytest.raises(UnitsError, match="a row of covariates for each of 1600 units"):
        forecast(scores, known[:-1])
    with pytest.raises(UnitsError, match="a row of covariates"):
        forecast(scores, known[:, 0])
    known[5] = math.nan
    with pytest.raises(UnitsError, match="no finite number in row 5"):
        forecast(scores, known)
    with pytest.raises(UnitsError, match="one finite number per unit"):
        centred(scores, np.full(UNITS, math.inf))


def test_no_units_no_forecast():
    scores, known = world(np.random.default_rng(5), days=1)
    columns = (scores.day, scores.treated, scores.traded, scores.e, scores.trials, scores.sums)
    none = Scores(*(column[:0] for column in columns), 0.0, 0)
    assert len(forecast(none, known[:0])) == 0
