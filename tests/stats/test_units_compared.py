"""Means and ratios between arms, units as rows: laws, exact arithmetic, the matrices behind closed forms."""

from fractions import Fraction

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stats.cluster_bootstrap import cluster_bootstrap
from stats.clustered import cr0_error, cr1, cr2, cr3
from stats.clusters import Clusters, of_rows, pair_of_rows, pair_of_values
from stats.cuped import adjust, ancova, cuped, cuped_z, lin
from stats.errors import DesignError, UnitsError
from stats.lift import delta_lift, log_lift, log_lift_z
from stats.moments import merge
from stats.ratio import ratio_t, ratio_z
from stats.regression import by_cluster, equal_variance, error_of, fit, hc1, hc2
from stats.welch import mann_whitney, welch, yuen
from stats.winsor import Caps, caps_from, winsorised

METHODS = (ratio_t, ratio_z, cr1, cr2, cr3)
LIFTS = (log_lift, log_lift_z, delta_lift)


def numbers(least=2, most=40):
    return arrays(
        np.float64, st.integers(least, most), elements=st.integers(-1000, 1000).map(lambda n: n / 8.0)
    )


@st.composite
def pairs(draw):
    arms = []
    for _ in range(2):
        sums = draw(numbers())
        trials = draw(arrays(np.float64, len(sums), elements=st.integers(0, 9).map(float)))
        trials[0] += 1.0
        arms.append(Clusters(trials, sums * np.minimum(trials, 1.0)))
    return arms[0], arms[1]


def rows(seed, units=30, size=6.0, effect=0.3):
    """Decisions nested in units of unequal size, correlated within a unit."""
    rng = np.random.default_rng(seed)
    sizes = rng.poisson(size, units) + 1
    cluster = np.repeat(np.arange(units), sizes)
    treated = (np.arange(units) % 3 == 0)[cluster]
    values = rng.normal(size=units)[cluster] + rng.normal(size=len(cluster)) + effect * treated
    return cluster, treated, values


@given(pairs(), st.sampled_from(METHODS), st.sampled_from([0.01, 0.05, 0.2]))
def test_an_interval_contains_its_estimate_and_turns_with_the_arms(pair, method, alpha):
    found, other = method(*pair, alpha), method(*pair[::-1], alpha)
    if found.low is None:
        assert found.p is None
        assert found.status != "ok"
        return
    assert found.low < found.estimate < found.high
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low), rel=1e-12, abs=1e-12)
    assert other.p == pytest.approx(found.p, rel=1e-9)


@given(pairs(), st.sampled_from(METHODS), st.sampled_from([2.0**-40, 0.125, 1024.0, 2.0**60]))
def test_an_interval_scales_with_the_money(pair, method, factor):
    found = method(*pair)
    scaled = method(*(Clusters(arm.trials, arm.sums * factor) for arm in pair))
    assert scaled.status == found.status
    if found.low is not None:
        assert scaled.low == found.low * factor
        assert scaled.high == found.high * factor
        assert scaled.p == found.p


@given(numbers(), numbers())
def test_a_common_offset_of_a_billion_costs_no_digit(treatment, control):
    found, shifted = welch(treatment, control), welch(treatment + 1e9, control + 1e9)
    assert shifted.estimate == pytest.approx(found.estimate, rel=1e-12, abs=1e-12)
    if found.error is not None:
        assert shifted.error == pytest.approx(found.error, rel=1e-12)
        assert shifted.p == pytest.approx(found.p, rel=1e-9)


def test_at_a_billion_as_exact_rational_arithmetic_says():
    """numpy's mean moves in steps of 1.2e-7 there; ours is right to the last digit."""
    rng = np.random.default_rng(5)
    treatment, control = (rng.normal(1e9, 1.0, count) for count in (40, 60))

    def exact(values):
        parts = [Fraction(float(value)) for value in values]
        mean = sum(parts) / len(parts)
        variance = sum((part - mean) ** 2 for part in parts) / (len(parts) - 1)
        return mean, variance / len(parts)

    (mean_1, part_1), (mean_0, part_0) = exact(treatment), exact(control)
    found = welch(treatment, control)
    assert found.estimate == pytest.approx(float(mean_1 - mean_0), rel=1e-14)
    assert found.error == pytest.approx(float(part_1 + part_0) ** 0.5, rel=1e-14)


def test_cuped_and_lin_at_a_hundred_million_as_exact_arithmetic_says():
    rng = np.random.default_rng(6)
    y, x = (np.round(rng.normal(1e8, 1.0, 40), 6) for _ in range(2))
    treated = np.arange(40) < 18
    near = adjust(
        *pair_of_values((y - 1e8)[treated], (y - 1e8)[~treated]), (x - 1e8)[treated], (x - 1e8)[~treated]
    )
    far = adjust(*pair_of_values(y[treated], y[~treated]), x[treated], x[~treated])
    assert far.theta == pytest.approx(near.theta, rel=1e-12)
    for method in (ancova, lin):
        here, there = method(y - 1e8, treated, x - 1e8), method(y, treated, x)
        assert there.estimate == pytest.approx(here.estimate, rel=1e-9)
        assert there.error == pytest.approx(here.error, rel=1e-9)


@given(pairs(), st.integers(1, 39))
def test_moments_of_parts_merge_to_those_of_the_whole(pair, cut):
    arm = pair[0]
    left, right = (Clusters(arm.trials[part], arm.sums[part]) for part in (slice(cut), slice(cut, None)))
    together, whole = merge(left.moments, right.moments), arm.moments
    assert together.ratio == pytest.approx(whole.ratio, rel=1e-9, abs=1e-9)
    assert together.ratio_variance == pytest.approx(whole.ratio_variance, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_closed_forms_are_the_sandwich_of_least_squares(seed):
    cluster, treated, values = rows(seed)
    pair = pair_of_rows(cluster, treated, values)
    design = np.stack([np.ones(len(values)), treated.astype(float)], axis=1)
    found = fit(design, values)
    assert cr1(*pair).estimate == pytest.approx(found.coefficients[1])
    assert cr1(*pair).error == pytest.approx(error_of(by_cluster(found, cluster), 1), rel=1e-10)
    theirs = sm.OLS(values, design).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    assert cr1(*pair).error == pytest.approx(theirs.bse[1], rel=1e-10)
    for ours, name in ((equal_variance(found), "nonrobust"), (hc1(found), "HC1"), (hc2(found), "HC2")):
        assert error_of(ours, 1) == pytest.approx(sm.OLS(values, design).fit(cov_type=name).bse[1], rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_cr2_by_its_matrices(seed):
    """Bell and McCaffrey 2002 with an identity working model, written out."""
    cluster, treated, values = rows(seed, units=14)
    design = np.stack([np.ones(len(values)), treated.astype(float)], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    hat = design @ inverse @ design.T
    rest, residuals = np.eye(len(values)) - hat, values - hat @ values
    meat, vectors = 0.0, []
    for name in np.unique(cluster):
        at = np.flatnonzero(cluster == name)
        eigen, basis = np.linalg.eigh(rest[np.ix_(at, at)])
        root = (
            basis @ np.diag(np.where(eigen > 1e-10, 1.0 / np.sqrt(np.maximum(eigen, 1e-10)), 0.0)) @ basis.T
        )
        row = (inverse @ design[at].T @ root)[1]
        meat += float(row @ residuals[at]) ** 2
        vectors.append(rest[:, at] @ row)
    gram = np.array([[a @ b for b in vectors] for a in vectors])
    found = cr2(*pair_of_rows(cluster, treated, values))
    assert found.error == pytest.approx(meat**0.5, rel=1e-8)
    assert found.df == pytest.approx(np.trace(gram) ** 2 / np.sum(gram**2), rel=1e-8)


def test_cr3_is_the_jackknife():
    cluster, treated, values = rows(9)
    pair = pair_of_rows(cluster, treated, values)
    whole = cr3(*pair)
    units, decisions = 30, len(values)
    left_out = [
        values[treated & (cluster != name)].mean() - values[~treated & (cluster != name)].mean()
        for name in range(units)
    ]
    spread = sum((one - whole.estimate) ** 2 for one in left_out)
    factor = units / (units - 1) * (decisions - 1) / (decisions - 2)
    assert whole.error == pytest.approx((spread * factor) ** 0.5, rel=1e-10)
    assert cr0_error(*pair) < cr1(*pair).error < cr3(*pair).error


def test_units_of_one_decision_are_welchs_test():
    rng = np.random.default_rng(1)
    treatment, control = rng.normal(size=31), rng.normal(1.0, 3.0, 25)
    assert ratio_t(*pair_of_values(treatment, control)) == welch(treatment, control)
    arms = [of_rows(np.arange(len(values)), values) for values in (treatment, control)]
    assert ratio_t(*arms).error == pytest.approx(welch(treatment, control).error)


def test_a_unit_without_trials_changes_no_ratio():
    pair = (Clusters(np.array([2.0, 3.0, 5.0]), np.array([1.0, 2.0, 2.0])),) * 2
    more = (Clusters(np.array([2.0, 3.0, 5.0, 0.0]), np.array([1.0, 2.0, 2.0, 0.0])), pair[1])
    assert ratio_t(*more).estimate == ratio_t(*pair).estimate == 0.0
    assert len(more[0]) == 4


@given(pairs(), st.sampled_from(LIFTS))
def test_a_lift_contains_its_value_or_says_why_there_is_none(pair, method):
    found = method(*pair)
    if found.low is None:
        assert found.status != "ok"
        assert found.reason
        return
    assert found.low <= found.value <= found.high
    assert pair[1].moments.ratio + pair[1].reference > 0.0


@given(pairs())
def test_log_lifts_turn_over_with_the_arms(pair):
    found, other = log_lift(*pair), log_lift(*pair[::-1])
    if found.low is not None and other.low is not None and other.high < 1e6:
        assert (1.0 + found.low) * (1.0 + other.high) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("method", LIFTS)
def test_no_relative_effect_on_a_control_that_loses_money(method):
    found = method(*pair_of_values(np.array([1.0, 2.0, 4.0]), np.array([-1.0, -2.0, 0.5])))
    assert (found.status, found.value, found.low) == ("degenerate", None, None)
    assert "read the difference" in found.reason


def test_a_covariate_takes_noise_out_and_leaves_the_effect():
    rng = np.random.default_rng(2)
    known, treated = rng.normal(size=400), np.arange(400) % 2 == 0
    outcome = 2.0 * known + 0.1 * rng.normal(size=400) + 0.5 * treated
    pair = pair_of_values(outcome[treated], outcome[~treated])
    raw, adjusted = ratio_t(*pair), cuped(*pair, known[treated], known[~treated])
    assert adjusted.error < raw.error / 10.0
    assert adjusted.low < 0.5 < adjusted.high
    for found in (ancova(outcome, treated, known), lin(outcome, treated, known)):
        assert found.estimate == pytest.approx(adjusted.estimate, abs=adjusted.error)
    assert cuped_z(*pair, known[treated], known[~treated]).error == adjusted.error


def test_a_constant_covariate_changes_nothing():
    rng = np.random.default_rng(3)
    pair = pair_of_values(rng.normal(size=30), rng.normal(size=30))
    found, plain = cuped(*pair, np.full(30, 7.0), np.full(30, 7.0)), ratio_t(*pair)
    assert (found.estimate, found.error) == pytest.approx((plain.estimate, plain.error), rel=1e-12)


def test_lin_is_a_regression_in_each_arm():
    _, treated, values = rows(4, units=60, size=0.0)
    known = np.sin(np.arange(len(values)))
    centred = known - known.mean()
    arms = [np.polyfit(centred[arm], values[arm], 1)[1] for arm in (treated, ~treated)]
    assert lin(values, treated, known).estimate == pytest.approx(arms[0] - arms[1])


def test_the_cluster_bootstrap_says_what_the_delta_method_says():
    pair = pair_of_rows(*rows(7, units=120))
    found, exact = cluster_bootstrap(*pair, 4000, np.random.default_rng(1)), ratio_t(*pair)
    assert found.status == "ok"
    assert found.error == pytest.approx(exact.error, rel=0.1)
    for interval in (found.percentile, found.studentised):
        assert interval[0] < exact.estimate < interval[1]
        assert interval[1] - interval[0] == pytest.approx(exact.high - exact.low, rel=0.15)
    assert found == cluster_bootstrap(*pair, 4000, np.random.default_rng(1))


def test_caps_come_from_history_and_hold_both_arms():
    history = np.arange(1000.0)
    caps = caps_from(history, 0.005)
    assert caps == Caps(5.0, 994.0)
    found = winsorised(np.array([-1e6, 500.0, 600.0]), np.array([400.0, 500.0, 600.0]), caps)
    assert (found.touched_treatment, found.touched_control) == (1, 0)
    assert found.capped.estimate == pytest.approx((5.0 + 500.0 + 600.0) / 3.0 - 500.0)
    assert found.raw.estimate < -300_000.0
    assert caps_from(np.zeros(0), 0.01) is None


def test_trimmed_means_and_ranks_forget_one_giant_loss():
    rng = np.random.default_rng(8)
    treatment, control = rng.normal(1.0, 1.0, 40), rng.normal(0.0, 1.0, 40)
    ruined = treatment.copy()
    ruined[np.argmin(ruined)] = -1e6
    assert welch(ruined, control).p > 0.1
    assert yuen(ruined, control).estimate == yuen(treatment, control).estimate
    assert mann_whitney(ruined, control).p == pytest.approx(mann_whitney(treatment, control).p, rel=0.2)


def test_few_units_and_a_giant_one_are_doubted_aloud():
    rng = np.random.default_rng(0)
    few = ratio_t(*pair_of_values(rng.normal(size=19), rng.normal(size=40)))
    assert (few.status, few.low is None) == ("not_ready", False)
    assert "19 units" in few.reason
    sizes = np.ones(40)
    sizes[0] = 15.0
    giant = cr2(Clusters(sizes, rng.normal(size=40)), Clusters(np.ones(40), rng.normal(size=40)))
    assert (giant.status, giant.low is None) == ("degenerate", False)
    assert "28% of an arm's trials: its units are worth 11.0 of equal size" in giant.reason


def test_rules():
    with pytest.raises(UnitsError, match="not finite"):
        welch(np.array([1.0, np.inf]), np.array([1.0, 2.0]))
    with pytest.raises(UnitsError, match="not finite"):
        welch(np.array([1.0, np.nan]), np.array([1.0, 2.0]))
    with pytest.raises(UnitsError, match="negative"):
        Clusters(np.array([-1.0]), np.array([0.0]))
    with pytest.raises(UnitsError, match="unit 7 is in both arms"):
        pair_of_rows(np.array([7, 7]), np.array([True, False]), np.array([1.0, 2.0]))
    with pytest.raises(DesignError, match="caps are"):
        Caps(2.0, 1.0)
    with pytest.raises(DesignError, match="draws is 10"):
        cluster_bootstrap(*pair_of_values(np.arange(3.0), np.arange(3.0)), 10, np.random.default_rng(0))
