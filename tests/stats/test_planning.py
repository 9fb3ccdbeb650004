"""Units and days of three designs: laws, a peer, and runs that are simulated."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats import boundary
from stats.errors import DesignError
from stats.planning import Question, fixed, sequential, shadow
from stats.planning_runs import _sizes, simulated
from stats.sample_size import Plan, units_for_rates
from stats.scale import rate_variance, rho_of

ASKED = Question(baseline=0.55, lift=0.05, share=0.5, units_per_day=384)
_QUESTIONS = st.builds(
    Question,
    baseline=st.floats(0.2, 0.6),
    lift=st.floats(0.02, 0.2),
    share=st.floats(0.05, 0.95),
    units_per_day=st.floats(50.0, 2000.0),
)


@settings(max_examples=30, deadline=None)
@given(_QUESTIONS)
def test_laws_of_the_fixed_test(asked: Question) -> None:
    units = fixed(asked).units
    assert fixed(replace(asked, lift=asked.lift * 1.2)).units <= units
    assert fixed(replace(asked, power=0.9)).units >= units
    assert replace(asked, icc=0.3).design_effect == replace(asked, trials_per_unit=9.0).design_effect == 1.0
    mine = units_for_rates(asked.baseline + asked.lift, asked.baseline, Plan(ratio=1 / asked.share - 1))
    assert mine is not None
    assert abs(units - mine / asked.share) <= 1.0 + 1e-9 * units


def test_share_is_symmetric_at_equal_variances() -> None:
    asked = replace(ASKED, baseline=0.475)
    assert fixed(replace(asked, share=0.1)).units == fixed(replace(asked, share=0.9)).units


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_sequence_takes_more_units_than_one_look(share: float) -> None:
    asked = replace(ASKED, share=share)
    found = sequential(asked)
    assert found.units >= fixed(asked).units
    assert list(found.chances) == sorted(found.chances)
    assert found.chances[-1] >= asked.power


def test_a_fall_is_planned_as_the_same_rise_is() -> None:
    rise = Question(baseline=0.45, lift=0.1, share=0.5, units_per_day=384)
    fall = replace(rise, baseline=0.55, lift=-0.1)
    assert sequential(rise) == sequential(fall)
    assert fixed(rise) == fixed(fall)


def test_the_mean_lies_between_the_first_look_and_the_last() -> None:
    found = sequential(replace(ASKED, share=0.1))
    by_hand = found.look_days[0] + sum(
        1.0 - chance for day, chance in zip(found.look_days, found.chances, strict=True) if day < found.days
    )
    assert found.mean_days == pytest.approx(by_hand)
    assert found.look_days[0] < found.mean_days < found.days
    assert found.early == max(
        chance
        for day, chance in zip(found.look_days, found.chances, strict=True)
        if day <= fixed(replace(ASKED, share=0.1)).days
    )


def test_before_the_first_look_nobody_has_stopped() -> None:
    found = sequential(replace(ASKED, lift=0.4))
    assert fixed(replace(ASKED, lift=0.4)).days < found.look_days[0]
    assert found.early == 0.0


def test_looks_thin_out_where_it_takes_longer_than_60_days() -> None:
    found = sequential(replace(ASKED, units_per_day=20.0))
    assert found.every_days > 1.0
    assert len(found.look_days) == 60


@pytest.mark.parametrize(
    "asked",
    [
        replace(ASKED, trials_per_unit=8.0, icc=0.2),
        replace(ASKED, trials_per_unit=8.0, icc=1.0),
        replace(ASKED, trials_per_unit=3.4, icc=0.1, cv=0.48),
        replace(ASKED, trials_per_unit=15.0, icc=0.1, cv=1.0),
        replace(ASKED, trials_per_unit=2.5, icc=0.3),
        replace(ASKED, lift=-0.05, share=0.2),
        replace(ASKED, correlation=0.4),
    ],
)
def test_drawn_experiments_find_as_often_as_computed(asked: Question) -> None:
    plan = sequential(asked)
    found = simulated(asked, plan, 3000, np.random.default_rng(11))
    drawn = [found.fixed, found.sequential] + ([found.shadow] if found.shadow else [])
    assert (found.shadow is None) == (asked.correlation is None)
    for each in drawn:
        assert each.low - 0.03 <= each.computed <= each.high + 0.03


@pytest.mark.parametrize(("mean", "cv"), [(3.4, 0.48), (15.0, 1.0), (2.5, 0.0), (8.0, 0.0), (40.0, 1.8)])
def test_units_have_the_mean_and_the_spread_that_are_asked(mean: float, cv: float) -> None:
    asked = replace(ASKED, trials_per_unit=mean, cv=cv)
    sizes = _sizes(asked, 400_000, np.random.default_rng(3))
    assert sizes.min() >= 1
    assert sizes.mean() == pytest.approx(mean, rel=0.02)
    assert sizes.std() / mean == pytest.approx(cv, abs=0.02 + (mean % 1.0 > 0.0) * 0.2 * (cv == 0.0))


def test_what_cannot_be_drawn_is_said() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(DesignError, match="at least 1 decision"):
        simulated(replace(ASKED, cv=0.5), sequential(ASKED), 10, rng)
    steep = replace(ASKED, baseline=0.1, lift=0.6, correlation=0.9)
    found = simulated(steep, sequential(steep), 10, rng)
    assert (found.shadow, "no two such rates" in found.why) == (None, True)


def test_the_shadow_needs_a_correlation() -> None:
    assert shadow(ASKED) is None
    low, high = (shadow(replace(ASKED, correlation=r)) for r in (0.0, 0.8))
    assert low is not None
    assert high is not None
    assert high.units < low.units < fixed(ASKED).units


def test_simulated_runs_stop_as_often_as_computed() -> None:
    found, rng, runs = sequential(ASKED), np.random.default_rng(7), 4000
    days, e, c = len(found.look_days), ASKED.share, ASKED.baseline
    treated = rng.binomial(384, e, (runs, days))
    wins = rng.binomial(treated, c + ASKED.lift) - c * treated
    others = 384 - treated
    sums = np.cumsum((1 - e) * wins - e * (rng.binomial(others, c) - c * others), axis=1)
    rho = rho_of(rate_variance(), ASKED.plan_units, ASKED.alpha)
    radii = [boundary.radius(ASKED.spread * 384 * day, rho, ASKED.alpha) for day in found.look_days]
    stopped = np.maximum.accumulate(sums >= radii, axis=1).mean(axis=0)
    for seen, chance in zip(stopped, found.chances, strict=True):
        assert abs(seen - chance) <= 4 * math.sqrt(chance * (1 - chance) / runs) + 0.01


@pytest.mark.parametrize(
    "wrong", [{"share": 1.0}, {"lift": 0.0}, {"lift": 0.5}, {"units_per_day": 0.0}, {"icc": 2.0},
              {"power": 0.01}, {"correlation": 1.0}, {"trials_per_unit": 0.5}],
)  # fmt: skip
def test_values_outside_their_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DesignError):
        replace(ASKED, **wrong)
