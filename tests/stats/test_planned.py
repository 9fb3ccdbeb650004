"""Planning, planned looks, several questions at once, stages put together: laws and second sources."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta as beta_distribution
from scipy.stats import multivariate_normal, norm
from statsmodels.stats.contingency_tables import StratifiedTable
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower, TTestIndPower

from stats import strata
from stats.beta_binomial import Beta, belief, difference_interval
from stats.design_effect import correlation, design_effect
from stats.errors import DesignError, UnitsError
from stats.futility import conditional_power, predictive_power, trend_power
from stats.group_sequential import (
    futility_bounds,
    in_student_t,
    inflation,
    obrien_fleming,
    obrien_fleming_like,
    pocock,
    pocock_like,
    power_of,
    power_spending,
    spending_boundaries,
)
from stats.multiplicity import (
    benjamini_hochberg,
    benjamini_yekutieli,
    bonferroni,
    e_bh,
    hochberg,
    holm,
    holm_sidak,
    hommel,
)
from stats.sample_size import (
    Plan,
    difference_for_means,
    difference_for_rates,
    power_for_rates,
    units_for_means,
    units_for_means_t,
    units_for_rates,
    units_for_rates_arcsine,
    units_for_rates_pooled,
)
from stats.stage_pool import fixed_effect, knapp_hartung, random_effects, random_effects_reml
from stats.two_by_two import TwoByTwo
from stats.two_proportion import pooled_z

SPENDINGS = (obrien_fleming_like, pocock_like, power_spending)
CORRECTIONS = {
    "bonferroni": bonferroni,
    "holm": holm,
    "holm-sidak": holm_sidak,
    "simes-hochberg": hochberg,
    "hommel": hommel,
    "fdr_bh": benjamini_hochberg,
    "fdr_by": benjamini_yekutieli,
}


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12), st.sampled_from(sorted(CORRECTIONS)))
def test_corrections_are_statsmodels(p_values, name):
    with np.errstate(divide="ignore"):
        theirs = multipletests(p_values, method=name)[1]
    assert CORRECTIONS[name](p_values) == pytest.approx(list(theirs), rel=1e-9, abs=1e-15)


@given(st.lists(st.floats(0.0, 1.0), max_size=12))
def test_corrections_in_order_of_their_strength(p_values):
    found = {name: CORRECTIONS[name](p_values) for name in CORRECTIONS}
    order = ("fdr_bh", "hommel", "simes-hochberg", "holm", "bonferroni")
    for stronger, weaker in itertools.pairwise(order):
        for one, other in zip(found[stronger], found[weaker], strict=True):
            assert one <= other + 1e-12
    assert all(0.0 <= p <= 1.0 for each in found.values() for p in each)


@given(st.lists(st.floats(0.0, 1000.0), min_size=1, max_size=10), st.sampled_from([0.05, 0.2]))
def test_e_bh_is_bh_on_the_reciprocals(e_values, alpha):
    rejected = [p <= alpha for p in benjamini_hochberg([min(1.0, 1.0 / max(e, 1e-9)) for e in e_values])]
    assert e_bh(e_values, alpha) == rejected


def test_one_strong_e_value_among_many():
    assert e_bh([400.0, 1.0, 1.0, 1.0], 0.05) == [True, False, False, False]
    assert e_bh([50.0, 1.0, 1.0, 1.0], 0.05) == [False] * 4
    assert e_bh([], 0.05) == []
    with pytest.raises(UnitsError, match="outside"):
        holm([0.5, float("nan")])


def crossing_chance(fractions, critical, drift, sided):
    """1 - P(all Z inside), from scipy's multivariate normal."""
    times = np.array(fractions)
    covariance = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    means = drift * np.sqrt(times)
    lower = -np.array(critical) if sided == 2 else np.full(len(times), -np.inf)
    inside = multivariate_normal.cdf(critical, means, covariance, abseps=1e-7, lower_limit=lower)
    return 1.0 - float(inside)


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("sided", [1, 2])
def test_all_of_alpha_is_spent_and_no_more(spending, sided):
    fractions = (0.3, 0.55, 1.0)
    found = spending_boundaries(fractions, 0.05, spending, sided)
    assert found.spent[-1] == pytest.approx(0.05)
    assert crossing_chance(fractions, found.critical, 0.0, sided) == pytest.approx(0.05, abs=2e-5)
    for shaped in (pocock, obrien_fleming):
        bounds = shaped(fractions, 0.05, sided)
        assert crossing_chance(fractions, bounds.critical, 0.0, sided) == pytest.approx(0.05, abs=2e-5)
        assert bounds.spent[-1] == pytest.approx(0.05)


def test_a_single_look_is_the_fixed_test():
    for spending in SPENDINGS:
        assert spending_boundaries([1.0], 0.05, spending, 2).critical[0] == pytest.approx(norm.isf(0.025))
    assert pocock([1.0], 0.05, 1).critical[0] == pytest.approx(norm.isf(0.05))


@given(
    st.lists(st.floats(0.02, 1.0), min_size=2, max_size=6, unique_by=lambda t: round(t * 50)),
    st.sampled_from(SPENDINGS),
    st.sampled_from([1, 2]),
)
def test_later_looks_change_no_earlier_boundary(times, spending, sided):
    fractions = sorted(times)
    if min(np.diff([0.0, *fractions])) < 0.01:
        return
    whole = spending_boundaries(fractions, 0.05, spending, sided)
    first = spending_boundaries(fractions[:-1], 0.05, spending, sided)
    assert whole.critical[:-1] == pytest.approx(first.critical, rel=1e-9)
    assert all(later >= earlier for earlier, later in itertools.pairwise(whole.spent))


def test_published_constants():
    """Jennison and Turnbull 2000, tables 2.1 and 2.3, five looks, two-sided 5%."""
    fifths = [0.2, 0.4, 0.6, 0.8, 1.0]
    assert pocock(fifths, 0.05).critical[0] == pytest.approx(2.413, abs=5e-4)
    assert obrien_fleming(fifths, 0.05).critical[-1] == pytest.approx(2.040, abs=5e-4)


def test_power_drift_and_inflation():
    bounds = spending_boundaries([0.5, 1.0], 0.025, obrien_fleming_like, 1)
    assert power_of(bounds, 0.0) == pytest.approx(0.025)
    assert power_of(bounds, 3.0) == pytest.approx(
        crossing_chance((0.5, 1.0), bounds.critical, 3.0, 1), abs=2e-5
    )
    assert 1.0 < inflation(bounds, 0.8) < 1.01
    assert 1.1 < inflation(spending_boundaries([0.5, 1.0], 0.025, pocock_like, 1), 0.8) < 1.2


def test_giving_up_costs_the_stated_power_and_no_alpha():
    bounds = spending_boundaries([0.4, 0.7, 1.0], 0.025, obrien_fleming_like, 1)
    low = futility_bounds(bounds, obrien_fleming_like, 0.2)
    assert len(low) == 2
    assert low[0] < low[1] < bounds.critical[-1]
    with pytest.raises(DesignError, match="one-sided"):
        futility_bounds(spending_boundaries([0.5, 1.0], 0.05, pocock_like, 2), pocock_like)


def test_a_z_as_a_t():
    assert in_student_t(norm.isf(0.025), 1e9) == pytest.approx(norm.isf(0.025), rel=1e-6)
    assert in_student_t(2.0, 10.0) > 2.0


def test_looks_too_near_or_backwards_are_refused():
    for fractions in ([0.5, 0.5], [0.5, 0.4], [], [0.5, 1.1], [0.0, 1.0]):
        with pytest.raises(DesignError, match="rising information fractions"):
            spending_boundaries(fractions, 0.05, pocock_like, 2)


@given(st.floats(-4.0, 4.0), st.floats(0.05, 0.95))
def test_predictive_power_is_conditional_power_averaged(z, fraction):
    """Over the posterior of the drift from a flat prior: normal around z/sqrt t, sd 1/sqrt t."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    drifts = (z + nodes) / math.sqrt(fraction)
    chances = [conditional_power(z, fraction, drift) for drift in drifts]
    average = float(weights @ chances) / float(weights.sum())
    assert predictive_power(z, fraction) == pytest.approx(average, abs=2e-3)
    assert 0.0 <= trend_power(z, fraction) <= 1.0
    assert conditional_power(z, fraction, 0.0) <= conditional_power(z, fraction, 3.0)


def test_before_any_information_nothing_is_predicted():
    assert trend_power(0.0, 0.0) is predictive_power(0.0, 0.0) is None
    assert conditional_power(0.0, 0.0, 0.0) == pytest.approx(0.025)


PLANS = st.builds(Plan, st.sampled_from([0.01, 0.05]), st.sampled_from([0.8, 0.9]), st.floats(0.2, 9.0))


@given(PLANS, st.floats(0.05, 0.8), st.floats(0.02, 0.15))
def test_sizes_give_the_power_they_promise(plan, rate, gap):
    units = units_for_rates_pooled(rate + gap, rate, plan)
    assert power_for_rates(units, rate + gap, rate, plan) == pytest.approx(plan.power, abs=1e-3)
    theirs = NormalIndPower().power(
        2.0 * (math.asin(math.sqrt(rate + gap)) - math.asin(math.sqrt(rate))),
        units_for_rates_arcsine(rate + gap, rate, plan),
        plan.alpha,
        ratio=plan.ratio,
    )
    assert theirs == pytest.approx(plan.power, abs=1e-4)
    shown = difference_for_rates(units_for_rates(rate + gap, rate, plan), rate, plan)
    assert shown == pytest.approx(gap, rel=1e-6)


@given(PLANS, st.floats(0.1, 1.5))
def test_sizes_for_means(plan, gap):
    units = units_for_means_t(gap, 2.0, plan)
    assert TTestIndPower().power(gap / 2.0, units, plan.alpha, ratio=plan.ratio) == pytest.approx(
        plan.power, abs=1e-4
    )
    assert units > units_for_means(gap, 2.0, plan)
    assert difference_for_means(units_for_means(gap, 2.0, plan), 2.0, plan) == pytest.approx(gap)


def test_what_no_size_can_show():
    plan = Plan()
    assert units_for_rates(0.5, 0.5, plan) is None
    assert units_for_means(0.0, 1.0, plan) is None
    assert difference_for_rates(2.0, 0.9, plan) is None
    with pytest.raises(DesignError, match="power is"):
        Plan(power=0.01)
    with pytest.raises(DesignError, match="a win rate lies"):
        units_for_rates(1.2, 0.5, plan)


def test_correlation_is_found_again():
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(3000), rng.poisson(4, 3000) + 1)
    values = np.sqrt(0.2) * rng.normal(size=3000)[cluster] + np.sqrt(0.8) * rng.normal(size=len(cluster))
    found = correlation(cluster, values + 1e9)
    assert found.icc == pytest.approx(0.2, abs=0.02)
    assert found.effective == pytest.approx(found.decisions / design_effect(found.size, found.icc, found.cv))
    assert correlation(np.arange(10), np.arange(10.0)) is None
    assert correlation(np.repeat([0, 1], 5), np.ones(10)) is None
    assert correlation(np.repeat([0, 1], 2), np.array([1.0, -1.0, 1.0, -1.0])).icc == 0.0


def test_ten_of_ten_against_none_of_ten():
    found = belief(TwoByTwo(10, 10, 0, 10))
    assert round(found.chance_to_win, 7) == 0.9999986
    assert found.loss_ship == pytest.approx(6.1633525e-08, rel=1e-6)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_chances_as_the_sum_over_whole_numbers(wins_1, lost_1, wins_0, lost_0):
    """P(p1 > p0) for whole posteriors (Miller 2015), and what follows from symmetry."""
    table = TwoByTwo(wins_1, wins_1 + lost_1, wins_0, wins_0 + lost_0)
    found, turned = belief(table), belief(TwoByTwo(wins_0, wins_0 + lost_0, wins_1, wins_1 + lost_1))
    a1, b1, a0, b0 = wins_1 + 1, lost_1 + 1, wins_0 + 1, lost_0 + 1

    def log_beta(a, b):
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    exact = math.fsum(
        math.exp(log_beta(a0 + i, b1 + b0) - math.log(b1 + i) - log_beta(1 + i, b1) - log_beta(a0, b0))
        for i in range(a1)
    )
    assert found.chance_to_win == pytest.approx(exact, abs=1e-10)
    assert found.chance_to_win + turned.chance_to_win == pytest.approx(1.0, abs=1e-12)
    assert found.loss_keep - found.loss_ship == pytest.approx(found.difference, abs=1e-12)
    assert (turned.loss_ship, turned.loss_keep) == pytest.approx(
        (found.loss_keep, found.loss_ship), abs=1e-12
    )


@given(st.floats(0.5, 300.0), st.floats(0.5, 300.0), st.floats(0.5, 300.0), st.floats(0.5, 300.0))
def test_the_credible_interval_of_the_difference(a1, b1, a0, b0):
    one, other = Beta(a1, b1), Beta(a0, b0)
    low, high = difference_interval(one, other, 0.1)
    turned = difference_interval(other, one, 0.1)
    assert (-turned[1], -turned[0]) == pytest.approx((low, high), abs=1e-7)
    assert -1.0 <= low < high <= 1.0
    assert one.interval(0.1) == pytest.approx(beta_distribution(a1, b1).ppf([0.05, 0.95]), rel=1e-6)


def test_the_interval_of_two_flat_beliefs_in_closed_form():
    assert difference_interval(Beta(1.0, 1.0), Beta(1.0, 1.0))[0] == pytest.approx(
        math.sqrt(0.05) - 1.0, abs=1e-14
    )


def test_correlated_trials_make_no_one_surer():
    table = TwoByTwo(60, 100, 50, 100, largest_cluster=10)
    assert belief(table).status == "invalid_design"
    deflated = belief(table, design_effect=4.0)
    assert 0.5 < deflated.chance_to_win < belief(TwoByTwo(60, 100, 50, 100)).chance_to_win
    with pytest.raises(DesignError, match=r"design_effect is 0\.5"):
        belief(table, design_effect=0.5)


@st.composite
def ramps(draw):
    stages = []
    for _ in range(draw(st.integers(2, 4))):
        trials = draw(st.integers(2, 60)), draw(st.integers(2, 60))
        stages.append(
            TwoByTwo(
                draw(st.integers(1, trials[0])), trials[0], draw(st.integers(0, trials[1] - 1)), trials[1]
            )
        )
    return stages


@given(ramps())
def test_stages_put_together_as_statsmodels_does(stages):
    cells = [
        np.array([[s.wins_1, s.trials_1 - s.wins_1], [s.wins_0, s.trials_0 - s.wins_0]], dtype=float)
        for s in stages
    ]
    with np.errstate(all="ignore"):
        theirs = StratifiedTable(cells)
        odds, risk, p = theirs.oddsratio_pooled, theirs.riskratio_pooled, theirs.test_null_odds().pvalue
    if np.isfinite(odds):
        assert strata.odds_ratio(stages) == pytest.approx(odds)
    if np.isfinite(risk):
        assert strata.risk_ratio(stages) == pytest.approx(risk)
    assert strata.cochran_mantel_haenszel(stages) == pytest.approx(p, abs=1e-12)


def test_a_ramp_reverses_what_pooled_counts_say():
    """Crook et al., KDD 2009: better on both days, worse when the days are added up."""
    days = [TwoByTwo(230, 10_000, 20_000, 990_000), TwoByTwo(6_000, 500_000, 5_000, 500_000)]
    assert all(day.difference > 0.0 for day in days)
    assert pooled_z(TwoByTwo(6_230, 510_000, 25_000, 1_490_000)).estimate < 0.0
    for method in (strata.mantel_haenszel, strata.inverse_variance, strata.post_stratified):
        assert method(days).low > 0.0
    assert strata.overlap_score(days, [0.01, 0.5], 0.5).tau > 0.0


@given(st.lists(st.tuples(st.floats(-1.0, 1.0), st.floats(0.01, 0.5)), min_size=2, max_size=8))
def test_pools_agree_where_stages_do_and_widen_where_they_do_not(stages):
    effects, errors = zip(*stages, strict=True)
    fixed, moments, likely = (
        pool(effects, errors) for pool in (fixed_effect, random_effects, random_effects_reml)
    )
    assert fixed.q == pytest.approx(moments.q)
    assert 0.0 <= fixed.p_q <= 1.0
    for pool in (moments, likely):
        assert pool.tau2 >= 0.0
        assert pool.pooled.error >= fixed.pooled.error * (1.0 - 1e-12)
        assert min(effects) - 1e-9 <= pool.pooled.estimate <= max(effects) + 1e-9
    if fixed.q < len(stages) - 1:
        assert moments.tau2 == 0.0
    assert knapp_hartung(effects, errors, moments.tau2).df in (None, len(stages) - 1)


def test_stages_that_disagree_are_found():
    pool = fixed_effect([0.1, -0.1], [0.02, 0.02])
    assert pool.q == pytest.approx(50.0)
    assert pool.p_q < 1e-11
    assert fixed_effect([0.1], [0.02]).p_q is None
    assert fixed_effect([], []).pooled.status == "not_ready"
    with pytest.raises(UnitsError, match="leave that stage out"):
        fixed_effect([0.1, 0.2], [0.1, 0.0])
