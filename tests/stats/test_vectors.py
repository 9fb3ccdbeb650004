"""Our numbers against reference numbers of other implementations, at the tolerances of their README."""

import json
import math

import numpy as np
import pytest

from stats import boundary
from stats.interval import wilson
from stats.scores import Scores
from stats.sequence import looks
from stats.srm import chi_square_p, log_e
from stats.two_sample import pooled_z, welch

CLOSED = 1e-9
ROOT = 1e-6


@pytest.fixture
def cases(shared_part):
    return lambda name: json.loads(shared_part("vectors", "stats", f"{name}.json").read_text())["cases"]


def close(ours, theirs, rel=CLOSED, floor=1e-12):
    assert ours == pytest.approx(theirs, rel=rel, abs=floor)


def scores_of(units):
    column = {key: np.array([unit[key] for unit in units]) for key in ("day", "e", "A", "N", "S")}
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


def test_recommended_cs(cases):
    compared = 0
    for case in cases("recommended_cs"):
        given = case["inputs"]
        for expected in case["outputs"]["reference"]["looks"]:
            scores = scores_of(given["units"][: expected["n_units"]])
            now = looks(scores, given["prior_rate"], given["prior_n"], given["decay"])[-1]
            assert (now.treatment.units, now.control.units) == (expected["K1"], expected["K0"])
            close(now.treatment.weight, expected["D1"])
            close(now.control.weight, expected["D0"])
            close(now.information, expected["I"])
            if expected["tau"] is None:
                assert not now.has_both or min(now.treatment.units, now.control.units) < 2
                continue
            check_look(now, expected, given["rho"], given["alpha"])
            compared += 1
    assert compared > 40


def check_look(now, expected, rho, alpha):
    close(now.effect, expected["tau"])
    close(now.error, expected["se"])
    close(now.variance, expected["V"])
    close(now.log_e(rho), expected["log_e"])
    half, one_sided = now.half_width(rho, alpha), now.half_width_one_sided(rho, alpha)
    close(now.effect - half, expected["ci"][0], floor=1e-10)
    close(now.effect + half, expected["ci"][1], floor=1e-10)
    close(now.effect - one_sided, expected["lower_1s"], rel=ROOT)
    close(now.effect + one_sided, expected["upper_1s"], rel=ROOT)


def test_normal_mixture_boundary(cases):
    for case in cases("normal_mixture_boundary"):
        given, expected = case["inputs"], case["outputs"]["ville"]
        two, one = expected["two"], expected["one"]
        check_rho(given["v_opt"], given["alpha"], two["rho"])
        close(boundary.radius(given["v"], two["rho"], given["alpha"]), two["bound"])
        close(boundary.log_e(given["s"], given["v"], two["rho"]), two["log_mixture_at_s"], floor=1e-10)
        close(boundary.radius_one_sided(given["v"], one["rho"], given["alpha"]), one["bound"], rel=ROOT)
        ours = boundary.log_e_one_sided(given["s"], given["v"], one["rho"])
        close(ours, one["log_mixture_at_s"], floor=1e-10)


def check_rho(v_opt, alpha, numeric_argmin):
    """Theirs is a numeric minimum of a flat curve (good to 1e-5); ours is exact, so never wider there."""
    exact = boundary.tuned_rho(v_opt, alpha)
    close(exact, numeric_argmin, rel=1e-5)
    theirs = boundary.radius(v_opt, numeric_argmin, alpha)
    assert boundary.radius(v_opt, exact, alpha) <= theirs * (1.0 + 1e-14)


def test_srm_of_one_stage(cases):
    for case in cases("srm"):
        given, outputs = case["inputs"], case["outputs"]
        exact = outputs["formula_dirichlet_multinomial"]
        close(log_e(given["counts"], given["weights"], 1.0), exact["log_e_k1"], rel=1e-8, floor=1e-8)
        close(log_e(given["counts"], given["weights"], 100.0), exact["log_e_k100"], rel=1e-8, floor=1e-8)
        p = chi_square_p(given["counts"], given["weights"])
        if sum(given["counts"]) == 0:
            assert p is None
        else:
            close(p, outputs["scipy"]["chi2_p"], floor=1e-300)


def test_srm_over_a_ramp(cases):
    for case in cases("srm_ramp"):
        given, expected = case["inputs"], case["outputs"]["reference"]
        per_stage = [
            log_e((stage["n1"], stage["n"] - stage["n1"]), (stage["e"], 1.0 - stage["e"]), given["k"])
            for stage in given["stages"]
        ]
        for ours, theirs in zip(per_stage, expected["per_stage_log_e"], strict=True):
            close(ours, theirs, rel=1e-8, floor=1e-8)
        close(boundary.p_from_log_e(sum(per_stage)), expected["p"], rel=1e-7, floor=1e-300)


def test_wilson(cases):
    for case in cases("one_proportion_ci"):
        given, expected = case["inputs"], case["outputs"]["statsmodels"]["wilson"]
        interval = wilson(given["x"], given["n"])
        if interval is None:
            assert given["n"] == 0
            continue
        close(interval.low, expected[0])
        close(interval.high, expected[1])


def test_pooled_two_proportion_z(cases):
    for case in cases("two_proportion_tests"):
        given, expected = case["inputs"], case["outputs"]["statsmodels"]
        test = pooled_z(given["x1"], given["n1"], given["x0"], given["n0"])
        if expected["z_pooled"] is None:
            assert test is None or (test.z, test.p) == (0.0, 1.0)
            continue
        close(test.z, expected["z_pooled"])
        close(test.p, expected["p_pooled"], floor=1e-300)


def test_welch(cases):
    compared = 0
    for case in cases("welch"):
        given, expected = case["inputs"], case["outputs"]["scipy"]
        ours = welch(np.array(given["y1"], dtype=float), np.array(given["y0"], dtype=float))
        if ours is None or expected["t"] is None or not math.isfinite(float(expected["t"])):
            assert ours is None, case["note"]
            continue
        compared += 1
        close(ours.difference, expected["diff"])
        close(ours.t, expected["t"])
        close(ours.df, expected["df"])
        close(ours.p, expected["p"])
        close(ours.interval.low, expected["ci"][0])
        close(ours.interval.high, expected["ci"][1])
    assert compared >= 15
