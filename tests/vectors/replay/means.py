"""Means per unit, ratios per cluster, and what is known beforehand taken out of them."""

import numpy as np

from replay.compare import Listed, Method, Tolerance
from replay.sequences import approximately_tuned
from replay.shape import ends, floats
from stats.always_valid import always_valid
from stats.cluster_bootstrap import cluster_bootstrap
from stats.clustered import cr0_error, cr1, cr2, cr3
from stats.clusters import Clusters, pair_of_rows, pair_of_values
from stats.comparison import Comparison
from stats.cuped import adjust, ancova, cuped, cuped_z, lin
from stats.lift import delta_lift, log_lift, log_lift_z
from stats.ratio import ratio_t, ratio_z
from stats.regression import equal_variance, error_of, fit, hc1
from stats.welch import mann_whitney, welch, yuen
from stats.winsor import caps_from

DRAWS = 20_000


def of_comparison(found):
    return {
        "diff": found.estimate,
        "ci": ends(found),
        "p": found.p,
        "se": found.error,
        "t": found.statistic,
        "stat": found.statistic,
        "df": found.df,
    }


def of_lift(found):
    interval = ends(found)
    return {
        "diff": found.value,
        "ci": interval,
        "p": found.p,
        "se": found.error,
        "rel": found.value,
        "rel_ci": interval,
    }


def two_means(given):
    treatment, control = floats(given["y1"]), floats(given["y0"])
    pair = pair_of_values(treatment, control)
    t, z, lift = welch(treatment, control), ratio_z(*pair), of_lift(log_lift(*pair))
    relative = {"rel": lift["rel"], "rel_ci": lift["rel_ci"]}
    return {
        "scipy": {
            **of_comparison(t),
            "p_greater": t.p_greater,
            "mwu_p": mann_whitney(treatment, control).p,
            "yuen10_p": yuen(treatment, control, 0.1).p,
            "winsor5_means": [winsorised_mean(treatment), winsorised_mean(control)],
        },
        "tea_tasting": {**of_comparison(t), **relative},
        "spotify_confidence": {"t": of_comparison(t), "z": of_comparison(z)},
        "gbstats": {"absolute": of_comparison(t), "relative": of_lift(delta_lift(*pair))},
    }


def winsorised_mean(values):
    caps = caps_from(values, 0.05)
    return None if caps is None else float(caps.hold(values).mean())


def adjusted_means(given):
    treatment, control, known_1, known_0 = (floats(given[name]) for name in ("y1", "y0", "x1", "x0"))
    pair = pair_of_values(treatment, control)
    found, parts = cuped(*pair, known_1, known_0), adjust(*pair, known_1, known_0)
    outcome, known = np.append(treatment, control), np.append(known_1, known_0)
    treated = np.arange(len(outcome)) < len(treatment)
    relative, plain, theta = {}, {}, None
    if not isinstance(parts, Comparison):
        arms = (parts.treatment, parts.control)
        relative, theta = of_lift(log_lift(*arms)), parts.theta
        plain = of_lift(delta_lift(*on_raw_level(arms, pair[1])))
    return {
        "tea_tasting": {
            "cuped": {**of_comparison(found), "rel": relative.get("rel"), "rel_ci": relative.get("rel_ci")}
        },
        "statsmodels_scipy": {
            "cuped_pooled_total_cov": {**of_comparison(found), "theta": theta},
            "ancova_hc2": of_comparison(ancova(outcome, treated, known)),
            "lin_hc2": of_comparison(lin(outcome, treated, known)),
        },
        "gbstats": {"absolute": of_comparison(found), "relative": plain},
    }


def on_raw_level(arms, control):
    """The adjusted arms moved so that the control's mean is the unadjusted one, as gbstats has it."""
    shift = level(control) - level(arms[1])
    return tuple(Clusters(arm.trials, arm.sums, arm.reference + shift) for arm in arms)


def rows_of(given):
    return np.array(given["cluster"], dtype=np.int64), np.array(given["arm"]) == 1


def robust(given):
    cluster, treated = rows_of(given)
    both = {name: robust_metric(cluster, treated, floats(given[name])) for name in ("win", "pnl")}
    return {peer: {name: both[name][peer] for name in both} for peer in both["win"]}


def robust_metric(cluster, treated, values):
    pair = pair_of_rows(cluster, treated, values)
    one, two, three, plain = cr1(*pair), cr2(*pair), cr3(*pair), cr0_error(*pair)
    least = fit(np.stack([np.ones(len(values)), treated.astype(float)], axis=1), values)
    return {
        "statsmodels": {
            "diff": one.estimate,
            "se_iid": None if least is None else error_of(equal_variance(least), 1),
            "se_hc1": None if least is None else error_of(hc1(least), 1),
            "se_cr1": one.error,
            "p_cr1_tG1": one.p,
            "ci_cr1_tG1": ends(one),
            "se_cr0": plain,
            "n": len(values),
            "G": len(pair[0]) + len(pair[1]),
        },
        "linearmodels": {"diff": one.estimate, "se": plain, "se_debiased": one.error},
        "pyfixest": {"CRV1": of_comparison(one), "CRV3": of_comparison(three)},
        "R_sandwich_clubSandwich": {
            "diff": two.estimate,
            "se_CL_HC1": one.error,
            "se_CL_HC0_noadj": plain,
            "se_CR2": two.error,
            "df_CR2": two.df,
            "p_CR2": two.p,
        },
    }


def ratios(given):
    cluster, treated = rows_of(given)
    generator = np.random.default_rng(1)
    pairs = {
        name: pair_of_rows(cluster, treated, floats(given[column]))
        for name, column in (("wins", "win"), ("pnl", "pnl"))
    }
    known = known_of(cluster, treated, floats(given["x"]))
    return {
        "tea_tasting": {
            **{name: both_tests(pair) for name, pair in pairs.items()},
            "wins_cuped_x": of_comparison(cuped_z(*pairs["wins"], *known)),
        },
        "formula_numpy": {name: by_formula(pair) for name, pair in pairs.items()},
        "gbstats": {name: growthbook(pair) for name, pair in pairs.items()},
        "cluster_bootstrap_mc": {name: resampled(pair, generator) for name, pair in pairs.items()},
    }


def both_tests(pair):
    return {"z": tea(pair, ratio_z, log_lift_z), "t": tea(pair, ratio_t, log_lift)}


def tea(pair, test, lift):
    found, relative = test(*pair), of_lift(lift(*pair))
    return {
        **of_comparison(found),
        "treatment": level(pair[0]),
        "control": level(pair[1]),
        "rel": relative["rel"],
        "rel_ci": relative["rel_ci"],
    }


def level(arm):
    return arm.moments.ratio + arm.reference


def by_formula(pair):
    found = ratio_z(*pair)
    return {
        "r1": level(pair[0]),
        "r0": level(pair[1]),
        "diff": found.estimate,
        "se": found.error,
        "k1": len(pair[0]),
        "k0": len(pair[1]),
    }


def growthbook(pair):
    return {
        "absolute": of_comparison(ratio_t(*pair)),
        "relative": of_lift(delta_lift(*pair)),
        "sequential_absolute_n200": sequential(pair, 200),
    }


def sequential(pair, tightest):
    """The normal mixture on the difference, time = units, tuned as gbstats tunes it."""
    found = ratio_z(*pair)
    if found.error is None:
        return {"diff": found.estimate, "ci": None, "p": None, "se": None}
    units = len(pair[0]) + len(pair[1])
    valid = always_valid(
        found.estimate, found.error, approximately_tuned(tightest, 0.05) / (found.error**2 * units)
    )
    return {"diff": valid.estimate, "ci": ends(valid), "p": valid.p, "se": found.error}


def resampled(pair, generator):
    found = cluster_bootstrap(*pair, DRAWS, generator)
    return {"se": found.error, "ci_percentile": None if found.percentile is None else list(found.percentile)}


def known_of(cluster, treated, known):
    """The covariate of each cluster, in the order of its arm's rows."""
    return tuple(known[rows][np.unique(cluster[rows], return_index=True)[1]] for rows in (treated, ~treated))


def offset(given, theirs, ours):
    """A common level 10^6 times the spread or more: float64 keeps few digits of the difference of means."""
    values = floats(given["y1"] + given["y0"])
    return abs(values.mean()) > 1e6 * np.ptp(values) and (
        ours is None or theirs is None or abs(ours - theirs) < 1e-4 * max(abs(theirs), np.ptp(values))
    )


def lost_all(given, theirs, ours):
    values = floats(given["y1"] + given["y0"])
    return abs(values.mean()) > 1e6 * np.ptp(values)


def same_as_known(given, _theirs, ours):
    return ours is None and given["y1"] == given["x1"] and given["y0"] == given["x0"]


def no_answer(_given, theirs, _ours):
    """What gbstats says with its error flag up."""
    return theirs in (0, 1)


def zeros_and_ones(given, _theirs, _ours):
    return {*given["y1"], *given["y0"]} <= {0.0, 1.0}


def refused(_given, _theirs, ours):
    return ours is None


def one_cluster(given, _theirs, ours):
    arms = dict(zip(given["cluster"], given["arm"], strict=True)).values()
    return ours is None and min(sum(arm == which for arm in arms) for which in (0, 1)) < 2


def no_variation(given, theirs, ours):
    """All wins or none in each arm: what is left is 1e-16, or a p from it."""
    by_arm = [
        {win for win, arm in zip(given["win"], given["arm"], strict=True) if arm == which} for which in (0, 1)
    ]
    return (ours is None or abs(ours) < 1e-12) and all(len(wins) == 1 for wins in by_arm)


LOST = "gbstats and spotify_confidence lose all digits on huge offsets (sum of squares)"
OFFSET = (
    "a mean of float64 values at 10^8 or more moves in steps of 1e-8 to 1e-7; ours equals exact arithmetic"
)
BINARY = "spotify_confidence takes values of 0 and 1 for a proportion: variance without n - 1"
NO_VARIANCE = "no variance: theirs is 0, 1 or infinite, contract 2.0 gives null"
NO_RELATIVE = "relative effect asked for where a mean is not above 0: contract 2.0 gives the difference only"
ONE_CLUSTER = "a single cluster in an arm: contract 2.0 gives the estimate only"

METHODS = {
    "welch": Method(
        two_means,
        tolerances=(Tolerance("*", 1e-9, 1e-15),),
        listed=(
            Listed("fault", "gbstats/*", LOST, lost_all),
            Listed("limit", "*", OFFSET, offset),
            Listed("limit", "spotify_confidence/*", BINARY, zeros_and_ones),
            Listed("contract", "gbstats/*", "gbstats answers 0 and p = 1 where it cannot tell", no_answer),
            Listed("contract", "*rel*", NO_RELATIVE, refused),
            Listed("contract", "*", NO_VARIANCE, refused),
        ),
    ),
    "cuped": Method(
        adjusted_means,
        tolerances=(Tolerance("*", 1e-9, 1e-15),),
        listed=(
            Listed("fault", "gbstats/*", LOST, lost_all),
            Listed("limit", "*", OFFSET, offset),
            Listed("contract", "gbstats/*", "gbstats answers 0 and p = 1 where it cannot tell", no_answer),
            Listed("contract", "*rel*", NO_RELATIVE, refused),
            Listed("contract", "*", "no variation: theirs is rounding noise, ours null", same_as_known),
            Listed("not offered", "gbstats/relative/*", "an adjusted difference over an unadjusted mean"),
        ),
    ),
    "cluster_robust": Method(
        robust,
        listed=(
            Listed("not offered", "statsmodels/win/gee*", "GEE: CR2 and CR3 answer for few clusters"),
            Listed("contract", "*", ONE_CLUSTER, one_cluster),
            Listed("contract", "*/win/*", "no variation: theirs is rounding noise, ours null", no_variation),
        ),
    ),
    "ratio_delta": Method(
        ratios,
        listed=(
            Listed("contract", "gbstats/*", "gbstats answers 0 and p = 1 where it cannot tell", no_answer),
            Listed("contract", "*rel*", NO_RELATIVE, refused),
            Listed(
                "contract", "*/wins*", "no variation: theirs is 0 or rounding noise, ours null", no_variation
            ),
        ),
    ),
}
