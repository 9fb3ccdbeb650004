"""Quantiles, shortfall and what another policy would have earned: exact chances, no simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom

from stats.errors import DesignError, UnitsError
from stats.off_policy import (
    Logged,
    Model,
    direct,
    doubly_robust,
    ips,
    self_normalised_doubly_robust,
    shrunk_doubly_robust,
    snips,
    support,
    switch_doubly_robust,
    unsupported_mass,
    weights_of,
    whole_episodes,
)
from stats.quantile import clustered_quantile, quantile
from stats.ratio import FEW_UNITS
from stats.shortfall import shortfall, shortfall_difference

MONEY = arrays(np.float64, st.integers(1, 60), elements=st.integers(-500, 500).map(float))


@given(MONEY, st.floats(0.05, 0.95), st.sampled_from([0.05, 0.2]))
def test_a_quantiles_interval_holds_it_as_often_as_stated(values, level, alpha):
    found = quantile(values, level, alpha)
    assert found.value == np.quantile(values, level)
    low = -math.inf if found.low is None else found.low
    high = math.inf if found.high is None else found.high
    assert low <= found.value <= high
    below, above = found.low_rank, found.high_rank  # P(low_rank <= X < high_rank), X of the binomial
    chance = binom.cdf(above - 1, len(values), level) - binom.cdf(below - 1, len(values), level)
    assert chance >= 1.0 - alpha - 1e-12


@given(MONEY, st.floats(0.05, 0.95))
def test_a_clustered_quantile_lies_in_its_interval(values, level):
    found = clustered_quantile(values, np.arange(len(values)) // 2, level)
    assert found.status == ("ok" if len(values) >= 2 * FEW_UNITS - 1 else "not_ready")
    assert found.low is None or found.low <= found.value
    assert found.high is None or found.value <= found.high


def test_a_clustered_quantile_of_copies_knows_that_they_are_copies():
    values, copies = np.random.default_rng(1).normal(size=200), 9
    repeated = np.repeat(values, copies)
    often = clustered_quantile(repeated, np.repeat(np.arange(200), copies), 0.5)
    naive, once = quantile(repeated, 0.5), quantile(values, 0.5)
    assert often.high - often.low > 2.0 * (naive.high - naive.low)
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.2)


@given(MONEY, st.integers(1, 20))
def test_shortfall_is_the_mean_of_the_worst(values, worst):
    if worst >= len(values):
        return
    share = worst / len(values)
    assert shortfall(values, share) == pytest.approx(np.sort(values)[:worst].mean(), abs=1e-9)


def test_shortfall_between_arms():
    rng = np.random.default_rng(1)
    values, treated = rng.normal(size=800), np.arange(800) % 2 == 0
    values[~treated] -= 3.0 * (rng.random(400) < 0.05)
    found = shortfall_difference(values, np.arange(800), treated, 0.1)
    assert found.status == "ok"
    assert found.low < found.estimate < found.high
    gap = shortfall(values[treated], 0.1) - shortfall(values[~treated], 0.1)
    assert found.estimate == pytest.approx(gap)
    early = shortfall_difference(values[:40], np.arange(40), treated[:40], 0.1)
    assert (early.status, early.low) == ("not_ready", None)
    assert "it takes 100 values an arm" in early.reason
    with pytest.raises(DesignError, match="share is 0"):
        shortfall(values, 0.0)


def decisions(actions, wanted, logging, rewards):
    """A log of the given actions: one state, `logging` and `wanted` probabilities per action."""
    picked = np.array(actions)
    weights = weights_of(np.array(wanted)[picked], np.array(logging)[picked])
    return Logged(np.array(rewards)[picked], weights, np.arange(len(picked)), stateless=True)


@given(st.floats(0.05, 0.95), st.floats(0.0, 1.0), st.floats(-5.0, 5.0), st.floats(-5.0, 5.0))
def test_estimates_are_right_on_average_over_all_logs(logging, wanted, first, second):
    """All 2^6 logs of two actions, weighed by their chances."""
    odds, aim, rewards = (logging, 1.0 - logging), (wanted, 1.0 - wanted), (first, second)
    truth = sum(p * r for p, r in zip(aim, rewards, strict=True))
    means = {"ips": 0.0, "dr": 0.0, "dm": 0.0}
    for actions in itertools.product((0, 1), repeat=6):
        chance = math.prod(odds[action] for action in actions)
        log = decisions(actions, aim, odds, rewards)
        wrong = Model(np.full(6, 0.7), np.full(6, 0.7))  # a model that knows nothing
        means["ips"] += chance * ips(log).estimate
        means["dr"] += chance * doubly_robust(log, wrong).estimate
        means["dm"] += chance * direct(log, wrong).estimate
    assert means["ips"] == pytest.approx(truth, abs=1e-9)
    assert means["dr"] == pytest.approx(truth, abs=1e-9)
    assert means["dm"] == pytest.approx(0.7)


def test_the_logging_policy_itself_is_its_mean_reward():
    rng = np.random.default_rng(2)
    rewards = rng.normal(size=200)
    log = Logged(rewards, np.ones(200), np.arange(200), stateless=True)
    for found in (ips(log), snips(log)):
        assert found.estimate == pytest.approx(rewards.mean())
        assert found.error == pytest.approx(rewards.std(ddof=1) / 200**0.5)
    assert (support(log).effective, support(log).largest, support(log).mean_weight) == (200.0, 1.0, 1.0)


def test_caps_shrink_and_switches_lean_on_the_model():
    log = Logged(
        np.array([1.0, 0.0, 1.0, 0.0]), np.array([20.0, 1.0, 0.5, 0.0]), np.arange(4), stateless=True
    )
    model = Model(np.full(4, 0.4), np.full(4, 0.5))
    assert ips(log, 10.0).estimate < ips(log).estimate
    assert switch_doubly_robust(log, model, 5.0).estimate == pytest.approx(0.5 + (-0.4 + 0.3) / 4)
    assert direct(log, model).estimate == 0.5
    near, far = (shrunk_doubly_robust(log, model, strength).estimate for strength in (1e12, 1e-12))
    assert near == pytest.approx(doubly_robust(log, model).estimate)
    assert far == pytest.approx(0.5)
    assert self_normalised_doubly_robust(log, model).status == "not_ready"


def test_no_overlap_says_nothing():
    log = Logged(np.ones(30), np.zeros(30), np.arange(30), stateless=True)
    assert ips(log).estimate == 0.0
    assert (snips(log).status, snips(log).estimate) == ("degenerate", None)
    assert support(log).effective == 0.0
    assert unsupported_mass(np.array([[0.2, 0.8]]), np.array([[1.0, 0.0]])) == pytest.approx(0.8)
    assert ips(Logged(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), stateless=True)).status == "not_ready"


def test_decisions_of_an_episode_are_refused_one_by_one():
    units = np.repeat(np.arange(25), 4)
    log = Logged(np.ones(100), np.full(100, 1.1), units, stateless=False)
    for method in (ips, snips):
        found = method(log)
        assert (found.status, found.estimate) == ("invalid_design", None)
        assert "whole_episodes" in found.reason
    together = whole_episodes(log)
    assert len(together) == 25
    assert together.weights == pytest.approx(np.full(25, 1.1**4))
    assert ips(together).estimate == pytest.approx(4.0 * 1.1**4)


def test_decisions_that_share_a_coin_make_the_error_wider():
    rng = np.random.default_rng(3)
    rewards = np.repeat(rng.normal(size=50), 8)
    units = np.repeat(np.arange(50), 8)
    alone = ips(Logged(rewards, np.ones(400), np.arange(400), stateless=True))
    together = ips(Logged(rewards, np.ones(400), units, stateless=True))
    assert together.estimate == pytest.approx(alone.estimate)
    assert together.error > 2.5 * alone.error


def test_rules():
    with pytest.raises(UnitsError, match="it was possible"):
        weights_of(np.array([0.5]), np.array([0.0]))
    with pytest.raises(UnitsError, match="target holds"):
        weights_of(np.array([1.5]), np.array([0.5]))
    with pytest.raises(DesignError, match="cap is 0"):
        ips(Logged(np.ones(1), np.ones(1), np.zeros(1, np.int64), stateless=True), 0.0)
    with pytest.raises(DesignError, match="level is 1"):
        quantile(np.ones(3), 1.0)
