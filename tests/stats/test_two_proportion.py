"""Two win rates: laws that hold for any counts, and the score's restricted rates by their definition."""

import math
import warnings

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

from stats.errors import DesignError, UnitsError
from stats.exact_test import MOST_UNITS, barnard, boschloo, fisher, fisher_greater
from stats.interval import agresti_coull, clopper_pearson, wilson, wilson_corrected
from stats.noninferiority import equal_within, not_worse, rate_equal_within, rate_not_worse
from stats.relative_risk import adjusted_log_ratio, log_ratio, score_ratio
from stats.score_difference import mee, mee_z, miettinen_nurminen
from stats.two_by_two import TwoByTwo
from stats.two_proportion import agresti_caffo, likelihood_ratio, newcombe, pooled_z, unpooled_z, yates_z

INTERVALS = (newcombe, agresti_caffo, miettinen_nurminen, mee, unpooled_z)
TESTS = (pooled_z, yates_z, likelihood_ratio, unpooled_z, agresti_caffo, miettinen_nurminen, mee)


@st.composite
def tables(draw, most=400):
    trials = [draw(st.integers(1, most)) for _ in range(2)]
    wins = [draw(st.integers(0, count)) for count in trials]
    return TwoByTwo(wins[0], trials[0], wins[1], trials[1])


def swapped(table):
    return TwoByTwo(table.wins_0, table.trials_0, table.wins_1, table.trials_1)


def losses(table):
    return TwoByTwo(
        table.trials_1 - table.wins_1, table.trials_1, table.trials_0 - table.wins_0, table.trials_0
    )


def close(ours, theirs, rel=1e-9):
    assert ours == pytest.approx(theirs, rel=rel, abs=1e-9)


@given(tables(), st.sampled_from(INTERVALS), st.sampled_from([0.01, 0.05, 0.2]))
def test_an_interval_contains_its_estimate_and_turns_with_the_arms(table, method, alpha):
    found, other, opposite = (method(each, alpha) for each in (table, swapped(table), losses(table)))
    if found.low is None:
        assert method is unpooled_z
        assert found.status == other.status == "degenerate"
        return
    assert found.low <= found.estimate <= found.high
    close(other.low, -found.high)
    close(other.high, -found.low)
    close(opposite.low, -found.high)
    close(opposite.high, -found.low)


@given(tables(), st.sampled_from((newcombe, miettinen_nurminen, mee)))
def test_score_intervals_are_never_of_width_0_and_never_leave_the_possible(table, method):
    found = method(table)
    assert -1.0 <= found.low < found.high <= 1.0


@given(tables(), st.sampled_from(TESTS))
def test_a_test_turns_with_the_arms(table, method):
    found, other = method(table), method(swapped(table))
    if found.statistic is None:
        assert found.status == "degenerate"
        return
    close(other.statistic, -found.statistic)
    close(other.p, found.p)
    assert 0.0 <= found.p <= 1.0


@given(tables(), st.sampled_from((miettinen_nurminen, mee)), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_interval_is_what_the_test_does_not_reject(table, method, alpha):
    found = method(table, alpha)
    for end in (found.low, found.high):
        if -1.0 < end < 1.0 and end != found.estimate:
            close(method(table, margin=-end).p, alpha, rel=1e-6)


def likelihood(table, difference, rate_0):
    def part(wins, trials, rate):
        inside = min(max(rate, 1e-300), 1.0)
        return (wins * math.log(inside) if wins else 0.0) + (
            (trials - wins) * math.log(max(1.0 - rate, 1e-300)) if wins < trials else 0.0
        )

    return part(table.wins_0, table.trials_0, rate_0) + part(
        table.wins_1, table.trials_1, min(1.0, max(0.0, rate_0 + difference))
    )


@given(tables(most=60), st.floats(-0.95, 0.95))
def test_the_restricted_rates_are_the_likeliest_ones(table, difference):
    """The variance inside z is that of the likeliest rates whose difference is the one tested."""
    z = mee_z(table, difference)
    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)
    for _ in range(120):  # the likelihood has one peak
        left, right = low + (high - low) / 3.0, high - (high - low) / 3.0
        if likelihood(table, difference, left) < likelihood(table, difference, right):
            low = left
        else:
            high = right
    rate = 0.5 * (low + high)
    other = min(1.0, max(0.0, rate + difference))
    variance = other * (1.0 - other) / table.trials_1 + rate * (1.0 - rate) / table.trials_0
    assume(variance > 1e-6)
    assert z == pytest.approx((table.difference - difference) / math.sqrt(variance), rel=1e-4, abs=1e-4)


@given(tables())
def test_as_statsmodels_has_them(table):
    counts, trials = [table.wins_1, table.wins_0], [table.trials_1, table.trials_0]
    both = (table.wins_1, table.trials_1, table.wins_0, table.trials_0)
    low, high = confint_proportions_2indep(*both, compare="diff", method="newcomb")
    close(newcombe(table).low, low)
    close(newcombe(table).high, high)
    close(agresti_caffo(table).low, confint_proportions_2indep(*both, method="agresti-caffo")[0])
    if 0.0 < table.pooled < 1.0:
        z, p = proportions_ztest(counts, trials)
        close(pooled_z(table).statistic, z)
        close(pooled_z(table).p, p)


@given(st.integers(1, 1000), st.data(), st.sampled_from([0.01, 0.05, 0.2]))
def test_intervals_of_one_rate(trials, data, alpha):
    wins = data.draw(st.integers(0, trials))
    for ours, name in ((wilson, "wilson"), (clopper_pearson, "beta"), (agresti_coull, "agresti_coull")):
        found = ours(wins, trials, alpha)
        low, high = proportion_confint(wins, trials, alpha, method=name)
        close(found.low, low)
        close(found.high, high)
        assert 0.0 <= found.low <= wins / trials <= found.high <= 1.0
    plain, corrected = wilson(wins, trials, alpha), wilson_corrected(wins, trials, alpha)
    assert corrected.low <= plain.low + 1e-12
    assert corrected.high >= plain.high - 1e-12


def test_newcombes_published_table():
    """Newcombe 1998, Table II, examples a, b, c: four printed decimals."""
    printed = {
        (56, 70, 48, 80): ((0.0533, 0.3377), (0.0528, 0.3382), (0.0524, 0.3339)),
        (9, 10, 3, 10): ((0.1821, 0.8370), (0.1700, 0.8406), (0.1705, 0.8090)),
        (5, 56, 0, 29): ((-0.0313, 0.1926), (-0.0326, 0.1933), (-0.0381, 0.1926)),
    }
    for counts, ends in printed.items():
        for method, (low, high) in zip((mee, miettinen_nurminen, newcombe), ends, strict=True):
            found = method(TwoByTwo(*counts))
            assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_where_statsmodels_score_interval_crashes():
    with warnings.catch_warnings(action="ignore"), pytest.raises(ValueError, match="NaN"):
        confint_proportions_2indep(10, 10, 0, 10, compare="diff", method="score")
    found = miettinen_nurminen(TwoByTwo(10, 10, 0, 10))
    assert (round(found.low, 4), found.high) == (0.6636, 1.0)


@given(tables(), st.sampled_from((log_ratio, adjusted_log_ratio, score_ratio)))
def test_a_ratio_turns_over_with_the_arms(table, method):
    found, other = method(table), method(swapped(table))
    if found.low is None or found.low == 0.0 or found.high is None:
        return
    assert found.low <= found.ratio <= found.high
    close(other.low, 1.0 / found.high, rel=1e-8)
    close(other.high, 1.0 / found.low, rel=1e-8)


def test_a_ratio_that_statsmodels_score_interval_leaves_out_is_not_rejected():
    """20/20 v 15/20: the likeliest rates with p1 = 1.1 p0 are 0.9625 and 0.875, z = 1.88 < 1.96."""
    low, _ = confint_proportions_2indep(20, 20, 15, 20, compare="ratio", method="score")
    assert low > 1.14
    z = (1.0 - 1.1 * 0.75) / math.sqrt((0.9625 * 0.0375 / 20 + 1.21 * 0.875 * 0.125 / 20) * 40 / 39)
    assert z < 1.96
    assert score_ratio(TwoByTwo(20, 20, 15, 20)).low < 1.1


@given(tables(), st.floats(0.0, 0.9))
def test_non_inferiority_and_equivalence(table, margin):
    found = rate_not_worse(table, margin)
    assert 0.0 <= found.p <= 1.0
    assert found.p <= rate_equal_within(table, margin)
    shown = found.p < 0.025
    if abs(found.p - 0.025) > 1e-6:
        assert shown == (found.low > -margin)


@given(tables(), st.floats(0.0, 0.9))
def test_tost_of_a_comparison_is_the_larger_one_sided_p(table, margin):
    found = unpooled_z(table)
    if found.error is None:
        assert not_worse(found, margin) is None
        return
    opposite = unpooled_z(swapped(table))
    larger = max(not_worse(found, margin), not_worse(opposite, margin))
    close(equal_within(found, margin), larger)


@given(tables(most=8))
def test_exact_tests_on_small_counts(table):
    for method in (boschloo, barnard, fisher, fisher_greater):
        assert 0.0 < method(table).p <= 1.0
    one_sided = [fisher_greater(each).p for each in (table, losses(table))]
    assert boschloo(table).statistic == pytest.approx(min(one_sided))


def test_exact_tests_refuse_what_the_score_does_as_well():
    table = TwoByTwo(100, 200, 30, MOST_UNITS - 199)
    assert boschloo(table).status == barnard(table).status == "invalid_design"
    assert fisher(table).status == "ok"


def test_rules():
    with pytest.raises(UnitsError, match="3 wins in 2 trials"):
        TwoByTwo(3, 2, 0, 1)
    with pytest.raises(DesignError, match="alpha is 0"):
        newcombe(TwoByTwo(1, 2, 1, 2), 0.0)
    with pytest.raises(DesignError, match=r"margin is -0\.1"):
        rate_not_worse(TwoByTwo(1, 2, 1, 2), -0.1)
    with pytest.raises(DesignError, match=r"margin is 1\.5"):
        mee(TwoByTwo(1, 2, 1, 2), margin=1.5)
