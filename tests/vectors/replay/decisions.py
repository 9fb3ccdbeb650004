"""Planning, looking, pooling and correcting: what surrounds a test."""

import math

from replay.compare import ROOT, Listed, Method, Tolerance
from replay.shape import ends, floats
from stats import multiplicity, srm
from stats.boundary import p_from_log_e
from stats.design_effect import design_effect
from stats.exact_test import binomial_p
from stats.futility import conditional_power, predictive_power, trend_power
from stats.group_sequential import (
    futility_bounds,
    inflation,
    obrien_fleming,
    obrien_fleming_like,
    pocock,
    pocock_like,
    power_spending,
    spending_boundaries,
)
from stats.quantile import quantile
from stats.sample_size import (
    Plan,
    difference_for_means,
    power_for_rates,
    power_for_rates_arcsine,
    units_for_means,
    units_for_means_t,
    units_for_rates,
    units_for_rates_arcsine,
    units_for_rates_pooled,
)
from stats.share_sequence import share_bounds
from stats.special import normal_isf
from stats.stage_pool import (
    fixed_effect,
    knapp_hartung,
    random_effects,
    random_effects_at,
    random_effects_reml,
)

CORRECTIONS = {
    "bonferroni": multiplicity.bonferroni,
    "holm": multiplicity.holm,
    "hochberg": multiplicity.hochberg,
    "simes-hochberg": multiplicity.hochberg,
    "hommel": multiplicity.hommel,
    "holm-sidak": multiplicity.holm_sidak,
    "fdr_bh": multiplicity.benjamini_hochberg,
    "bh": multiplicity.benjamini_hochberg,
    "BH": multiplicity.benjamini_hochberg,
    "fdr_by": multiplicity.benjamini_yekutieli,
    "by": multiplicity.benjamini_yekutieli,
    "BY": multiplicity.benjamini_yekutieli,
}


def corrected(given):
    adjusted = {name: correct(given["p"]) for name, correct in CORRECTIONS.items()}
    return {"statsmodels": adjusted, "scipy": adjusted, "R_stats": adjusted}


def imbalance(given):
    counts, weights = given["counts"], given["weights"]
    chi, two = srm.chi_square([(counts, weights)]), len(counts) == 2
    exact = binomial_p(counts[0], sum(counts), weights[0] / sum(weights)) if two else None
    e_1, e_100 = (srm.log_e(counts, weights, strength) for strength in (1.0, 100.0))
    return {
        "scipy": {
            "chi2": chi.statistic,
            "chi2_p": chi.p,
            "g_p": srm.likelihood_ratio_p(counts, weights),
            "binom_p": exact,
        },
        "formula_dirichlet_multinomial": {
            "log_e_k1": e_1,
            "p_k1": p_from_log_e(e_1),
            "log_e_k100": e_100,
            "p_k100": p_from_log_e(e_100),
        },
        "tea_tasting": {"norm": chi.p, "binom": exact},
        "gbstats": {"p": chi.p},
        "savvi": {
            "log_e_k100": e_100,
            "p": p_from_log_e(e_100),
            "ci95_theta": shares(counts, weights) if two else None,
        },
    }


def shares(counts, weights):
    planned = [weight / sum(weights) for weight in weights]
    if 0 in planned:
        return None
    first = share_bounds(counts[0], counts[1], 0.05, 100.0 * planned[0], 100.0 * planned[1])
    return [ends(first), [1.0 - first.high, 1.0 - first.low]]


def imbalance_over_a_ramp(given):
    stages = [((s["n1"], s["n"] - s["n1"]), (s["e"], 1.0 - s["e"])) for s in given["stages"]]
    per_stage = [srm.log_e(counts, weights, given["k"]) for counts, weights in stages]
    chi = srm.chi_square(stages)
    pooled = [sum(counts[arm] for counts, _ in stages) for arm in (0, 1)]
    return {
        "reference": {
            "log_e": sum(per_stage),
            "p": p_from_log_e(sum(per_stage)),
            "per_stage_log_e": per_stage,
            "chi2_stratified": chi.statistic,
            "chi2_df": chi.df,
            "chi2_p": chi.p,
            "naive_pooled_vs_last_stage_p": srm.chi_square_p(pooled, stages[-1][1]),
        }
    }


def pooled_stages(given, outputs):
    effects, errors = given["effect"], given["se"]
    fixed, moments = fixed_effect(effects, errors), random_effects(effects, errors)
    tau2 = outputs["R_metafor"]["REML"]["tau2"]
    likely, few = random_effects_at(effects, errors, tau2), knapp_hartung(effects, errors, tau2)
    return {
        "statsmodels": {
            "fe": fixed.pooled.estimate,
            "fe_se": fixed.pooled.error,
            "Q": fixed.q,
            "dl_tau2": moments.tau2,
            "dl": moments.pooled.estimate,
            "dl_se": moments.pooled.error,
            "i2": moments.i2,
        },
        "R_metafor": {
            "FE": metafor(fixed),
            "DL": metafor(moments),
            "REML": {**metafor(likely), "tau2": random_effects_reml(effects, errors).tau2},
            "REML_knha": {"se": few.error, "p": few.p, "ci": ends(few)},
        },
    }


def metafor(pool):
    return {
        "est": pool.pooled.estimate,
        "se": pool.pooled.error,
        "p": pool.pooled.p,
        "ci": ends(pool.pooled),
        "tau2": pool.tau2,
        "I2": 100.0 * pool.i2,
        "QE": pool.q,
        "QEp": pool.p_q,
    }


def chances(given):
    z, fraction, alpha = given["z_t"], given["t"], given["alpha_one_sided"]
    return {
        "reference": {
            "cp_design": conditional_power(z, fraction, given["drift"], alpha),
            "cp_null": conditional_power(z, fraction, 0.0, alpha),
            "cp_trend": trend_power(z, fraction, alpha),
            "predictive_flat": predictive_power(z, fraction, alpha),
        }
    }


def planned_looks(given):
    fractions, alpha, sided = given["t"], given["alpha"], given["sided"]
    spend = {
        name: spending_boundaries(fractions, alpha, spending, sided)
        for name, spending in (("asOF", obrien_fleming_like), ("asP", pocock_like), ("asKD", power_spending))
    }
    shaped = {"OF": obrien_fleming(fractions, alpha, sided), "P": pocock(fractions, alpha, sided)}
    rpact = {
        name: {"z": list(b.critical), "alpha_spent": list(b.spent)} for name, b in (spend | shaped).items()
    }
    if len(fractions) == 1:
        rpact["z"] = normal_isf(alpha / sided)
    if sided == 1 and len(fractions) > 1:
        giving_up = futility_bounds(spend["asOF"], obrien_fleming_like, 0.2)
        rpact["asOF_bsOF"] = {"z": list(spend["asOF"].critical), "futility": list(giving_up)}
        rpact["asOF_inflation_power80"] = inflation(spend["asOF"], 0.8)
        rpact["asP_inflation_power80"] = inflation(spend["asP"], 0.8)
    return {"spotify_confidence": {"z_kd2": list(spend["asKD"].critical)}, "R_rpact": rpact}


def sizes(given):
    plan = Plan(given["alpha"], given["power"], given["ratio"])
    rates, n1, sd = (given["p1"], given["p0"]), given["n1"], given["sd"]
    plain, pooled = units_for_rates(*rates, plan), units_for_rates_pooled(*rates, plan)
    effect = design_effect(given["m"], given["icc"], given["cv"])
    even = Plan(given["alpha"], given["power"])
    means = units_for_means(given["delta"], sd, plan)
    return {
        "statsmodels": {
            "n1_arcsine": units_for_rates_arcsine(*rates, plan),
            "power_arcsine_at_n1": power_for_rates_arcsine(n1, *rates, plan),
            "n1_pooled_var_h0": pooled,
            "power_2indep_at_n1": power_for_rates(n1, *rates, plan),
            "n1_means_z": means,
            "n1_means_t": units_for_means_t(given["delta"], sd, plan),
            "mde_means_z_at_n1": difference_for_means(n1, sd, plan),
            "mde_prop_unpooled_at_n1": difference_for_means(
                n1, math.sqrt(given["p0"] * (1.0 - given["p0"])), plan
            ),
            "n1_unpooled": plain,
            "deff_equal": design_effect(given["m"], given["icc"]),
            "deff_cv": effect,
            "n1_clustered_unpooled": plain * effect,
            "k1_clusters": math.ceil(plain * effect / given["m"]),
        },
        "R_stats_rpact": {
            "n_equal_prop_test": units_for_rates_pooled(*rates, even),
            "rpact_rates": {"n1": pooled, "n0": pooled * given["ratio"]},
            "rpact_means": {"n1": means, "n0": means * given["ratio"]},
        },
    }


def order_statistics(given):
    found = quantile(floats(given["y"]), given["q"])
    return {
        "scipy": {
            "scipy_ci": ends(found),
            "order_stat_idx": [found.low_rank, found.high_rank],
            "order_stat_ci": ends(found),
            "sample_quantile_type7": found.value,
        }
    }


def one_stage(given, _theirs, _ours):
    return len(given["effect"]) == 1


def less_than_chance(given, theirs, _ours):
    """Q < k - 1: statsmodels' tau2 is below 0 and what follows from it is wrong or NaN."""
    pool = fixed_effect(given["effect"], given["se"])
    return pool.q < len(given["effect"]) - 1


def converged_roughly(_given, theirs, ours):
    """metafor stops when tau2 moves by less than 1e-5; ours solves the likelihood's equation."""
    return abs(theirs - ours) < 1e-5


def identical(given, _theirs, ours):
    return ours is None and len(set(given["effect"])) == 1


def empty(given, theirs, ours):
    return sum(given.get("counts", [stage["n"] for stage in given.get("stages", [])])) == 0


def overflown(given, theirs, _ours):
    return theirs in (None, "Infinity", 0) and srm.log_e(given["counts"], given["weights"]) > 700.0


def with_zero_weight(given, _theirs, _ours):
    return 0 in given["weights"]


def beyond_their_digits(_given, theirs, ours):
    return theirs is None and ours > 7.5


def far_tail(_given, theirs, ours):
    """Both tails counted, one tail counted: 1e-5 apart at most."""
    return abs(ours / theirs - 1.0) < 1e-5


def stopped_early(given, theirs, ours):
    """statsmodels' own power at its answer misses the target more than at ours."""
    from stats.special import normal_quantile, normal_sf

    edge = normal_quantile(1.0 - given["alpha"] / 2.0)
    scale = given["sd"] * math.sqrt((1.0 + 1.0 / given["ratio"]) / given["n1"])
    misses = [
        abs(normal_sf(edge - gap / scale) + normal_sf(edge + gap / scale) - given["power"])
        for gap in (theirs, ours)
    ]
    return abs(ours / theirs - 1.0) < 2e-4 and misses[0] > misses[1]


METHODS = {
    "multiple_comparison": Method(corrected),
    "srm": Method(
        imbalance,
        tolerances=(
            Tolerance("savvi/ci95_theta/*", 0.0, 1e-4),
            Tolerance("*/log_e*", 1e-8, 1e-8),
            Tolerance("*/p_k*", 1e-7, 1e-300),
            Tolerance("savvi/p", 1e-7, 1e-300),
            Tolerance("*", 1e-9, 1e-15),
        ),
        listed=(
            Listed("contract", "*", "no units: theirs is 1, ours null (cannot say)", empty),
            Listed(
                "fault",
                "gbstats/p",
                "gbstats check_srm keeps df = len - 1 when a weight is 0",
                with_zero_weight,
            ),
        ),
    ),
    "srm_ramp": Method(
        imbalance_over_a_ramp,
        tolerances=(
            Tolerance("*log_e*", 1e-8, 1e-8),
            Tolerance("*/p", 1e-7, 1e-300),
            Tolerance("*", 1e-9, 1e-12),
        ),
        listed=(Listed("contract", "*", "no units: theirs is 1, ours null (cannot say)", empty),),
    ),
    "meta_stage_pool": Method(
        pooled_stages,
        sees_outputs=True,
        tolerances=(Tolerance("*", 1e-9, 1e-15),),
        listed=(
            Listed("fault", "statsmodels/*", "statsmodels does not clamp tau2 at 0", less_than_chance),
            Listed("contract", "*/QEp", "one stage: theirs is 1, ours null (nothing to disagree)", one_stage),
            Listed(
                "contract", "R_metafor/REML_knha/*", "identical effects: no spread to judge by", identical
            ),
            Listed(
                "limit",
                "R_metafor/REML/tau2",
                "metafor stops when tau2 moves by less than 1e-5",
                converged_roughly,
            ),
        ),
    ),
    "conditional_power": Method(chances),
    "group_sequential": Method(
        planned_looks,
        tolerances=(
            Tolerance("spotify*", 2.4e-4, why="spotify's solver is good to 2.4e-4 (research note 2.21)"),
            Tolerance("*alpha_spent*", ROOT, 1.1e-8, "rpact's root is good to 1e-8 in alpha"),
            Tolerance("*", ROOT),
        ),
        listed=(
            Listed(
                "limit", "R_rpact/*", "rpact cannot tell a spending below 1e-14 from 0", beyond_their_digits
            ),
        ),
    ),
    "power": Method(
        sizes,
        tolerances=(Tolerance("*", ROOT),),
        listed=(
            Listed(
                "limit",
                "statsmodels/mde_means_z_at_n1",
                "statsmodels stops solving early: its own power at its answer misses the target",
                stopped_early,
            ),
            Listed("limit", "statsmodels/n1_*", "statsmodels counts the far tail too, below 1e-5", far_tail),
        ),
    ),
    "quantile": Method(order_statistics),
}
