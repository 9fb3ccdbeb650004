"""The gates' one-sided bounds: their laws, their tuning, and the error they keep under peeking."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.boundary import log_e_one_sided, radius, radius_one_sided, tuned_rho
from stats.centre import DECAY_PER_DAY, PRIOR_UNITS
from stats.design import Design
from stats.gate import all_of, any_of, lower_bound, upper_bound
from stats.report import report
from stats.scale import (
    PROMOTION_SHARE,
    ROLLBACK_SHARE,
    blinded_variance,
    gate_rho,
    plan_variance,
    rate_variance,
)
from stats.scores import Scores
from stats.sequence import looks
from stats.shape import as_dict
from stats.units import ArmCounts, Stage, Units

DESIGN = Design(
    arms=("base", "transformer"), control="base", treatment="transformer", metric="win_rate",
    started_us=1_767_225_600_000_000, attribution_s=900,
)  # fmt: skip
EVEN = (Stage(version=1, weights=(0.5, 0.5), counts=(100, 100), started_us=0),)
PLAN = 2000
V_RATE = plan_variance(rate_variance(), PLAN)
alphas = st.floats(0.001, 0.4)
shares = st.sampled_from([PROMOTION_SHARE, ROLLBACK_SHARE, 0.3, 1.0])
answers = st.sampled_from(["yes", "no", "cannot say"])


def make(arm, pnl):
    """Traded units at an even split, PnL in micro-USD."""
    arm, pnl = np.asarray(arm, dtype=np.int64), np.asarray(pnl, dtype=np.int64)
    ones, nothing = np.ones(len(arm), np.int64), np.zeros(len(arm), np.int64)
    return Units(
        arm=arm, stage=nothing, e=np.full(len(arm), 0.5), day=nothing, traded=ones > 0, won=pnl > 0,
        pnl_micro=pnl, stake_micro=5_000_000 * ones, fee_micro=nothing, decisions=ones, fallbacks=nothing,
        trades=ones, trade_wins=(pnl > 0).astype(np.int64),
    )  # fmt: skip


def alternating(count, treated_pnl, control_pnl):
    """Even arms; PnL taken in turn from each arm's list."""
    values = [np.repeat(np.resize(np.asarray(pnl), count // 2), 2) for pnl in (control_pnl, treated_pnl)]
    return make(np.arange(count) % 2, np.where(np.arange(count) % 2 == 1, values[1], values[0]))


def noise(count, seed):
    return (np.random.default_rng(seed).standard_normal(count) * 1_000_000).astype(np.int64)


def ask(units, design=DESIGN, counts=None, stages=EVEN):
    found = report(design, units, counts or {}, stages)
    json.dumps(as_dict(found), allow_nan=False)
    return found


def scores_of(seed, units=400, e=0.4, lift=0.0, every=20):
    rng = np.random.default_rng(seed)
    treated = rng.random(units) < e
    won = (rng.random(units) < 0.5 + lift * treated).astype(float)
    return Scores(
        day=np.arange(units) // every, treated=treated, traded=np.ones(units, bool),
        e=np.full(units, e), trials=np.ones(units), sums=won, reference=0.0, unlogged=0,
    )  # fmt: skip


def path(scores, prior=0.5):
    return [look for look in looks(scores, prior, PRIOR_UNITS, DECAY_PER_DAY) if look.has_both and look.ready]


def look_of(seed, **more):
    return path(scores_of(seed, **more))[-1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), shares, alphas)
def test_swapped_arms_swap_and_turn_the_bounds(seed, share, alpha):
    scores = scores_of(seed)
    swapped = replace(scores, treated=~scores.treated, e=1.0 - scores.e)
    here, there = path(scores)[-1], path(swapped)[-1]
    for metric in ("profit_rate", "pnl"):
        lower = lower_bound(here, metric, V_RATE, share, alpha)
        assert lower == pytest.approx(-upper_bound(there, metric, V_RATE, share, alpha), abs=1e-12)
        assert lower <= here.effect <= upper_bound(here, metric, V_RATE, share, alpha)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), shares, alphas, st.sampled_from([1e-6, 0.5, 3.0, 1e6]))
def test_money_in_another_unit_moves_the_bounds_alike(seed, share, alpha, factor):
    scores = scores_of(seed)
    scaled = replace(scores, sums=scores.sums * factor)
    one, other = path(scores)[-1], path(scaled, 0.5 * factor)[-1]
    for bound in (lower_bound, upper_bound):
        wanted = factor * bound(one, "pnl", V_RATE, share, alpha)
        assert bound(other, "pnl", V_RATE * factor**2, share, alpha) == pytest.approx(wanted, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), shares, alphas, st.floats(1.05, 3.0))
def test_less_error_is_a_farther_bound(seed, share, alpha, times):
    """At one rho; each level tunes its own, so the law is told of the boundary that both share."""
    look, rho = look_of(seed), gate_rho(V_RATE, share, alpha)
    assert look.half_width_one_sided(rho, alpha) > look.half_width_one_sided(rho, min(0.5, alpha * times))


@settings(max_examples=100, deadline=None)
@given(st.floats(0.1, 1e6), st.floats(0.01, 100.0), alphas)
def test_one_side_lies_between_two_sides_at_once_and_twice_its_error(v_opt, times, alpha):
    """E+ = 2 E Phi(z): one side never pays less than two at 2 alpha, nor more than two at alpha."""
    rho, v = gate_rho(v_opt, 1.0, alpha), v_opt * times
    one = radius_one_sided(v, rho, alpha)
    assert radius(v, rho, min(0.999, 2.0 * alpha)) <= one * (1.0 + 1e-12)
    assert one <= radius(v, rho, alpha) * (1.0 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.1, 1e6), shares, alphas, st.floats(0.05, 20.0))
def test_a_gate_is_tightest_where_it_is_tuned(v_plan, share, alpha, times):
    v, rho = share * v_plan, gate_rho(v_plan, share, alpha)
    assert radius_one_sided(v, rho, alpha) <= radius_one_sided(v, rho * times, alpha) * (1.0 + 1e-9)


def test_each_gate_is_tighter_than_what_is_shown_where_it_matters():
    """Early for rollback, late for promotion; what is shown is tuned between them and for two sides."""
    alpha, shown = 0.05, tuned_rho(0.5 * V_RATE, 0.05)
    for share in (ROLLBACK_SHARE, PROMOTION_SHARE):
        v = share * V_RATE
        own = radius_one_sided(v, gate_rho(V_RATE, share, alpha), alpha)
        assert own < radius_one_sided(v, shown, alpha) < radius(v, shown, alpha)
    early, late = (gate_rho(V_RATE, share, alpha) for share in (ROLLBACK_SHARE, PROMOTION_SHARE))
    assert early / late == pytest.approx(ROLLBACK_SHARE / PROMOTION_SHARE)
    v = 0.05 * V_RATE
    assert radius_one_sided(v, early, alpha) < 0.85 * radius_one_sided(v, late, alpha)


def test_rho_and_bounds_are_those_of_the_peers(shared_part):
    """ville finds rho as the numerical minimum of its boundary."""
    told = json.loads((shared_part("vectors", "stats") / "normal_mixture_boundary.json").read_text())
    cases = told["cases"]
    assert len(cases) > 20
    for case in cases:
        v, alpha, v_opt = (case["inputs"][name] for name in ("v", "alpha", "v_opt"))
        theirs = case["outputs"]["ville"]["one"]
        for share in (PROMOTION_SHARE, ROLLBACK_SHARE):
            rho = gate_rho(v_opt / share, share, alpha)
            assert rho == pytest.approx(theirs["rho"], rel=1e-5)
            assert radius_one_sided(v, rho, alpha) == pytest.approx(theirs["bound"], rel=1e-5)


@given(st.lists(answers, min_size=1, max_size=5))
def test_three_values_obey_de_morgan(given_answers):
    turned = {"yes": "no", "no": "yes", "cannot say": "cannot say"}
    assert turned[all_of(given_answers)] == any_of([turned[one] for one in given_answers])
    assert all_of(given_answers) == all_of(reversed(given_answers))
    assert all_of(given_answers * 2) == all_of(given_answers)


def test_under_peeking_neither_gate_errs_more_than_it_says():
    """No effect, split 10% -> 25% -> 50%, a market that drifts; rates and money, a look every 20 units."""
    units, every, runs, alpha = 800, 20, 500, 0.05
    e = np.array([0.1, 0.25, 0.5])[np.minimum(np.arange(units) * 3 // units, 2)]
    day = np.arange(units) // every
    rng = np.random.default_rng(20261101)
    promoted, rolled, disagreed = 0, 0, 0
    for _ in range(runs):
        treated = rng.random(units) < e
        drift = np.cumsum(rng.normal(0.0, 0.08 / math.sqrt(units), units))
        won = (rng.random(units) < np.clip(0.5 + drift, 0.02, 0.98)).astype(float)
        pnl = rng.standard_t(4, units) + (won - 0.5) + drift
        harmed = False
        for metric, sums in (("profit_rate", won), ("pnl", pnl)):
            scores = Scores(
                day=day, treated=treated, traded=np.ones(units, bool), e=e, trials=np.ones(units),
                sums=sums, reference=0.0, unlogged=0,
            )  # fmt: skip
            variance = rate_variance() if metric != "pnl" else blinded_variance(scores)
            v_plan = plan_variance(variance, PLAN)
            seen = [
                look for look in path(scores, 0.5 if metric != "pnl" else 0.0)
                if metric != "pnl" or look.near_normal
            ]  # fmt: skip
            up, down = gate_rho(v_plan, PROMOTION_SHARE, alpha), gate_rho(v_plan, ROLLBACK_SHARE, alpha / 2)
            ups = [log_e_one_sided(one.total, one.variance, up) > -math.log(alpha) for one in seen]
            downs = [log_e_one_sided(-one.total, one.variance, down) > -math.log(alpha / 2) for one in seen]
            harmed |= any(downs)
            if metric == "profit_rate":
                promoted += any(ups)
            if seen:  # what was counted by e-values is what the bounds say
                disagreed += ups[-1] != (lower_bound(seen[-1], metric, v_plan, PROMOTION_SHARE, alpha) > 0.0)
                disagreed += downs[-1] != (
                    upper_bound(seen[-1], metric, v_plan, ROLLBACK_SHARE, alpha / 2) < 0.0
                )
        rolled += harmed
    allowed = alpha + 2.0 * math.sqrt(alpha * (1.0 - alpha) / runs)
    print(f"no effect, {runs} runs: promoted {promoted / runs:.3f}, rolled back {rolled / runs:.3f}")
    assert disagreed == 0
    assert 0 < promoted / runs <= allowed
    assert 0 < rolled / runs <= allowed


def test_a_report_has_its_gates():
    good = ask(alternating(600, [900_000, 1_100_000, -200_000], [-900_000, 1_000_000, -1_100_000]))
    assert good.gates.kind == "sequential" and good.gates.looks == ()
    assert (good.gates.promote.answer, good.gates.rollback.answer) == ("yes", "no")
    rate, money = good.gates.promote.bounds
    assert (rate.metric, money.metric, rate.level, money.level) == ("win_rate", "pnl", 0.05, 0.05)
    assert (rate.tuned_share, good.gates.rollback.bounds[0].tuned_share) == (0.6, 0.15)
    assert [bound.level for bound in good.gates.rollback.bounds] == [0.025, 0.025]
    assert 0.0 < rate.bound < good.effect.estimate
    assert "one-sided" in good.gates.promote.sentence

    bad = ask(alternating(600, [-900_000, 1_000_000, -1_100_000], [900_000, 1_100_000, -200_000]))
    assert (bad.gates.promote.answer, bad.gates.rollback.answer) == ("no", "yes")
    mirrored = bad.gates.rollback.bounds[0].bound
    assert mirrored < 0.0


def test_money_alone_has_one_bound_at_the_whole_level():
    found = ask(alternating(600, noise(300, 1), noise(300, 2)), replace(DESIGN, metric="pnl"))
    assert [bound.metric for bound in found.gates.promote.bounds] == ["pnl"]
    assert [bound.level for bound in found.gates.rollback.bounds] == [0.05]
    assert found.gates.promote.answer == found.gates.rollback.answer == "no"


def test_a_margin_is_the_limit_of_money():
    pnl = alternating(600, [100_000] * 5 + [-490_000], [8_000_000, -8_100_000])
    strict, lenient = ask(pnl), ask(pnl, replace(DESIGN, pnl_margin_usd=5.0))
    assert (strict.gates.promote.answer, lenient.gates.promote.answer) == ("no", "yes")
    assert lenient.gates.promote.bounds[1].limit == -5.0


def test_what_cannot_be_said_has_a_reason_and_no_bound():
    few = ask(make(np.arange(20) % 2, noise(20, 3)))
    for gate in (few.gates.promote, few.gates.rollback):
        assert gate.answer == "cannot say" and "20 in each" in gate.sentence
        assert [bound.bound for bound in gate.bounds] == [None, None]
    alike = ask(alternating(100, [2_000_000], [-1_000_000]))
    assert alike.gates.promote.answer == "cannot say" and "alike" in alike.gates.promote.sentence


def test_a_broken_assignment_closes_both_gates():
    skewed = (replace(EVEN[0], counts=(900, 100)),)
    found = ask(alternating(600, noise(300, 4), noise(300, 5)), stages=skewed)
    assert found.verdict.verdict == "cannot say: assignment is broken"
    assert found.gates.promote.answer == found.gates.rollback.answer == "cannot say"
    assert "did not fall" in found.gates.promote.sentence


def test_missing_outcomes_speak_against_either_gate():
    units = alternating(600, [900_000, 1_100_000, -200_000], [-900_000, 1_000_000, -1_100_000])
    whole, holed = (
        ask(units),
        ask(units, counts={"transformer": ArmCounts(units=600, missing=300, missing_weight=150)}),
    )
    assert (whole.gates.promote.answer, holed.gates.promote.answer) == ("yes", "no")
    before, after = (found.gates.promote.bounds[0] for found in (whole, holed))
    assert before.bound == after.bound and after.missing < 0.0 == before.missing
    assert "missing outcomes" in holed.gates.promote.sentence


def test_a_shift_by_the_missing_decides_both_ways():
    """Rollback is withheld where the missing units could all have been good."""
    units = alternating(600, [-900_000, 1_000_000, -1_100_000], [900_000, 1_100_000, -200_000])
    holed = ask(units, counts={"transformer": ArmCounts(units=900, missing=600, missing_weight=300)})
    assert holed.gates.rollback.bounds[0].shifted > 0.0
    assert holed.gates.rollback.bounds[0].bound < 0.0
