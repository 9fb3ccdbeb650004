"""Rough sample sizes: they keep their promise in order of magnitude, and stay silent where nothing is."""

import pytest

from stats import boundary
from stats.needed import units_for_rate, units_needed, units_until_ready
from stats.scale import rho_of

RHO = rho_of(0.25, 2000, 0.05)


def test_nothing_known_nothing_said():
    assert units_needed(0.0, 100, 25.0, 6.0, RHO, 0.05) is None
    assert units_needed(0.1, 0, 0.0, 0.0, RHO, 0.05) is None
    assert units_needed(0.1, 100, 25.0, 0.0, RHO, 0.05) is None
    assert units_needed(1e-9, 100, 25.0, 6.0, RHO, 0.05) is None
    assert units_until_ready(0.0, 30, 0.0) is None
    assert units_until_ready(0.0, 500, 0.5) is None
    assert units_for_rate(0.1, 0.0, 2000, 0.05) is None


def test_enough_already_is_zero_more():
    assert units_needed(0.5, 1000, 250.0, 62.5, RHO, 0.05) == 0


def test_the_figure_is_where_the_bound_plus_luck_meets_the_effect():
    units = 100 + units_needed(0.1, 100, 25.0, 6.25, RHO, 0.05)
    information, variance = 0.25 * units, 0.0625 * units
    reached = boundary.radius(variance, RHO, 0.05) + 0.8416 * variance**0.5
    assert reached == pytest.approx(0.1 * information, rel=0.01)
    assert units == pytest.approx(units_for_rate(0.1, 0.5, 2000, 0.05), rel=0.01)


def test_twice_the_fixed_sample_at_most_about():
    """A fixed test of 50% against 60% at 80% power takes 776 units; peeking costs about 1.5 to 2.1 times."""
    assert 1.5 < units_for_rate(0.1, 0.5, 2000, 0.05) / 776 < 2.1


def test_a_ten_percent_split_takes_longer_to_be_ready():
    assert units_until_ready(0.0, 0, 0.1) == 200
    assert units_until_ready(10.0, 100, 0.1) == 100
    assert units_until_ready(25.0, 100, 0.1) == 0
    assert units_until_ready(25.0, 100, 0.1, 100.0) == 300
