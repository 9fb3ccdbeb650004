"""Do stages agree, when a stage has few units: Welch's test, beside the libraries', and how often it errs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, ttest_ind
from statsmodels.stats.oneway import anova_oneway

from stats.errors import UnitsError
from stats.stage_pool import agreement, fixed_effect

STAGES = st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(0.01, 0.2)), min_size=2, max_size=6)


def means_of(groups):
    """(means, errors, dfs) of groups of values."""
    errors = [float(np.std(group, ddof=1)) / math.sqrt(len(group)) for group in groups]
    return [float(np.mean(group)) for group in groups], errors, [len(group) - 1 for group in groups]


@pytest.mark.parametrize("sizes", [(5, 9), (4, 6, 30), (20, 20, 300, 7), (8, 9, 10, 11, 12, 90)])
def test_it_is_welch_s_analysis_of_variance(sizes):
    rng = np.random.default_rng(sum(sizes))
    groups = [rng.normal(0.1 * index, 1.0 + index, size) for index, size in enumerate(sizes)]
    expected = anova_oneway(groups, use_var="unequal", welch_correction=True)
    assert agreement(*means_of(groups)) == pytest.approx(expected.pvalue, rel=1e-9)


def test_with_two_stages_it_is_welch_s_t():
    rng = np.random.default_rng(1)
    groups = rng.normal(0.0, 1.0, 12), rng.normal(0.7, 3.0, 40)
    assert agreement(*means_of(groups)) == pytest.approx(ttest_ind(*groups, equal_var=False).pvalue, rel=1e-9)


@given(STAGES)
def test_where_the_errors_are_known_it_is_cochran_s_q(stages):
    """Q = sum w (y - mean)^2 with w = 1/se^2, chi-square on stages - 1 (Cochran 1954)."""
    effects, errors = np.array(stages).T
    weights = errors**-2
    q = float(np.sum(weights * (effects - np.average(effects, weights=weights)) ** 2))
    expected = chi2.sf(q, len(stages) - 1)
    assert fixed_effect(effects, errors).p_q == pytest.approx(expected, rel=1e-7, abs=1e-300)
    known = agreement(effects, errors, [1e12] * len(stages))
    assert known == pytest.approx(expected, rel=1e-5, abs=1e-12)


@given(STAGES, st.floats(5.0, 100.0))
def test_two_stages_with_few_units_are_said_to_disagree_with_more_reserve(stages, df):
    effects, errors = zip(*stages[:2], strict=True)
    assert agreement(effects, errors, [df] * 2) >= fixed_effect(effects, errors).p_q * (1.0 - 1e-9)


def test_who_agrees_is_seldom_said_to_disagree_though_a_stage_is_small():
    """Stages of 12 units beside one of 2,000, 1% asked: Welch's at most 1% and 3 errors, Q far above."""
    rng, runs = np.random.default_rng(7), 4000
    said = {"welch": 0, "q": 0}
    for _ in range(runs):
        means, errors, dfs = means_of([rng.normal(0.0, 1.0, size) for size in (12, 12, 2000)])
        said["welch"] += agreement(means, errors, dfs) < 0.01
        said["q"] += fixed_effect(means, errors).p_q < 0.01
    print({name: f"{count / runs:.2%}" for name, count in said.items()})
    most = 0.01 + 3 * math.sqrt(0.01 * 0.99 / runs)
    assert said["welch"] <= runs * most < said["q"]


def test_one_stage_has_nothing_to_agree_with():
    assert agreement([0.1], [0.02], [30.0]) is None
    assert agreement([], [], []) is None


@pytest.mark.parametrize("dfs", [[30.0], [30.0, 0.0], [30.0, math.nan]])
def test_every_stage_has_its_degrees_of_freedom(dfs):
    with pytest.raises(UnitsError, match="one per stage"):
        agreement([0.1, 0.2], [0.1, 0.1], dfs)
