"""The control's record from before the treatment's first share: what is taken from it, and its safety."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.design import Design, History
from stats.gate import lower_bound
from stats.incumbent import FEWEST, history_of
from stats.metric_effect import metric_effect, pair_of, unit_variance_of
from stats.report import report
from stats.scale import PLAN_SHARE, PROMOTION_SHARE, plan_variance, rho_of
from stats.scores import pair_scores
from stats.units import Stage, Units

DESIGN = Design(
    arms=("base", "transformer"), control="base", treatment="transformer", metric="profit_rate",
    started_us=1_767_225_600_000_000, attribution_s=900,
)  # fmt: skip
EVEN = (Stage(version=1, weights=(0.5, 0.5), counts=(100, 100), started_us=0),)


def units_of(pnl, treated, e, traded=None):
    pnl, arm = np.asarray(pnl, dtype=np.int64), np.asarray(treated).astype(np.int64)
    ones, nothing = np.ones(len(arm), np.int64), np.zeros(len(arm), np.int64)
    filled = ones > 0 if traded is None else np.asarray(traded, bool)
    return Units(
        arm=arm, stage=nothing, e=np.broadcast_to(np.asarray(e, float), len(arm)).copy(),
        day=np.arange(len(arm)) // 20, traded=filled, won=(pnl > 0) & filled, pnl_micro=pnl,
        stake_micro=5_000_000 * ones, fee_micro=nothing, decisions=ones, fallbacks=nothing,
        trades=filled.astype(np.int64), trade_wins=((pnl > 0) & filled).astype(np.int64),
    )  # fmt: skip


def early(count, seed=1, mean=0):
    pnl = np.random.default_rng(seed).normal(mean, 2_000_000, count).astype(np.int64)
    return units_of(pnl, np.zeros(count), 0.0)


def joined(*parts):
    names = Units.__dataclass_fields__
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Units(**whole | {"day": np.arange(sum(map(len, parts))) // 20})


def test_nothing_before_is_the_default():
    assert history_of(Units.empty(), 0) == History()
    assert history_of(early(FEWEST - 1), 0) == History(units=FEWEST - 1)


def test_what_is_taken():
    units = units_of([3_000_000] * 15 + [-1_000_000] * 15, np.zeros(30), 0.0, [True] * 25 + [False] * 5)
    found = history_of(units, 0)
    assert (found.units, found.win_rate, found.profit_rate) == (30, 15 / 25, 15 / 30)
    assert found.pnl_mean_micro == 1_000_000.0
    assert found.pnl_sd_micro == pytest.approx(np.std([3e6] * 15 + [-1e6] * 15, ddof=1))


def test_few_fills_say_nothing_of_wins_and_scale():
    units = units_of([3_000_000] * 15 + [0] * 15, np.zeros(30), 0.0, [True] * 15 + [False] * 15)
    found = history_of(units, 0)
    assert (found.win_rate, found.pnl_sd_micro) == (0.5, None)
    assert (found.profit_rate, found.pnl_mean_micro) == (0.5, 1_500_000.0)
    alike = history_of(units_of([7] * 30, np.zeros(30), 0.0), 0)
    assert (alike.pnl_mean_micro, alike.pnl_sd_micro) == (7.0, None)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(-(10**12), 10**12))
def test_money_moves_with_a_common_offset_and_its_scale_does_not(seed, offset):
    units = early(40, seed)
    moved = replace(units, pnl_micro=units.pnl_micro + offset)
    here, there = history_of(units, 0), history_of(moved, 0)
    assert there.pnl_mean_micro - offset == pytest.approx(here.pnl_mean_micro, abs=1e-2)
    assert there.pnl_sd_micro == pytest.approx(here.pnl_sd_micro, rel=1e-12)


def test_only_the_control_where_the_treatment_could_not_come():
    mixed = joined(early(30), units_of(np.full(50, 10**9), np.arange(50) % 2, 0.5))
    strangers = replace(early(30), arm=np.full(30, 2))
    assert history_of(mixed, 0) == history_of(early(30), 0)
    assert history_of(joined(early(30), strangers), 0) == history_of(early(30), 0)


def test_the_scale_of_money_and_of_its_gates_is_the_history_s():
    units, known = joined(early(60), drawn(400, 3)), history_of(early(60), 0)
    scores = pair_scores(units, 1, 0, "pnl")
    pair = pair_of(DESIGN, "pnl", scores, known)
    assert pair.rho == rho_of(known.pnl_sd_micro**2, 2000, 0.05)
    assert pair.prior == known.pnl_mean_micro
    told = report(replace(DESIGN, metric="pnl"), units, {}, EVEN, known)
    v_plan = plan_variance(unit_variance_of("pnl", scores, known), 2000)
    wanted = 1e-6 * lower_bound(told.pnl_effect.look, "pnl", v_plan, PROMOTION_SHARE, 0.05)
    assert told.gates.promote.bounds[0].bound == pytest.approx(wanted, rel=1e-12)
    assert pair.rho * PROMOTION_SHARE / PLAN_SHARE != pytest.approx(wanted)


def drawn(count, seed, e=0.5):
    rng = np.random.default_rng(seed)
    return units_of(rng.normal(0, 2_000_000, count).astype(np.int64), rng.random(count) < e, e)


def test_the_start_matters_on_the_first_day_only_as_a_start():
    """All units on one day: the centre is its start. The estimate moves, by less than its error."""
    rng = np.random.default_rng(4)
    treated = rng.random(400) < 0.3
    units = replace(
        units_of(np.where(rng.random(400) < 0.9, 1, -1), treated, 0.3), day=np.zeros(400, np.int64)
    )
    scores = pair_scores(units, 1, 0, "profit_rate")
    plain = metric_effect(DESIGN, "profit_rate", scores, History())
    known = metric_effect(DESIGN, "profit_rate", scores, History(profit_rate=0.9, units=50))
    assert plain.look.centre == pytest.approx(0.5) and known.look.centre == pytest.approx(0.9)
    assert known.estimate == pytest.approx(plain.estimate)  # a constant centre cancels within one day
    assert known.adjusted_control == pytest.approx(plain.adjusted_control)


def test_under_peeking_the_error_is_kept_with_a_history():
    """No effect; 100 units of the control alone, then 10% -> 25% -> 50%; heavy-tailed money in a drift."""
    before, count, runs, alpha = 100, 600, 400, 0.05
    rng = np.random.default_rng(20261105)
    e = np.concatenate(
        [np.zeros(before), np.array([0.1, 0.25, 0.5])[np.minimum(np.arange(count) * 3 // count, 2)]]
    )
    alarms = dict.fromkeys(("profit_rate", "pnl"), 0)
    for _ in range(runs):
        treated = rng.random(before + count) < e
        drift = np.cumsum(rng.normal(0.0, 0.5 / math.sqrt(count), before + count))
        pnl = (1e6 * (rng.standard_t(4, before + count) + drift)).astype(np.int64)
        units = units_of(pnl, treated, e)
        known = history_of(units.take(np.arange(before)), 0)
        assert known.units == before and known.pnl_sd_micro
        for metric in alarms:
            alarms[metric] += _ever(units, metric, known)
    print(f"no effect, {runs} runs: " + ", ".join(f"{m} {n / runs:.3f}" for m, n in alarms.items()))
    allowed = alpha + 2.0 * math.sqrt(alpha * (1.0 - alpha) / runs)
    assert all(0 < count / runs <= allowed for count in alarms.values())


def _ever(units, metric, known):
    """p is 1 / the largest E of any day, so it says whether any look alarmed."""
    found = metric_effect(DESIGN, metric, pair_scores(units, 1, 0, metric), known)
    return found.p is not None and found.p <= 0.05
