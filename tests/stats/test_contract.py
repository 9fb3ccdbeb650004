"""The edge-case contract: what each method answers at each edge, and that none ever answers NaN."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stats.beta_binomial import belief
from stats.cluster_bootstrap import cluster_bootstrap
from stats.clustered import cr1, cr2, cr3
from stats.clusters import LARGEST, Clusters, pair_of_rows, pair_of_values
from stats.comparison import Comparison
from stats.cuped import ancova, cuped, lin
from stats.exact_test import barnard, boschloo, fisher
from stats.lift import delta_lift, log_lift, log_lift_z
from stats.noninferiority import rate_not_worse, rate_not_worse_corrected
from stats.quantile import clustered_quantile, quantile
from stats.ratio import ratio_t, ratio_z
from stats.relative_risk import adjusted_log_ratio, log_ratio, score_ratio
from stats.score_difference import mee, miettinen_nurminen
from stats.shortfall import shortfall_difference
from stats.strata import inverse_variance, mantel_haenszel, post_stratified
from stats.two_by_two import TwoByTwo
from stats.two_proportion import agresti_caffo, likelihood_ratio, newcombe, pooled_z, unpooled_z, yates_z
from stats.welch import mann_whitney, welch, yuen

QUICK = (
    agresti_caffo,
    likelihood_ratio,
    mee,
    miettinen_nurminen,
    newcombe,
    pooled_z,
    unpooled_z,
    yates_z,
)
EXACT = (barnard, boschloo, fisher)
RATIOS = (adjusted_log_ratio, log_ratio, score_ratio)
OF_UNITS = (ratio_t, ratio_z, cr1, cr2, cr3, log_lift, log_lift_z, delta_lift)
OF_VALUES = (welch, yuen, mann_whitney)


def numbers_in(result):
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if dataclasses.is_dataclass(value):
            yield from numbers_in(value)
        elif isinstance(value, float | int) and not isinstance(value, bool):
            yield field.name, float(value)


def check(result, may_be_infinite=("statistic",)):
    """No NaN, infinity only where a z is; a status that is not ok has its sentence; probabilities are."""
    for name, value in numbers_in(result):
        assert not math.isnan(value), (result, name)
        assert math.isfinite(value) or name in may_be_infinite, (result, name)
        if name in {"p", "chance_to_win"}:
            assert 0.0 <= value <= 1.0
    assert result.status in {"ok", "not_ready", "degenerate", "invalid_design"}
    assert result.status == "ok" or result.reason
    low, high = getattr(result, "low", None), getattr(result, "high", None)
    if low is not None and high is not None:
        assert low <= high


COUNTS = st.one_of(st.integers(0, 3), st.integers(0, 300), st.sampled_from([10**6, 10**9, 2**40]))


@st.composite
def tables(draw):
    counts = []
    for _ in range(2):
        trials = draw(COUNTS)
        wins = draw(st.one_of(st.just(0), st.just(trials), st.integers(0, trials)))
        counts += [wins, trials]
    return TwoByTwo(*counts, largest_cluster=draw(st.sampled_from([1, 1, 1, 7])))


@given(tables())
def test_no_counts_give_nan(table):
    for method in (*QUICK, *RATIOS, rate_of_margin, rate_of_margin_corrected):
        check(method(table))
    for method in (mantel_haenszel, inverse_variance, post_stratified):
        check(method([table, table]))
    if table.units < 10**7:
        check(belief(table, design_effect=2.0))


@given(tables())
def test_no_counts_give_nan_from_an_exact_test(table):
    if table.units <= 40:
        for method in EXACT:
            check(method(table))


def rate_of_margin(table):
    return rate_not_worse(table, 0.02)


def rate_of_margin_corrected(table):
    return rate_not_worse_corrected(table, 0.02)


SIZES = st.one_of(
    st.just(0.0),
    st.floats(-10.0, 10.0),
    st.floats(-LARGEST, LARGEST),
    st.sampled_from([1e-300, 5e-324, -1e74]),
)
VALUES = arrays(np.float64, st.integers(0, 25), elements=SIZES)


@given(VALUES, VALUES)
def test_no_values_give_nan(treatment, control):
    pair = pair_of_values(treatment, control)
    for method in OF_UNITS:
        check(method(*pair))
    for method in OF_VALUES:
        check(method(treatment, control))
    for values in (treatment, control):
        check(quantile(values, 0.1))
        check(clustered_quantile(values, np.arange(len(values)) // 2, 0.5))


@given(VALUES, VALUES, st.booleans())
def test_no_covariate_gives_nan(outcome, known, same):
    count = min(len(outcome), len(known))
    y, x = outcome[:count], outcome[:count] if same else known[:count]
    treated = np.arange(count) % 2 == 0
    check(cuped(*pair_of_values(y[treated], y[~treated]), x[treated], x[~treated]))
    check(ancova(y, treated, x))
    check(lin(y, treated, x))


@st.composite
def decisions(draw):
    count = draw(st.integers(0, 30))
    cluster = draw(arrays(np.int64, count, elements=st.integers(0, 8)))
    return cluster, cluster % 2 == 0, draw(arrays(np.float64, count, elements=SIZES))


@given(decisions())
def test_no_clusters_give_nan(rows):
    pair = pair_of_rows(*rows)
    for method in OF_UNITS:
        check(method(*pair))
    check(cluster_bootstrap(*pair, 100, np.random.default_rng(1)))
    cluster, treated, values = rows
    check(shortfall_difference(values, cluster, treated, 0.5))


EMPTY, NOTHING = TwoByTwo(0, 0, 3, 10), np.zeros(0)


@pytest.mark.parametrize("method", [*QUICK, *EXACT, *RATIOS])
def test_an_empty_arm_is_not_ready(method):
    found = method(EMPTY)
    assert found.status == "not_ready"
    assert [value for _, value in numbers_in(found)] == []


@pytest.mark.parametrize("method", [*OF_UNITS])
def test_an_arm_without_units_is_not_ready(method):
    found = method(*pair_of_values(NOTHING, np.arange(30.0)))
    assert (found.status, found.low, found.p) == ("not_ready", None, None)


@pytest.mark.parametrize("method", [ratio_t, ratio_z, cr1, cr2, cr3])
def test_one_unit_in_an_arm_has_a_value_and_no_interval(method):
    found = method(*pair_of_values(np.array([3.0]), np.arange(30.0)))
    assert found == Comparison(status="not_ready", reason=found.reason, estimate=3.0 - 14.5)


def test_one_trial_in_an_arm_is_judged_exactly():
    assert boschloo(TwoByTwo(1, 1, 0, 9)).p == pytest.approx(0.1, abs=0.05)
    found = miettinen_nurminen(TwoByTwo(1, 1, 0, 9))
    assert (found.status, found.high) == ("ok", 1.0)


@pytest.mark.parametrize("wins", [0, 20])
def test_no_or_all_wins_in_one_arm(wins):
    table = TwoByTwo(wins, 20, 7, 20)
    for method in (newcombe, miettinen_nurminen, mee):
        found = method(table)
        assert found.status == "ok"
        assert -1.0 < found.low < found.estimate < found.high < 1.0
    assert boschloo(table).p < 0.05


@pytest.mark.parametrize("wins", [(0, 0), (20, 30)])
def test_no_or_all_wins_in_both_arms(wins):
    table = TwoByTwo(wins[0], 20, wins[1], 30)
    for method in (pooled_z, boschloo, fisher):
        assert method(table).p == pytest.approx(1.0)
    found = newcombe(table)
    assert (found.status, found.estimate) == ("ok", 0.0)
    assert found.low < 0.0 < found.high
    assert unpooled_z(table).status == "degenerate"


@pytest.mark.parametrize(("treatment", "control"), [(2.0, 2.0), (2.0, 1.0), (0.1, 0.1), (1e9, 1e9)])
@pytest.mark.parametrize("method", [ratio_t, ratio_z, cr1, cr2, cr3])
def test_without_variance_there_is_a_value_and_nothing_else(method, treatment, control):
    found = method(*pair_of_values(np.full(30, treatment), np.full(40, control)))
    assert found.status == "degenerate"
    assert found.estimate == pytest.approx(treatment - control)
    assert (found.error, found.p, found.low, found.high) == (None, None, None, None)


@pytest.mark.parametrize("method", [*QUICK, *EXACT, *RATIOS])
def test_clustered_trials_are_refused(method):
    found = method(TwoByTwo(30, 60, 20, 60, largest_cluster=5))
    assert found.status == "invalid_design"
    assert "share one coin" in found.reason


def test_fewer_than_twenty_units_an_arm_are_doubted():
    rng = np.random.default_rng(4)
    found = cr2(*pair_of_values(rng.normal(size=8), rng.normal(size=50)))
    assert found.status == "not_ready"
    assert found.df < 10.0
    assert found.low < found.high


def test_one_unit_with_a_fifth_of_the_decisions_is_doubted():
    rng = np.random.default_rng(5)
    sizes = np.append(np.ones(40), 11.0)
    found = cr1(Clusters(sizes, rng.normal(size=41)), Clusters(np.ones(41), rng.normal(size=41)))
    assert found.status == "degenerate"
    assert "one unit holds 22%" in found.reason
    assert found.low < found.high
