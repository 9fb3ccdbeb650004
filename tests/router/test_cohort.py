"""Who is mature when: by the start alone, so that an arm that reports late does not look better early."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cohort import cohort_of
from router.definition import experiment_of
from store.unit_columns import UnitColumns

UNITS = 50
EXPERIMENT = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, 0)
SPAN_US = (EXPERIMENT.unit_duration_s + EXPERIMENT.attribution_s) * 1_000_000
STARTS_US = np.arange(UNITS, dtype=np.int64) * 60_000_000


def columns(delays_us, fill="live"):
    """Units that started a minute apart, of both arms, whose outcomes came so long after the start."""
    arm = np.where(np.arange(UNITS) % 2, "transformer", "base").astype(object)
    words = {"arm": arm, "weights": np.full(UNITS, "{}", object), "excluded": np.full(UNITS, None, object)}
    ones = dict.fromkeys((f.name for f in fields(UnitColumns)), np.ones(UNITS, dtype=np.int64))
    times = {"started_at_us": STARTS_US, "last_at_us": STARTS_US, "settled_at_us": STARTS_US + delays_us}
    return UnitColumns(**ones | words | times | {"fill": np.full(UNITS, fill, object)})


delays = st.lists(st.integers(1, SPAN_US), min_size=UNITS, max_size=UNITS).map(np.array)
moments = st.integers(0, int(STARTS_US[-1]) + 2 * SPAN_US)


@given(delays_us=delays, now_us=moments)
def test_a_delay_within_the_window_changes_nothing_at_any_look(delays_us, now_us):
    """Whatever it is, and however it differs between arms: the cohort of every look is the same."""
    found, prompt = (cohort_of(EXPERIMENT, columns(d), now_us) for d in (delays_us, np.ones(UNITS, np.int64)))
    for name in ("mature", "pending", "missing", "matured_at_us"):
        assert np.array_equal(getattr(found, name), getattr(prompt, name)), name
    assert found.mature.sum() == np.count_nonzero(now_us >= STARTS_US + SPAN_US)


@given(now_us=moments, late=st.integers(0, UNITS - 1))
def test_what_comes_after_the_window_is_missing_for_ever(now_us, late):
    delays_us = np.ones(UNITS, dtype=np.int64)
    delays_us[late] = SPAN_US + 1
    found = cohort_of(EXPERIMENT, columns(delays_us), now_us)
    assert not found.mature[late]
    assert found.missing[late] == (STARTS_US[late] + SPAN_US <= now_us)


def test_a_replayed_unit_is_mature_when_it_has_reported():
    found = cohort_of(EXPERIMENT, columns(np.arange(UNITS), fill="replay"), 0)
    assert found.mature.all()
    assert np.array_equal(found.matured_at_us, STARTS_US + np.arange(UNITS))
    waiting = replace(columns(np.arange(UNITS), fill="replay"), reported=np.zeros(UNITS, dtype=np.int64))
    assert not cohort_of(EXPERIMENT, waiting, 0).mature.any()


@pytest.mark.parametrize("name", ["pnl_micro", "stake_micro", "fee_micro"])
def test_money_beyond_what_can_be_is_excluded(name):
    odd = np.ones(UNITS, dtype=np.int64)
    odd[3] = 2**61 + 1
    found = cohort_of(EXPERIMENT, replace(columns(np.ones(UNITS, np.int64)), **{name: odd}), 10 * SPAN_US)
    assert found.excluded.nonzero()[0].tolist() == [3]
    assert found.beyond[3]
