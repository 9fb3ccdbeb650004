"""The pooled third moment: by its definition, day by day."""

import numpy as np
import pytest

from stats.skewness import running_third


def test_it_is_the_third_central_moment_around_each_arms_mean_so_far():
    rng = np.random.default_rng(3)
    day, treated = np.sort(rng.integers(0, 4, 300)), rng.random(300) < 0.3
    sums = rng.exponential(1e6, 300) + 5e6 * treated
    for last, found in enumerate(running_third(day, 4, treated, sums)):
        seen = day <= last
        rest = np.concatenate([sums[seen & arm] - sums[seen & arm].mean() for arm in (treated, ~treated)])
        assert found == pytest.approx(np.mean(rest**3))


def test_a_true_difference_is_no_skewness():
    treated = np.arange(100) % 10 == 0
    found = running_third(np.zeros(100, int), 1, treated, 7e6 * treated)
    assert found == pytest.approx([0.0], abs=1e-12 * 7e6**3)


def test_a_day_of_one_arm_only():
    found = running_third(np.zeros(3, int), 1, np.ones(3, bool), np.array([0.0, 0.0, 3.0]))
    assert found == pytest.approx([2.0])
