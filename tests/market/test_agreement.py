"""Agreement with lessons: known answers, and probabilities that know themselves."""

import numpy as np
import pytest

from arms.episodes import Episode
from market.agreement import agreement, calibration_error


def episode(best, use=None):
    """One market whose state says which action is best: feature 0 holds it."""
    states = np.zeros((len(best), 18), dtype=np.float32)
    states[:, 0] = best
    values = np.eye(3, dtype=np.float32)[np.array(best)]
    return Episode("m", states, values, np.ones(len(best), bool) if use is None else np.array(use))


def says(probability, shift=0):
    """Sees feature 0 of the newest state; puts its probability on that action, moved on by `shift`."""

    def prober(histories, lengths):
        chosen = (histories[:, -1, 0].astype(int) + shift) % 3
        rest = (1.0 - probability) / 2.0
        return np.where(np.eye(3)[chosen] > 0, probability, rest).astype(np.float32)

    return prober


def test_who_knows_and_who_never_does():
    right = agreement(says(0.9), [episode([0, 0, 0, 1, 2])], 5)
    assert (right.ticks, right.accuracy, right.balanced_accuracy) == (5, 1.0, 1.0)
    assert right.calibration_error == pytest.approx(0.1, abs=1e-6)
    wrong = agreement(says(0.9, shift=1), [episode([0, 0, 0, 1, 2])], 5)
    assert (wrong.accuracy, wrong.balanced_accuracy) == (0.0, 0.0)
    assert wrong.calibration_error == pytest.approx(0.9, abs=1e-6)


def test_always_holding_looks_good_until_actions_count_alike():
    def holds(histories, lengths):
        return np.tile(np.array([0.8, 0.1, 0.1], dtype=np.float32), (len(histories), 1))

    found = agreement(holds, [episode([0] * 8 + [1, 2])], 5)
    assert found.accuracy == pytest.approx(0.8)
    assert found.balanced_accuracy == pytest.approx(1 / 3)
    assert found.calibration_error == pytest.approx(0.0, abs=1e-6)


def test_only_marked_ticks_count_and_none_is_no_number():
    some = agreement(says(0.9), [episode([0, 1, 2], [False, True, False])], 5)
    assert some.ticks == 1
    assert agreement(says(0.9), [episode([0, 1], [False, False])], 5) is None


def test_many_batches_are_one():
    rng = np.random.default_rng(3)
    best = rng.integers(0, 3, 10_000).tolist()
    assert agreement(says(0.7), [episode(best)], 2).accuracy == 1.0


def test_calibration_by_hand():
    confidence, hits = np.array([0.95, 0.95, 0.55, 0.55, 1.0]), np.array([True, False, True, True, True])
    by_hand = (abs(1.9 + 1.0 - 2) + abs(1.1 - 2)) / 5
    assert calibration_error(confidence, hits) == pytest.approx(by_hand)
