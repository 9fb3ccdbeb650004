"""Moments under merging: a commutative monoid, whose element of nothing is `Moments()`."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.moments import Moments, grouped_moments, merge

NOTHING = Moments()
rows = st.lists(
    st.tuples(st.floats(0.05, 1.0), st.integers(1, 50), st.floats(-100.0, 100.0)), min_size=0, max_size=12
)


def moments_of(units):
    """Of one set of (weight, trials, sum)."""
    if not units:
        return NOTHING
    weight, trials, sums = (np.array(column, dtype=np.float64) for column in zip(*units, strict=True))
    return grouped_moments(np.zeros(len(units), np.int64), 1, weight, trials, sums)[0]


def same(left, right):
    assert left.units == right.units
    assert astuple(left) == pytest.approx(astuple(right), rel=1e-9, abs=1e-6)


@given(rows)
def test_nothing_changes_nothing(units):
    found = moments_of(units)
    assert merge(found, NOTHING) == found == merge(NOTHING, found)


@given(rows, rows)
def test_sides_may_be_exchanged(left, right):
    same(merge(moments_of(left), moments_of(right)), merge(moments_of(right), moments_of(left)))


@given(rows, rows, rows)
def test_brackets_do_not_matter_and_all_of_it_is_the_whole(first, second, third):
    one, two, three = map(moments_of, (first, second, third))
    same(merge(merge(one, two), three), merge(one, merge(two, three)))
    same(merge(merge(one, two), three), moments_of(first + second + third))


@given(rows.filter(lambda units: len(units) > 1), st.floats(-1e9, 1e9))
def test_an_offset_of_a_billion_stays_out_of_the_spread(units, offset):
    """R + c N has the ratio c higher and the same spread."""
    moved = moments_of([(a, n, total + offset * n) for a, n, total in units])
    assert moved.ratio - offset == pytest.approx(moments_of(units).ratio, abs=1e-6)
    assert moved.spread == pytest.approx(moments_of(units).spread, rel=1e-5, abs=1e-2)
