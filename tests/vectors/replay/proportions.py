"""Win rates: one, two, two within stages, and what may be believed of them."""

from scipy.stats import nchypergeom_fisher

from replay.compare import ROOT, Listed, Method, Tolerance
from replay.shape import ends, table_of
from stats import strata
from stats.beta_binomial import Beta, belief, difference_interval
from stats.comparison import by_normal, by_student
from stats.exact_test import (
    barnard,
    barnard_unpooled,
    binomial_p,
    boschloo,
    conditional_odds_ratio,
    fisher,
    fisher_greater,
    odds_ratio,
)
from stats.interval import agresti_coull, clopper_pearson, wilson, wilson_corrected
from stats.noninferiority import rate_equal_within, rate_not_worse, rate_not_worse_corrected
from stats.ratio import satterthwaite
from stats.relative_risk import adjusted_log_ratio, log_ratio, score_ratio
from stats.score_difference import mee, miettinen_nurminen
from stats.two_proportion import agresti_caffo, likelihood_ratio, newcombe, pooled_z, unpooled_z, yates_z


def one_rate(given):
    wins, trials = given["x"], given["n"]
    beta = Beta(wins + 0.5, trials - wins + 0.5)
    exact, score = ends(clopper_pearson(wins, trials)), ends(wilson(wins, trials))
    return {
        "statsmodels": {
            "wilson": score,
            "beta": exact,
            "jeffreys": list(beta.interval()),
            "agresti_coull": ends(agresti_coull(wins, trials)),
        },
        "scipy": {
            "exact": exact,
            "wilson": score,
            "wilsoncc": ends(wilson_corrected(wins, trials)),
            "p_half": binomial_p(wins, trials, 0.5),
        },
    }


def two_rate_tests(given):
    table = table_of(given)
    pooled, wald, shrunk, score = (
        pooled_z(table),
        unpooled_z(table),
        agresti_caffo(table),
        miettinen_nurminen(table),
    )
    unconditional, classic, other = boschloo(table), barnard(table), barnard_unpooled(table)
    conditional, corrected = fisher(table), yates_z(table)
    under_none = pooled if pooled.error is None else by_normal(pooled.estimate, pooled.error, 0.05)
    return {
        "statsmodels": {
            **named("pooled", pooled),
            **named("wald", wald),
            **named("agresti-caffo", shrunk),
            **named("score", score),
            **named("score_nocorr", mee(table)),
        },
        "scipy": {
            "fisher_p": conditional.p,
            "fisher_odds_ratio": odds_ratio(table),
            "fisher_p_greater": fisher_greater(table).p,
            "boschloo_p": unconditional.p,
            "boschloo_stat": unconditional.statistic,
            "barnard_p_pooled": classic.p,
            "barnard_stat_pooled": classic.statistic,
            "barnard_p_unpooled": other.p,
            "chi2_pearson_p": pooled.p,
            "chi2_yates_p": corrected.p,
            "chi2_g_p": likelihood_ratio(table).p,
        },
        "tea_tasting": {
            "ci_low": max(-1.0, under_none.low) if under_none.low is not None else None,
            "ci_high": min(1.0, under_none.high) if under_none.high is not None else None,
            "norm": pooled.p,
            "pearson": pooled.p,
            "log-likelihood": likelihood_ratio(table).p,
            "barnard": classic.p,
            "boschloo": unconditional.p,
            "fisher": conditional.p,
        },
        "R_stats": {
            "prop_test_p": pooled.p,
            "prop_test_wald_ci": None if wald.low is None else [max(-1.0, wald.low), min(1.0, wald.high)],
            "prop_test_yates_p": corrected.p,
            "fisher_p": conditional.p,
            "fisher_cmle_or": conditional_odds_ratio(table),
        },
        "gbstats": {"absolute": student(table, wald), "relative": {"diff": relative_risk(table)}},
    }


def student(table, wald):
    """Wald's error with Welch and Satterthwaite's t, as gbstats has it."""
    if wald.error is None:
        return {"diff": wald.estimate}
    (rate_1, rate_0), trials = table.rates, (table.trials_1, table.trials_0)
    variances = (rate_1 * (1.0 - rate_1) / trials[0], rate_0 * (1.0 - rate_0) / trials[1])
    dfs = (max(1, trials[0] - 1), max(1, trials[1] - 1))
    found = by_student(wald.estimate, wald.error, satterthwaite(variances, dfs), 0.05)
    return {"diff": found.estimate, "ci": ends(found), "p": found.p, "se": found.error}


def relative_risk(table):
    found = log_ratio(table).ratio
    return None if found is None else found - 1.0


def named(name, found):
    return {f"z_{name}": found.statistic, f"p_{name}": found.p}


def two_rate_intervals(given):
    table = table_of(given)
    return {
        "statsmodels": {
            "diff_wald": ends(unpooled_z(table)),
            "diff_agresti-caffo": ends(agresti_caffo(table)),
            "diff_newcomb": ends(newcombe(table)),
            "BUGGY_diff_score": ends(miettinen_nurminen(table)),
            "ratio_log": ends(log_ratio(table)),
            "ratio_log-adjusted": ends(adjusted_log_ratio(table)),
            "ratio_score": ends(score_ratio(table)),
        },
        "reference": {
            "mn": ends(miettinen_nurminen(table)),
            "mee": ends(mee(table)),
            "newcombe": ends(newcombe(table)),
            "agresti_caffo": ends(agresti_caffo(table)),
        },
    }


def not_inferior(given):
    table, margin = table_of(given), given["margin"]
    plain, corrected = rate_not_worse(table, margin), rate_not_worse_corrected(table, margin)
    return {
        "statsmodels": {
            "p_wald": unpooled_z(table, margin=margin).p_greater,
            "p_agresti-caffo": agresti_caffo(table, margin=margin).p_greater,
            "BUGGY_p_score": corrected.p,
        },
        "reference": {
            "z_fm": plain.statistic,
            "p_fm": plain.p,
            "z_mn": corrected.statistic,
            "p_mn": corrected.p,
            "mn95": ends(corrected),
            "newcombe90": ends(newcombe(table, alpha=0.1)),
            "tost_p": rate_equal_within(table, margin),
        },
    }


def beta_binomial(given):
    found = belief(table_of(given), given["a0"], given["b0"])
    exact = {
        "chance_to_win": found.chance_to_win,
        "expected_loss_ship": found.loss_ship,
        "expected_loss_keep": found.loss_keep,
        "diff_mean": found.difference,
        "ci95": list(difference_interval(found.treatment, found.control)),
        "post1": [found.treatment.a, found.treatment.b],
        "post0": [found.control.a, found.control.b],
    }
    gaussian = {
        "chance_to_win": found.chance_to_win,
        "expected": found.difference,
        "ci": exact["ci95"],
        "risk": [found.loss_keep, found.loss_ship],
    }
    return {
        "exact_quadrature": exact,
        "bayesian_testing": {
            "prob_being_best_t": found.chance_to_win,
            "expected_loss_t": found.loss_ship,
            "expected_loss_c": found.loss_keep,
        },
        "gbstats": {"absolute": gaussian},
    }


def stratified(given):
    stages = [table_of(stage) for stage in given["strata"]]
    weighted, inverse = strata.mantel_haenszel(stages), strata.inverse_variance(stages)
    by_size, score = strata.post_stratified(stages), overlap(stages, given["strata"])
    used = [stage for stage in stages if stage.trials_1 and stage.trials_0]
    naive = pooled_z(summed(stages))
    return {
        "statsmodels_formula": {
            "naive_pooled_diff": naive.estimate,
            "naive_pooled_p": naive.p,
            "mh_risk_diff": weighted.estimate,
            "mh_risk_diff_sato_se": weighted.error,
            "inv_var_diff": inverse.estimate,
            "inv_var_se": inverse.error,
            "post_strat_diff": by_size.estimate,
            "post_strat_se": by_size.error,
            "stage_diff": [stage.difference for stage in used],
            "stages_used": len(used),
            "cmh_p": strata.cochran_mantel_haenszel(stages),
            "mh_odds_ratio": strata.odds_ratio(stages),
            "mh_risk_ratio": strata.risk_ratio(stages),
            "overlap_score_tau_m05": score.tau,
            "overlap_score_V_m05": score.variance,
        }
    }


def overlap(stages, given):
    return strata.overlap_score(stages, [stage["e"] for stage in given], 0.5)


def summed(stages):
    return table_of(
        {
            "x1": sum(stage.wins_1 for stage in stages),
            "n1": sum(stage.trials_1 for stage in stages),
            "x0": sum(stage.wins_0 for stage in stages),
            "n0": sum(stage.trials_0 for stage in stages),
        }
    )


def no_wins_or_all(given, _theirs, _ours):
    return given["x1"] + given["x0"] in (0, given["n1"] + given["n0"])


def one_sided_arms(given, _theirs, _ours):
    """Each arm all wins or no wins: Wald's width is 0."""
    return all(given[f"x{arm}"] in (0, given[f"n{arm}"]) for arm in (1, 0))


def arm_without_wins(given, _theirs, _ours):
    return 0 in (given["x1"], given["x0"])


def arm_all_wins(given, _theirs, _ours):
    return given["x1"] == given["n1"] or given["x0"] == given["n0"]


def empty_arm(given, _theirs, ours):
    return ours is None and 0 in (given["n1"], given["n0"])


def no_answer(_given, theirs, _ours):
    return theirs in (0, 1)


def nearer_root(given, theirs, ours):
    """The odds ratio at which the wins expected of the treatment are those seen: ours is nearer."""
    if not theirs or not ours:
        return False
    margins = (given["n1"] + given["n0"], given["x1"] + given["x0"], given["n1"])
    misses = [abs(float(nchypergeom_fisher(*margins, odds).mean()) - given["x1"]) for odds in (ours, theirs)]
    return misses[0] < misses[1] and abs(ours / theirs - 1.0) < 0.01


def few_trials(given, theirs, ours):
    return given["n1"] + given["n0"] <= 60 and ours is not None and abs(theirs - ours) < 2e-6


EMPTY = "an arm without trials: contract 2.0 says not ready"
ZERO_OVER_ZERO = "0/0 at no or all wins in both arms: theirs is null, contract 2.0 says z = 0, p = 1"
WALD = "Wald's interval has width 0 when each arm is all wins or none: contract 2.0 forbids it"
GAUSSIAN = "gbstats BayesianABTest is a Gaussian approximation and ignores the prior"
NO_ERROR = "gbstats proportion variance has no n-1"
CMLE = "R stops near the likeliest odds ratio: the wins expected at ours are closer to those seen"
FIXED_NODES = (
    "the reference integrates a kink on fixed nodes: 2e-6 off for few trials (at 0 v 0: sqrt(.05) - 1)"
)
SCORE_RATIO = (
    "statsmodels' ratio score loses its root when an arm is all wins (20/20 v 15/20: 1.1 is not rejected)"
)

METHODS = {
    "one_proportion_ci": Method(
        one_rate,
        tolerances=(Tolerance("*", 1e-9, 1e-15),),
        listed=(
            Listed(
                "contract", "statsmodels/normal/*", "Wald's interval of one rate: contract 2.0 forbids it"
            ),
        ),
    ),
    "two_proportion_tests": Method(
        two_rate_tests,
        listed=(
            Listed("contract", "*", EMPTY, empty_arm),
            Listed(
                "contract",
                "*",
                ZERO_OVER_ZERO,
                lambda given, theirs, ours: theirs is None and no_wins_or_all(given, theirs, ours),
            ),
            Listed("contract", "statsmodels/*wald", WALD, one_sided_arms),
            Listed("contract", "R_stats/prop_test_wald_ci/*", WALD, one_sided_arms),
            Listed("limit", "R_stats/fisher_cmle_or", CMLE, nearer_root),
            Listed(
                "contract", "R_stats/fisher_cmle_or", "R says 0 where the odds ratio is 0/0", no_wins_or_all
            ),
            Listed(
                "contract", "gbstats/*", "gbstats answers 0 and p = 1 where an arm has no variance", no_answer
            ),
            Listed("fault", "gbstats/relative/*", NO_ERROR),
            Listed(
                "not offered", "tea_tasting/rel_ci*", "a relative interval with the variance of no difference"
            ),
        ),
    ),
    "two_proportion_ci": Method(
        two_rate_intervals,
        tolerances=(Tolerance("*/m??*", ROOT), Tolerance("*ratio_score*", ROOT)),
        listed=(
            Listed("contract", "*", EMPTY, empty_arm),
            Listed(
                "fault", "statsmodels/BUGGY_diff_score*", "statsmodels issue 10269: wrong restricted estimate"
            ),
            Listed("contract", "statsmodels/diff_wald/*", WALD, one_sided_arms),
            Listed("limit", "statsmodels/ratio_score/*", SCORE_RATIO, arm_all_wins),
            Listed(
                "contract",
                "statsmodels/ratio_log/*",
                "an arm without wins has no logarithm",
                arm_without_wins,
            ),
        ),
    ),
    "noninferiority": Method(
        not_inferior,
        tolerances=(Tolerance("reference/mn95/*", ROOT),),
        listed=(
            Listed("contract", "*", EMPTY, empty_arm),
            Listed(
                "fault", "statsmodels/BUGGY_p_score", "statsmodels issue 10269: wrong restricted estimate"
            ),
            Listed("contract", "statsmodels/p_wald", WALD, one_sided_arms),
        ),
    ),
    "bayes_beta_binomial": Method(
        beta_binomial,
        tolerances=(
            Tolerance("exact_quadrature/ci95/*", ROOT),
            Tolerance("exact_quadrature/*", 1e-8, 1e-14),
            Tolerance("bayesian_testing/*", 0.0, 4e-3, "Monte Carlo of 200,000 draws"),
        ),
        listed=(
            Listed("fault", "gbstats/*", GAUSSIAN),
            Listed("limit", "exact_quadrature/ci95/*", FIXED_NODES, few_trials),
        ),
    ),
    "ramp_stratified": Method(stratified, tolerances=(Tolerance("*", 1e-9, 1e-15),)),
}
