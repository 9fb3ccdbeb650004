"""Named looks and the sequence share one error budget."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.errors import DesignError
from stats.group_sequential import obrien_fleming_like, spending_boundaries
from stats.hybrid import crosses, hybrid, surprises
from stats.moments import grouped_moments
from stats.sequence import Look

_FRACTIONS = st.lists(st.floats(0.1, 0.95), min_size=0, max_size=3, unique=True).map(
    lambda found: [*sorted(round(f, 2) for f in set(np.round(found, 2))), 1.0]
)


def look_of(rates, units=200, sd=0.5):
    """Both arms with as many units, e = 1/2, means `rates`."""
    values = np.concatenate([rate + sd * np.tile([1.0, -1.0], units // 2) for rate in rates])
    group = np.repeat([0, 1], units)
    half, ones = np.full(2 * units, 0.5), np.ones(2 * units)
    control, treatment = grouped_moments(group, 2, half, ones, values)
    return Look(treatment, control, 0.25 * 2 * units, 0.0, 0.0)


@settings(max_examples=40, deadline=None)
@given(_FRACTIONS, st.floats(0.1, 0.9), st.floats(0.01, 0.2))
def test_the_parts_are_all_of_alpha(fractions, share, alpha):
    plan = hybrid(fractions, alpha, share)
    assert plan.alpha == pytest.approx(alpha)
    assert plan.named.spent[-1] == pytest.approx(share * alpha)
    alone = spending_boundaries(fractions, alpha, obrien_fleming_like)
    assert all(mine >= theirs for mine, theirs in zip(plan.named.critical, alone.critical, strict=True))


@pytest.mark.parametrize("came", [(0.36, 0.68, 1.0), (0.1, 0.2, 1.0), (0.9, 0.95, 1.0), (0.01, 0.02, 1.0)])
def test_information_that_comes_otherwise_costs_no_more_than_said(came):
    """Z at the named looks, under no effect, where they hold shares of the information nobody planned."""
    plan, rng, runs = hybrid([0.36, 0.68, 1.0]), np.random.default_rng(20260903), 400_000
    steps = rng.normal(size=(runs, 3)) * np.sqrt(np.diff([0.0, *came]))
    z = np.cumsum(steps, axis=1) / np.sqrt(came)
    crossed = float(np.any(np.abs(z) > plan.named.critical, axis=1).mean())
    noise = 3.0 * math.sqrt(0.04 / runs)
    assert crossed <= plan.worst_alpha - plan.sequence_alpha + noise
    if came == (0.36, 0.68, 1.0):
        assert crossed == pytest.approx(plan.named.spent[-1], abs=noise)
    assert plan.alpha < plan.worst_alpha < 0.056


@pytest.mark.parametrize("share", [0.0, 1.0, math.nan])
def test_each_part_gets_something(share):
    with pytest.raises(DesignError, match="inside"):
        hybrid([1.0], 0.05, share)


def test_a_named_look_asks_for_less_than_the_sequence():
    plan, rho = hybrid([0.5, 1.0]), 30.0
    moved = [gap / 1000 for gap in range(0, 300, 5)]
    named = next(gap for gap in moved if crosses(look_of((0.5, 0.5 + gap)), plan, 1))
    any_time = next(gap for gap in moved if surprises(look_of((0.5, 0.5 + gap)), plan, rho))
    assert named < any_time
    early = next(gap for gap in moved if crosses(look_of((0.5, 0.5 + gap)), plan, 0))
    assert named < early


def test_both_directions_are_the_same():
    plan = hybrid([1.0])
    for gap in (0.05, 0.1, 0.15, 0.2):
        up, down = look_of((0.5, 0.5 + gap)), look_of((0.5, 0.5 - gap))
        assert crosses(up, plan, 0) == crosses(down, plan, 0)
        assert surprises(up, plan, 30.0) == surprises(down, plan, 30.0)


def test_few_units_say_nothing():
    few = look_of((0.2, 0.9), units=10)
    assert not crosses(few, hybrid([1.0]), 0)
    assert not surprises(few, hybrid([1.0]), 30.0)
    empty = replace(few, treatment=replace(few.treatment, weight=0.0))
    assert not crosses(empty, hybrid([1.0]), 0)
