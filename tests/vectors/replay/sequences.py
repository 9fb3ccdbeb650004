"""What may be looked at any time: mixtures, bets, and the report's own statistic."""

import math

import numpy as np

from replay.compare import ROOT, Listed, Method, Tolerance
from replay.shape import ends, floats, table_of
from stats import boundary
from stats.always_valid import always_valid
from stats.betting import log_wealth, payoffs
from stats.mean_sequence import (
    Guess,
    asymptotic_bounds,
    betting_bounds,
    conjugate_bernstein_bounds,
    empirical_bernstein_bounds,
    hoeffding_bounds,
    running_betting_bounds,
    running_empirical_bernstein_bounds,
)
from stats.scores import Scores
from stats.sequence import looks
from stats.share_sequence import share_bounds, tuned_share_bounds
from stats.srm import log_e
from stats.subexponential import gamma_exponential_radius, stitched_radius
from stats.two_proportion import unpooled_z


def approximately_tuned(v_opt, alpha):
    """The closed form that confseq and gbstats use for `boundary.tuned_rho`; up to 3.5% off."""
    return v_opt / (-2.0 * math.log(alpha) + math.log(1.0 - 2.0 * math.log(alpha)))


def mixture(given, outputs):
    v, alpha, v_opt, s = (given[name] for name in ("v", "alpha", "v_opt", "s"))
    exact = boundary.tuned_rho(v_opt, alpha), boundary.tuned_rho_one_sided(v_opt, alpha)
    theirs = outputs["ville"]["two"]["rho"], outputs["ville"]["one"]["rho"]
    rough = approximately_tuned(v_opt, alpha), approximately_tuned(v_opt, 2.0 * alpha)
    return {
        "ville": {
            "two": {**two_sided(v, alpha, s, theirs[0]), "rho": exact[0]},
            "one": {**one_sided(v, alpha, s, theirs[1]), "rho": exact[1]},
        },
        "confseq": {
            "two": two_sided(v, alpha, s, rough[0]),
            "one": one_sided(v, alpha, s, rough[1]),
            "gamma_exponential_c1": gamma_exponential_radius(v, rough[1], alpha, 1.0),
            "poly_stitching_c1_vmin1": stitched_radius(v, alpha, 1.0, 1.0),
        },
    }


def two_sided(v, alpha, s, rho):
    return {"bound": boundary.radius(v, rho, alpha), "log_mixture_at_s": boundary.log_e(s, v, rho)}


def one_sided(v, alpha, s, rho):
    bound = boundary.radius_one_sided(v, rho, alpha)
    return {"bound": bound, "log_mixture_at_s": boundary.log_e_one_sided(s, v, rho)}


def bounded_mean(given):
    x, alpha = floats(given["x"]), given["alpha"]
    now, ever = ends(betting_bounds(x, alpha)), ends(running_betting_bounds(x, alpha))
    binary = bool(np.all((x == 0.0) | (x == 1.0)))
    wins = int(x.sum()) if binary else 0
    counts = (wins, len(x) - wins, alpha)
    return {
        "ville": {
            "betting": now,
            "betting_running": ever,
            "emp_bernstein": ends(empirical_bernstein_bounds(x, alpha)),
            "emp_bernstein_running": ends(running_empirical_bernstein_bounds(x, alpha)),
            "bernoulli_betabinom": ends(share_bounds(*counts)) if binary else None,
            "asymptotic_topt200": ends(asymptotic_bounds(x, alpha, 200.0)),
        },
        "confseq": {
            "betting_predmix": now,
            "betting_predmix_running": ever,
            "betting_convex": now,
            "predmix_empbern": ends(empirical_bernstein_bounds(x, alpha, Guess(0.0, 0.0))),
            "conjmix_empbern_vopt50": ends(conjugate_bernstein_bounds(x, alpha / 2.0, 50.0)),
            "conjmix_hoeffding_topt200": ends(hoeffding_bounds(x, alpha, 200.0)),
            "conjmix_bernoulli_topt200": ends(tuned_share_bounds(*counts, 200.0)) if binary else None,
        },
    }


def summary(given):
    table, alpha = table_of(given), given["alpha"]
    found = unpooled_z(table, alpha)
    units = given["n1"] + given["n0"]
    conditional = {
        "log_e": log_e((given["x1"], given["x0"]), (given["n1"], given["n0"]), 1.0),
        "share": given["n1"] / units if units else None,
    }
    if found.error is None:
        blank = {"diff": found.estimate}
        return {
            "gbstats": {"two_sided": blank, "greater": blank, "lesser": blank, "rho": None},
            "reference_formula": {
                "asymp_cs": blank,
                "msprt_tau2_1e-4": {},
                "conditional_bernoulli_k1": conditional,
            },
        }
    tuned, tuned_one = (approximately_tuned(given["n_tune"], level) for level in (alpha, 2.0 * alpha))
    now = found.error**2 * units
    asymptotic = always_valid(found.estimate, found.error, tuned / now, alpha)
    one = boundary.radius_one_sided_closed(found.error**-2, tuned_one / now, alpha) * found.error**2
    spread = always_valid(found.estimate, found.error, 1e4, alpha)
    both = {"diff": found.estimate, "ci": ends(asymptotic), "p": asymptotic.p, "se": found.error}
    return {
        "gbstats": {
            "two_sided": both,
            "greater": {**both, "ci": [found.estimate - one, None], "p": None},
            "lesser": {**both, "ci": [None, found.estimate + one], "p": None},
            "rho": tuned**-0.5,
        },
        "reference_formula": {
            "asymp_cs": {**both, "log_e": asymptotic.log_e},
            "msprt_tau2_1e-4": {"log_e": spread.log_e, "p": spread.p, "ci": ends(spread)},
            "conditional_bernoulli_k1": conditional,
        },
    }


def report_statistic(given):
    counts = [look if isinstance(look, int) else look["n_units"] for look in given["looks"]]
    return {"reference": {"looks": [look_at(given, given["units"][:count]) for count in counts]}}


def look_at(given, units):
    scores = scores_of(units)
    path = looks(scores, given["prior_rate"], given["prior_n"], given["decay"])
    now = path[-1] if path else None
    found = {"n_units": len(units)}
    if given["kind"] == "win":
        wealth = log_wealth(payoffs(scores, given["prior_rate"]))
        found["log_e_bet"] = float(wealth[-1]) if len(wealth) else 0.0
    if now is None:
        return {**found, "K1": 0, "K0": 0, "D1": 0.0, "D0": 0.0, "I": 0.0, "tau": None, "ready": False}
    fewest = min(now.treatment.units, now.control.units)
    found |= {
        "K1": now.treatment.units,
        "K0": now.control.units,
        "D1": now.treatment.weight,
        "D0": now.control.weight,
        "I": now.information,
        "tau": None,
        "ready": fewest >= given["burn"],
    }
    return found if fewest < 2 or not now.has_both else found | judged(now, given["rho"], given["alpha"])


def judged(now, rho, alpha):
    half, one = now.half_width(rho, alpha), now.half_width_one_sided(rho, alpha)
    return {
        "tau": now.effect,
        "se": now.error,
        "V": now.variance,
        "ci": [now.effect - half, now.effect + half],
        "lower_1s": now.effect - one,
        "upper_1s": now.effect + one,
        "log_e": now.log_e(rho),
    }


def scores_of(units):
    column = {name: np.array([unit[name] for unit in units]) for name in ("day", "e", "A", "N", "S")}
    return Scores(
        day=column["day"].astype(np.int64),
        treated=column["A"] == 1,
        traded=column["N"] > 0,
        e=column["e"].astype(float),
        trials=column["N"].astype(float),
        sums=column["S"].astype(float),
        reference=0.0,
        unlogged=0,
    )


def nearly_tuned(given, theirs, ours):
    """Within 2% of the distance to the mean, as the README of the vectors says, and a step of its grid."""
    middle = float(np.mean(given["x"]))
    return ours is not None and abs(ours - theirs) <= 0.02 * abs(theirs - middle) + 2e-4


def clamped(_given, theirs, _ours):
    return theirs in (1e-5, 0.4999) or 1e-5 < theirs < 0.4999


def underflown(_given, theirs, ours):
    return theirs == "-Infinity" and math.isfinite(ours)


def one_constant(given, _theirs, ours):
    return ours is None and len(set(given["x"])) == 1


def no_answer(given, theirs, _ours):
    return theirs in (0, 1)


ROUGH_RHO = "confseq's tuned rho is a closed-form approximation: bounds differ by less than 2%"
GRID = "bounds on a grid of 10,000 steps"

METHODS = {
    "normal_mixture_boundary": Method(
        mixture,
        sees_outputs=True,
        tolerances=(
            Tolerance("ville/*/rho", 1e-5, why="a numeric minimum of a flat curve; ours is exact"),
            Tolerance("*/one/bound", ROOT),
            Tolerance("confseq/gamma*", ROOT),
            Tolerance("*", 1e-9, 1e-10),
        ),
        listed=(
            Listed("limit", "confseq/one/log_mixture*", "confseq underflows: the logarithm of 0", underflown),
        ),
    ),
    "betting_cs": Method(
        bounded_mean,
        tolerances=(
            Tolerance("ville/betting*", 0.0, 2e-4, GRID),
            Tolerance("confseq/betting*", 0.0, 2e-4, GRID),
            Tolerance("ville/asymptotic*", ROOT, 1e-12, "a numeric minimum of a flat curve; ours is exact"),
            Tolerance("*", 1e-9, 1e-12),
        ),
        listed=(
            Listed("fault", "confseq/conjmix*", ROUGH_RHO, nearly_tuned),
            Listed(
                "contract",
                "ville/asymptotic*",
                "no variation: theirs has width 0, contract 2.0 gives null",
                one_constant,
            ),
        ),
    ),
    "always_valid_summary": Method(
        summary,
        tolerances=(Tolerance("*/p", 1e-7, 1e-299), Tolerance("*", 1e-9, 1e-12)),
        listed=(
            Listed(
                "fault",
                "gbstats/greater/p",
                "gbstats one-sided sequential p is clamped to [1e-5, .4999]",
                clamped,
            ),
            Listed(
                "fault",
                "gbstats/lesser/p",
                "gbstats one-sided sequential p is clamped to [1e-5, .4999]",
                clamped,
            ),
            Listed(
                "contract", "gbstats/*", "gbstats answers 0 and p = 1 where an arm has no variance", no_answer
            ),
        ),
    ),
    "recommended_cs": Method(
        report_statistic,
        tolerances=(
            Tolerance("*_1s", ROOT),
            Tolerance("*", 1e-9, 1e-10),
        ),
    ),
}
