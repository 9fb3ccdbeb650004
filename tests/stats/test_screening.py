"""A prediction never knows its own reward; overlap is judged before an estimate is believed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.errors import DesignError, StatsError, UnitsError
from stats.off_policy import Logged, Model, doubly_robust
from stats.reward_model import FOLDS, cross_fitted, cross_fitted_by_action
from stats.screening import mean_weight, overlap, under, values


def log_of(weights, rewards=None, unit=None):
    weights = np.asarray(weights, dtype=np.float64)
    rewards = np.ones(len(weights)) if rewards is None else np.asarray(rewards, dtype=np.float64)
    return Logged(rewards, weights, np.arange(len(weights)) if unit is None else unit, stateless=True)


@given(st.integers(0, 2**32 - 1), st.integers(6, 60), st.integers(1, 4), st.floats(-1e6, 1e6))
def test_a_prediction_does_not_move_with_any_reward_of_its_fold(seed, rows, columns, shift):
    rng = np.random.default_rng(seed)
    features, rewards = rng.normal(size=(rows, columns)), rng.normal(size=rows)
    fold = rng.integers(0, FOLDS, rows)
    changed = np.where(fold == fold[0], rewards + shift, rewards)
    own = fold == fold[0]
    action = rng.integers(0, 3, rows)
    for predict in (
        lambda r: cross_fitted(features, r, fold),
        lambda r: cross_fitted_by_action(features, action, 3, r, fold),
    ):
        np.testing.assert_array_equal(predict(rewards)[own], predict(changed)[own])


@given(st.integers(0, 2**32 - 1), st.floats(-100.0, 100.0), st.floats(0.1, 10.0))
def test_predictions_follow_the_unit_of_money(seed, offset, scale):
    rng = np.random.default_rng(seed)
    features, rewards, fold = rng.normal(size=(40, 3)), rng.normal(size=40), np.arange(40) % FOLDS
    features[:, 2] = 7.0  # a feature that does not vary
    found = cross_fitted(features, offset + scale * rewards, fold)
    np.testing.assert_allclose(found, offset + scale * cross_fitted(features, rewards, fold), atol=1e-9)
    rescaled = cross_fitted(features * 1e3 + 5.0, rewards, fold)
    np.testing.assert_allclose(rescaled, (found - offset) / scale, atol=1e-6)


def test_a_line_is_found_and_nobody_is_nothing():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(5_000, 2))
    rewards = 2.0 + features @ np.array([3.0, -1.0])
    np.testing.assert_allclose(cross_fitted(features, rewards, np.arange(5_000) % FOLDS), rewards, atol=0.01)
    assert cross_fitted(features[:1], rewards[:1], np.zeros(1, np.int64)).tolist() == [0.0]
    never = cross_fitted_by_action(features, np.zeros(5_000, np.int64), 2, rewards, np.arange(5_000) % FOLDS)
    np.testing.assert_allclose(never[:, 1], never[:, 0], atol=1e-9)


def test_a_model_of_the_rewards_narrows_the_interval_and_moves_nothing():
    """Over many logs, doubly robust with a cross-fitted model is right on average."""
    rng, found = np.random.default_rng(2), []
    for _ in range(300):
        known = rng.normal(size=(200, 1))
        action = rng.random(200) < 0.4
        rewards = 3.0 * known[:, 0] + action
        weights = np.where(action, 0.7 / 0.4, 0.3 / 0.6)  # wants to act in 70%
        expected = cross_fitted(known, rewards, np.arange(200) % FOLDS)
        found.append(values(log_of(weights, rewards), Model(expected, expected), math.inf))
    for kind in ("ips", "dr"):
        estimates = np.array([getattr(each, kind).estimate for each in found])
        assert abs(estimates.mean() - 0.7) < 4.0 * estimates.std() / len(found) ** 0.5
        covered = np.mean([getattr(each, kind).low <= 0.7 <= getattr(each, kind).high for each in found])
        assert covered > 0.95 - 3.0 * (0.95 * 0.05 / len(found)) ** 0.5
    assert np.median([each.dr.error / each.ips.error for each in found]) < 0.9  # in theory 0.85


@given(st.lists(st.floats(0.0, 50.0), min_size=1, max_size=60), st.floats(0.5, 20.0))
def test_overlap_is_a_count_between_none_and_all(weights, cap):
    found = overlap(log_of(weights), 0.0, cap)
    assert 0.0 <= found.effective <= len(weights) * (1 + 1e-9)
    assert found.clipped == sum(w > cap for w in weights)
    assert found.largest == (max(weights) if any(weights) else 0.0)
    assert (found.status == "ok") or found.reason


def ok_weights():
    return np.tile([0.5, 1.5], 100)


@given(st.integers(-320, 0), st.lists(st.floats(0.1, 9.0), min_size=30, max_size=40))
def test_weights_of_long_episodes_are_tiny_and_still_numbers(power, weights):
    """Only their ratios matter to what is normalised by them."""
    rewards, tiny = np.arange(len(weights)) - 10.0, np.array(weights) * 10.0**power
    model = Model(rewards, rewards)
    found, plain = (values(log_of(w, rewards), model, 10.0).snips for w in (tiny, weights))
    assert found.estimate == pytest.approx(plain.estimate, rel=1e-2 if power < -300 else 1e-9)
    assert overlap(log_of(tiny), 0.0, 10.0).effective == pytest.approx(
        overlap(log_of(weights), 0.0, 10.0).effective, rel=1e-2 if power < -300 else 1e-9
    )


@pytest.mark.parametrize(
    ("weights", "unsupported", "status", "said"),
    [
        (ok_weights(), 0.0, "ok", ""),
        (ok_weights(), 0.01, "ok", ""),
        (ok_weights(), 0.011, "invalid_design", "1.1% of the other policy's probability"),
        ([], None, "not_ready", "no unit of the log"),
        (np.zeros(50), 0.0, "degenerate", "no overlap"),
        (np.r_[np.zeros(300), [20.0] * 10], 0.0, "not_ready", "310 units are worth 10.0 effective ones"),
        (np.full(50, 0.9) + ok_weights()[:50] / 100, 0.0, "invalid_design", "the mean weight is 0.91"),
    ],
)
def test_what_overlap_says(weights, unsupported, status, said):
    found = overlap(log_of(weights), unsupported, 10.0)
    assert found.status == status
    assert said in found.reason


def test_the_alarm_of_the_mean_weight_is_rare_where_nothing_is_wrong():
    rng = np.random.default_rng(3)
    alarms = [
        overlap(log_of(np.where(rng.random(200) < 0.4, 0.7 / 0.4, 0.3 / 0.6)), 0.0, 10.0).status != "ok"
        for _ in range(500)
    ]
    assert np.mean(alarms) <= 0.01


def test_numbers_stand_under_the_whole_screening():
    weights = ok_weights()
    found = values(log_of(weights), Model(weights, weights), 10.0)
    assert under(found, "ok", "") == found
    doubted = under(found, "not_ready", "few")
    assert (doubted.ips.status, doubted.ips.reason, doubted.ips.estimate) == ("not_ready", "few", 1.0)
    nothing = under(found, "invalid_design", "wrong")
    for kind in ("ips", "snips", "dr"):
        value = getattr(nothing, kind)
        assert (value.status, value.reason) == ("invalid_design", "wrong")
        assert value.estimate is value.low is value.high is None
    assert nothing.logged == doubted.logged == found.logged


def test_the_mean_weight_has_an_interval_by_unit():
    weights = np.repeat(ok_weights()[:50], 4)
    alone = mean_weight(log_of(weights))
    together = mean_weight(log_of(weights, unit=np.repeat(np.arange(50), 4)))
    assert together.error > 1.9 * alone.error
    assert doubly_robust(log_of(weights), Model(weights, weights)).status == "ok"


def test_rules():
    two, fold = np.zeros((2, 1)), np.zeros(2, np.int64)
    for wrong, kind, said in (
        (lambda: cross_fitted(two, np.zeros(3), fold), UnitsError, "differ in length"),
        (lambda: cross_fitted(np.full((2, 1), np.nan), np.zeros(2), fold), StatsError, "features"),
        (lambda: cross_fitted(two, np.zeros(2), fold + FOLDS), DesignError, "fold holds"),
        (lambda: cross_fitted_by_action(two, fold + 3, 3, np.zeros(2), fold), UnitsError, "from 0 to 2"),
    ):
        with pytest.raises(kind, match=said):
            wrong()
