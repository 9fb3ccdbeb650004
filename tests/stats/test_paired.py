"""The paired sequence: its laws, and its error rate in a world of correlated, heavy-tailed windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.errors import DesignError, UnitsError
from stats.paired import LEAST_CLUSTERS, paired, paired_low

SEEDS = st.integers(0, 2**32 - 1)


def world(seed, windows, mean=0.0, shared=0.5, tails=None):
    """About four units a window, of which `shared` of the variance is the window's own."""
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 8, windows)
    cluster = np.repeat(np.arange(windows), count)

    def noise(size):
        return rng.standard_normal(size) if tails is None else rng.standard_t(tails, size)

    own = np.sqrt(1 - shared) * noise(len(cluster))
    return mean + np.sqrt(shared) * noise(windows)[cluster] + own, cluster


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(20, 200), st.floats(0.01, 1e6))
def test_swapping_the_arms_turns_the_sign_and_money_scales(seed, windows, factor):
    values, cluster = world(seed, windows, mean=0.1)
    one, other = paired(values, cluster, 100.0), paired(-factor * values, cluster, 100.0)
    assert one.status == other.status
    assert other.estimate == pytest.approx(-factor * one.estimate)
    if one.status == "ok":
        assert (other.low, other.high) == pytest.approx((-factor * one.high, -factor * one.low))
        assert other.p == pytest.approx(one.p)
        assert one.low < one.estimate < one.high


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(1, 100))
def test_the_order_within_a_window_means_nothing(seed, windows):
    values, cluster = world(seed, windows)
    mixed = np.random.default_rng(seed).permutation(len(values))
    one, other = paired(values, cluster, 50.0), paired(values[mixed], cluster[mixed], 50.0)
    assert (one.status, one.units, one.clusters) == (other.status, other.units, other.clusters)
    assert one.estimate == pytest.approx(other.estimate)
    assert one.low == pytest.approx(other.low)


def test_one_unit_a_window_is_the_plain_mean():
    values, cluster = np.random.default_rng(1).normal(0.3, 1.0, 400), np.arange(400)
    found = paired(values, cluster, 200.0)
    assert found.estimate == pytest.approx(values.mean())
    assert found.error == pytest.approx(values.std(ddof=1) / 20.0)


def test_copies_of_a_unit_in_its_window_bring_no_certainty():
    """Four assets that move as one are one piece of evidence."""
    values, cluster = np.random.default_rng(2).normal(0.0, 1.0, 100), np.arange(100)
    one, four = paired(values, cluster, 50.0), paired(np.repeat(values, 4), np.repeat(cluster, 4), 50.0)
    assert (four.low, four.high) == pytest.approx((one.low, one.high))


@pytest.mark.parametrize(("windows", "said"), [(0, "0 of at least 20"), (19, "19 of at least 20")])
def test_few_windows_say_nothing(windows, said):
    values, cluster = world(3, windows)
    found = paired(values, cluster, 50.0)
    assert (found.status, found.low, found.p) == ("not_ready", None, None)
    assert said in found.reason


def test_no_variation_says_nothing():
    found = paired(np.full(60, 0.25), np.arange(60), 50.0)
    assert (found.status, found.estimate, found.low) == ("degenerate", 0.25, None)


def test_rare_large_losses_are_waited_for():
    values = np.zeros(100)
    values[::50] = -40.0
    found = paired(values + np.random.default_rng(4).normal(0, 0.1, 100), np.arange(100), 50.0)
    assert found.status == "not_ready"
    assert "skewed" in found.reason


def test_what_breaks_a_rule_is_refused():
    with pytest.raises(UnitsError, match="finite"):
        paired(np.array([np.nan]), np.array([0]), 50.0)
    with pytest.raises(UnitsError, match="one cluster for each"):
        paired(np.zeros(2), np.array([0]), 50.0)
    with pytest.raises(DesignError):
        paired(np.zeros(2), np.zeros(2, np.int64), 50.0, alpha=1.0)


RUNS = 600


@pytest.mark.parametrize("tails", [None, 4])
def test_peeking_after_every_window_errs_with_alpha_at_most(tails):
    """Null: at any of 300 looks the sequence excludes 0 in at most 5% of runs, and p says so when it does."""
    wrong = by_p = 0
    for seed in range(RUNS):
        values, cluster = world(seed, 300, tails=tails)
        by_p += (paired(values, cluster, 150.0).p or 1.0) < 0.05
        looks = (
            paired(values[cluster < k], cluster[cluster < k], 150.0) for k in range(LEAST_CLUSTERS, 301, 20)
        )
        wrong += any(look.status == "ok" and not look.low <= 0.0 <= look.high for look in looks)
    most = RUNS * 0.05 + 2 * np.sqrt(RUNS * 0.05 * 0.95)
    assert wrong <= most
    assert by_p <= most


def test_a_true_difference_is_found():
    found = paired(*world(7, 300, mean=0.4), 150.0)
    assert found.low > 0.0
    assert found.p < 0.001


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(20, 200), st.sampled_from([0.01, 0.05]))
def test_from_below_it_is_nearer_than_the_two_sided_bound(seed, windows, level):
    """One side of the error saved; by less than what a two-sided bound of twice the level would give."""
    values, cluster = world(seed, windows, mean=0.1)
    one, both = paired_low(values, cluster, 100.0, level), paired(values, cluster, 100.0, level)
    assert (one.status, one.reason, one.estimate) == (both.status, both.reason, both.estimate)
    if one.status == "ok":
        assert both.low < one.low < one.estimate
        scaled = paired_low(100.0 * values, cluster, 100.0, level)
        assert scaled.low == pytest.approx(100.0 * one.low)


def test_from_below_it_holds_at_every_look():
    """P(low > mean at any look) <= 0.05 + 2 MCSE, a look every five windows."""
    crossed, runs = 0, 400
    for seed in range(runs):
        values, cluster = world(seed, 120)
        looks = (values[cluster < k] for k in range(20, 121, 5))
        crossed += any((paired_low(v, cluster[: len(v)], 60.0, 0.05).low or -1.0) > 0.0 for v in looks)
    assert crossed / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
    assert crossed > 0
