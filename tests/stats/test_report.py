"""The report on edge cases and its laws."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from stats.errors import DesignError
from stats.report import Design, History, report
from stats.shape import as_dict
from stats.units import ArmCounts, Stage, Units

ARMS = ("base", "transformer")
EVEN = (Stage(version=1, weights=(0.5, 0.5), counts=(100, 100), started_us=0),)
DESIGN = Design(
    arms=ARMS,
    control="base",
    treatment="transformer",
    metric="win_rate",
    started_us=1_767_225_600_000_000,
    attribution_s=900,
)


def make(arm, pnl, *, e=0.5, stage=0, day=0, traded=None, **columns):
    """Units from arms and PnL in micro-USD; everything else has a plain default."""
    arm, pnl = np.asarray(arm, dtype=np.int64), np.asarray(pnl, dtype=np.int64)
    count = len(arm)
    traded = np.ones(count, bool) if traded is None else np.asarray(traded, bool)
    given_columns = {
        "arm": arm,
        "stage": np.full(count, stage) if np.isscalar(stage) else stage,
        "e": np.full(count, e) if np.isscalar(e) else e,
        "day": np.full(count, day) if np.isscalar(day) else day,
        "traded": traded,
        "won": pnl > 0,
        "pnl_micro": pnl,
        "stake_micro": traded * 5_000_000,
        "fee_micro": traded * 50_000,
        "decisions": np.full(count, 150),
        "fallbacks": np.zeros(count, int),
        "trades": traded.astype(int),
        "trade_wins": (pnl > 0) & traded,
    }
    return Units.of(given_columns | columns)


def ask(units, design=DESIGN, counts=None, stages=EVEN, history=None):
    found = report(design, units, counts or {}, stages, history)
    shaped = as_dict(found)
    json.dumps(shaped, allow_nan=False)
    check_laws(shaped)
    return found


def check_laws(shaped):
    for effect in (shaped["effect"], shaped["pnl_effect"]):
        assert effect["reason"]
        inner = [
            effect[name] for name in ("low", "high", "e_value", "p", "lower_one_sided", "upper_one_sided")
        ]
        if effect["status"] != "ok":
            assert inner == [None] * 6
            continue
        assert effect["low"] <= effect["lower_one_sided"] <= effect["estimate"]
        assert effect["estimate"] <= effect["upper_one_sided"] <= effect["high"]
        assert 0.0 < effect["p"] <= 1.0 and effect["e_value"] > 0.0
        gap = effect["adjusted_treatment"] - effect["adjusted_control"]
        assert gap == pytest.approx(effect["estimate"], abs=1e-9 + 1e-15 * abs(effect["adjusted_control"]))
    assert shaped["verdict"]["verdict"] and shaped["verdict"]["reason"].endswith(".")


def alternating(count, treated_pnl, control_pnl, **more):
    """Even arms; PnL taken in turn from each arm's list."""
    arm = np.arange(count) % 2
    values = [np.repeat(np.resize(np.asarray(pnl), count // 2), 2) for pnl in (control_pnl, treated_pnl)]
    return make(arm, np.where(arm == 1, values[1], values[0]), **more)


def noise(count, seed, scale=1_000_000):
    return (np.random.default_rng(seed).standard_normal(count) * scale).astype(np.int64)


def test_no_units():
    found = ask(Units.empty(), stages=())
    assert found.effect.status == found.pnl_effect.status == "not_ready"
    assert found.effect.estimate is None
    assert found.verdict.verdict == "cannot say yet" and found.verdict.more_units is None
    assert found.naive.z is None and found.srm.p == 1.0
    assert found.arms["base"].win_rate is None and found.arms["base"].pnl_usd == 0.0


def test_no_units_under_a_split_says_how_many_it_takes():
    found = ask(Units.empty())
    assert found.verdict.more_units > 40
    assert "more market" in found.verdict.reason


@pytest.mark.parametrize("arm", [0, 1])
def test_one_arm_empty(arm):
    found = ask(make(np.full(60, arm), noise(60, 1)))
    assert found.effect.status == "not_ready" and found.effect.estimate is None
    assert "20 in each" in found.verdict.reason


def test_one_unit():
    found = ask(make([1], [2_500_000]))
    row = found.arms["transformer"]
    assert (row.mature, row.wins, row.win_rate, row.pnl_per_unit_usd) == (1, 1, 1.0, 2.5)
    assert row.pnl_low_usd is None and 0.0 < row.win_rate_low < row.win_rate_high == 1.0


def test_all_wins_cannot_be_judged_but_described():
    found = ask(alternating(100, [1_000_000], [1_000_000], day=np.arange(100) // 30))
    assert found.effect.status == found.pnl_effect.status == "degenerate"
    assert found.effect.estimate == 0.0 and found.arms["base"].win_rate == 1.0
    assert found.naive.p == 1.0


def test_zero_variance_with_different_means():
    found = ask(alternating(100, [2_000_000], [-1_000_000]))
    assert found.effect.status == "degenerate"
    assert found.effect.estimate == 1.0 and found.pnl_effect.estimate == 3.0


def test_none_traded():
    found = ask(make(np.arange(100) % 2, np.zeros(100), traded=np.zeros(100, bool)))
    assert found.effect.status == "not_ready" and found.effect.estimate is None
    assert found.arms["base"].win_rate is None and found.arms["base"].profit_rate == 0.0
    assert found.arms["base"].pnl_per_staked_usd is None and found.pnl_effect.status == "degenerate"


def test_zeros_are_no_wins_and_untraded_units_count_in_money():
    units = make([1, 1, 1, 1], [0, 0, 3_000_000, -1_000_000], traded=[True, False, True, True])
    row = ask(units).arms["transformer"]
    assert (row.traded, row.wins, row.zeros, row.trade_rate) == (3, 1, 1, 0.75)
    assert row.win_rate == pytest.approx(1 / 3) and row.profit_rate == 0.25
    assert row.pnl_per_unit_usd == 0.5


def test_stages_without_a_coin_add_nothing():
    fair = alternating(200, noise(200, 2), noise(200, 3))
    base_only, treated_only = make(np.zeros(50), noise(50, 4), e=0.0), make(np.ones(50), noise(50, 5), e=1.0)
    with_edges = concat(fair, base_only, treated_only)
    plain, edged = ask(fair), ask(with_edges)
    assert edged.effect.units == plain.effect.units == 200
    assert edged.effect.estimate == pytest.approx(plain.effect.estimate)
    assert edged.effect.low == pytest.approx(plain.effect.low)
    assert edged.arms["base"].mature == plain.arms["base"].mature + 50


def concat(*parts):
    names = Units.__dataclass_fields__
    return Units(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def test_missing_and_impossible_propensities_are_refused():
    good = alternating(1000, noise(1000, 6), noise(1000, 7))
    one_bad = replace(good, e=np.where(np.arange(1000) < 1, np.nan, 0.5))
    assert ask(one_bad).effect.status == "ok" and ask(one_bad).effect.unlogged == 1
    assert "without a usable propensity" in " ".join(ask(one_bad).warnings)
    for wrong in (np.nan, 1.0):
        bad = replace(good, e=np.where(np.arange(1000) < 4, wrong, 0.5))
        found = ask(bad)
        assert found.effect.status == "invalid_design" and found.effect.estimate is None
        assert found.verdict.verdict == "cannot say: assignment is broken"


def test_three_arms_compare_the_named_pair_only():
    arms = ("base", "other", "transformer")
    arm = np.arange(300) % 3
    units = make(arm, noise(300, 8) + np.where(arm == 1, 10**9, 0))
    stages = (Stage(version=1, weights=(1 / 3, 1 / 3, 1 / 3), counts=(100, 100, 100), started_us=0),)
    found = ask(units, replace(DESIGN, arms=arms), stages=stages)
    assert found.effect.units == 200 and abs(found.pnl_effect.estimate) < 1.0
    assert found.arms["other"].mature == 100 and found.arms["other"].win_rate_adjusted is None
    alone = ask(replace(units.take(arm != 1), arm=(arm[arm != 1] == 2).astype(np.int64)))
    assert found.effect.estimate == pytest.approx(alone.effect.estimate)


def test_better_needs_money_too():
    wins = alternating(600, [900_000, 1_100_000, -200_000], [-900_000, 1_000_000, -1_100_000])
    good = ask(wins)
    assert good.verdict.verdict == "better"
    assert "at least" in good.verdict.reason and "overstated" in good.verdict.reason
    bought = alternating(600, [100_000, 100_000, 100_000, -9_000_000], [3_000_000, -2_000_000])
    found = ask(bought)
    assert found.effect.low > 0.0 and found.pnl_effect.high < 0.0
    assert found.verdict.verdict == "worse" and "net PnL" in found.verdict.reason


def test_better_waits_while_money_is_open():
    pnl = alternating(600, [100_000] * 5 + [-490_000], [8_000_000, -8_100_000])
    found = ask(pnl)
    assert found.effect.low > 0.0 > found.pnl_effect.lower_one_sided
    assert found.verdict.verdict == "cannot say yet" and "could be worse" in found.verdict.reason


def test_a_margin_says_how_much_less_money_is_not_worse():
    pnl = alternating(600, [100_000] * 5 + [-490_000], [8_000_000, -8_100_000])
    assert ask(pnl, replace(DESIGN, pnl_margin_usd=5.0)).verdict.verdict == "better"


def test_an_arm_that_never_trades_is_not_promised_a_date():
    arm = np.arange(300) % 2
    units = make(arm, np.where(arm == 1, noise(300, 10), 0), traded=arm == 1)
    found = ask(units)
    assert found.verdict.more_units is None and "cannot be said" in found.verdict.reason
    assert ask(units, replace(DESIGN, metric="profit_rate")).effect.status == "ok"


def test_worse():
    found = ask(alternating(600, [-900_000, 1_000_000, -1_100_000], [900_000, 1_100_000, -200_000]))
    assert found.verdict.verdict == "worse" and found.effect.high < 0.0


def test_no_difference_needs_the_planned_evidence():
    pnl = [1_000_000, -1_000_000, 990_000, -1_010_000]
    early, late = ask(alternating(200, pnl, pnl)), ask(alternating(2000, pnl, pnl))
    assert early.verdict.verdict == "cannot say yet"
    assert late.verdict.verdict == "no difference shown"


def test_srm_alarm_comes_first():
    stages = (Stage(version=1, weights=(0.5, 0.5), counts=(600, 400), started_us=0),)
    found = ask(alternating(600, [1_000_000, 1_100_000, -200_000], [-900_000, 1_000_000]), stages=stages)
    assert found.srm.alarm and found.verdict.verdict == "cannot say: assignment is broken"
    assert found.stages[0].srm_p < 1e-6


@pytest.mark.parametrize(("counts", "alarm"), [((44_700, 45_489), True), ((45_000, 45_189), False)])
def test_a_log_that_was_whole_before_anybody_looked_is_judged_at_one_look(counts, alarm):
    stages = (Stage(version=1, weights=(0.5, 0.5), counts=counts, started_us=0),)
    often, once = (ask(noisy(), replace(DESIGN, looked_at=at), stages=stages) for at in ("often", "once"))
    assert (often.srm.alarm, once.srm.alarm) == (False, alarm)
    assert once.srm.p == pytest.approx(chisquare(counts).pvalue)
    assert ("chi-square at one look" in once.verdict.reason) == alarm
    nothing = ask(Units.empty(), replace(DESIGN, looked_at="once"), stages=())
    assert (nothing.srm.alarm, nothing.srm.p) == (False, 1.0)


def noisy():
    return alternating(200, noise(100, 1), noise(100, 2))


def test_a_clean_ramp_raises_no_srm_alarm():
    stages = tuple(
        Stage(version=index, weights=(1 - share, share), counts=counts, started_us=index)
        for index, (share, counts) in enumerate([(0.0, (50, 0)), (0.1, (900, 100)), (0.5, (500, 500))])
    )
    found = ask(Units.empty(), stages=stages)
    assert not found.srm.alarm and found.stages[0].srm_p is None
    stray = replace(stages[0], counts=(50, 3))
    assert "share was 0" in " ".join(ask(Units.empty(), stages=(stray,)).warnings)


def test_missing_outcomes_show_both_bounds_and_hold_the_verdict():
    units = alternating(600, [900_000, 1_100_000, -200_000], [-900_000, 1_000_000, -1_100_000])
    none, some = (
        {"transformer": ArmCounts(missing=1, missing_weight=0.5)},
        {"transformer": ArmCounts(missing=100, missing_weight=50)},
    )
    assert not ask(units, counts=none).warnings
    found = ask(units, counts=some)
    assert "25.0% of transformer's" in found.warnings[0]
    assert "the estimate could be anything from" in found.warnings[0]
    assert "(all of them against transformer)" in found.warnings[0]
    many = ask(units, counts={arm: ArmCounts(missing=200, missing_weight=100) for arm in ARMS})
    assert many.effect.low > 0.0 and many.verdict.verdict == "cannot say yet"
    (worst,) = re.findall(
        r"missing outcomes at their worst it is (-[0-9.]+) points, so 0", many.verdict.reason
    )
    assert float(worst) < 0.0


def test_missing_outcomes_of_a_worse_arm_move_the_upper_bound():
    units = alternating(600, [-900_000, 1_000_000, -1_100_000], [900_000, 1_100_000, -200_000])
    found = ask(units, counts={arm: ArmCounts(missing=200, missing_weight=100) for arm in ARMS})
    assert found.effect.high < 0.0 and found.verdict.verdict == "cannot say yet"
    assert re.search(
        r"missing outcomes at their best the upper bound is \+[0-9.]+ points, so 0 is inside: find them\.$",
        found.verdict.reason,
    )


def test_without_an_estimate_missing_outcomes_are_counted_and_no_share_is_invented():
    counts = {
        "base": ArmCounts(units=9, missing=2, missing_weight=1),
        "transformer": ArmCounts(units=7, missing=1, missing_weight=0.5),
    }
    assert ask(Units.empty(), counts=counts).warnings == (
        "No outcome came in time for 1 of transformer's 7 and 2 of base's 9 markets.",
    )


def test_simpson_is_named():
    """A ramp in a rising market: the raw rate flatters the treatment, which is worse at every stage."""
    rng = np.random.default_rng(9)
    stage = np.repeat([0, 1], 1000)
    e = np.array([0.1, 0.6])[stage]
    arm = (rng.random(2000) < e).astype(np.int64)
    won = rng.random(2000) < np.array([0.2, 0.7])[stage] - 0.08 * arm
    units = make(arm, np.where(won, 10**6, -(10**6)), e=e, stage=stage, day=stage)
    tally = np.bincount(2 * stage + arm, minlength=4).reshape(2, 2).tolist()
    stages = tuple(
        Stage(version=index, weights=(1 - share, share), counts=tuple(tally[index]), started_us=0)
        for index, share in enumerate((0.1, 0.6))
    )
    found = ask(units, stages=stages)
    raw = found.arms["transformer"].win_rate - found.arms["base"].win_rate
    assert raw > 0.0 > found.effect.estimate
    assert all(each.estimate < 0.0 for each in found.stages)
    assert "mixes times" in " ".join(found.warnings)


def test_estimand_is_stated():
    text = ask(Units.empty()).estimand
    assert "transformer minus base" in text and "since 2026-01-01 00:00 UTC" in text
    assert "within 900 s of its end, a replayed one once all its bots have reported" in text


@pytest.mark.parametrize(("base", "transformer", "broken"), [(1, 0, False), (5, 5, False), (5, 6, True)])
def test_many_contaminated_units_break_the_assignment(base, transformer, broken):
    counts = {
        "base": ArmCounts(units=500, contaminated=base),
        "transformer": ArmCounts(units=500, contaminated=transformer),
    }
    units = alternating(600, [900_000, 1_100_000, -200_000], [-900_000, 1_000_000, -1_100_000])
    found = ask(units, counts=counts).verdict
    assert found.verdict == ("cannot say: assignment is broken" if broken else "better")
    assert ("11 of the pair's 1,000 markets were assigned to two arms" in found.reason) == broken


@pytest.mark.parametrize(
    ("base", "transformer", "said"),
    [
        ((100, 0), (50, 0), None),
        ((100, 2), (50, 1), None),
        ((100, 0), (50, 1), "refused in 1 of transformer's 50 and 0 of base's 100 markets"),
        ((1_000_000, 1), (0, 0), "refused in 0 of transformer's 0 and 1 of base's 1,000,000 markets"),
    ],
)
def test_refused_decisions_are_said_where_one_arm_has_a_larger_share(base, transformer, said):
    counts = {
        arm: ArmCounts(units=units, unserved=unserved)
        for arm, (units, unserved) in (("base", base), ("transformer", transformer))
    }
    found = ask(Units.empty(), counts=counts)
    assert {arm: row.unserved for arm, row in found.arms.items()} == {
        "base": base[1],
        "transformer": transformer[1],
    }
    refused = [warning for warning in found.warnings if "refused" in warning]
    assert len(refused) == (said is not None)
    assert all(said in warning for warning in refused)


def test_one_contaminated_unit_of_few_breaks_nothing():
    found = ask(Units.empty(), counts={"base": ArmCounts(units=3, contaminated=1)})
    assert found.verdict.verdict == "cannot say yet"


def test_contamination_of_an_arm_outside_the_pair_does_not_count():
    stages = (Stage(version=1, weights=(1 / 3, 1 / 3, 1 / 3), counts=(0, 0, 0), started_us=0),)
    design = replace(DESIGN, arms=("base", "other", "transformer"))
    found = ask(Units.empty(), design, {"other": ArmCounts(units=10, contaminated=9)}, stages)
    assert found.verdict.verdict == "cannot say yet"


def test_favourites_wait_until_enough_losses_are_in():
    """Fair bets won 98 times in 100 at a 10% split: money waits and says why, the win rate does not."""
    rng = np.random.default_rng(11)
    arm, won = (rng.random(1000) < 0.1).astype(int), rng.random(1000) < 0.98
    units = make(arm, np.where(won, 20_408, -1_000_000) + rng.integers(-99, 99, 1000), e=0.1, day=5)
    found = ask(units, replace(DESIGN, metric="pnl"))
    assert found.effect.status == "not_ready" and found.effect.low is None
    assert "skewness" in found.effect.reason and "effective units in each arm" in found.effect.reason
    assert found.verdict.verdict == "cannot say yet" and found.verdict.more_units > 1000
    rate = ask(units)
    assert rate.effect.status == "ok" and rate.pnl_effect.status == "not_ready"


@pytest.mark.parametrize("metric", ["pnl", "profit_rate"])
def test_an_idle_control_and_a_mostly_winning_treatment_are_judged_soon(metric):
    """The ramp 10% -> 25% -> 50%, a control that nearly never trades: judged by 100 treated units, and better
    at the end."""
    rng = np.random.default_rng(12)
    e = np.array([0.1, 0.25, 0.5])[np.searchsorted([80, 200], np.arange(400), side="right")]
    arm = (rng.random(400) < e).astype(int)
    gain = np.where(rng.random(400) < 0.15, 0.0, rng.normal(7.0, 6.0, 400))
    pnl = np.round(1e6 * np.where(arm == 1, gain, np.where(rng.random(400) < 0.01, -2.0, 0.0)))
    stake = np.where(pnl != 0, rng.integers(100, 300, 400) * 1_000_000, 0)
    units = make(arm, pnl, e=e, day=np.arange(400) // 50, traded=pnl != 0, stake_micro=stake)
    until = int(np.flatnonzero(np.cumsum(arm) == 100)[0]) + 1
    design = replace(DESIGN, metric=metric)
    early, late = ask(units.take(np.arange(400) < until), design), ask(units, design)
    assert early.pnl_effect.status == early.effect.status == "ok"
    assert late.verdict.verdict == "better"


def test_negative_pnl_and_exact_money():
    pnl = np.full(1001, 9_007_199_254_740_993) * np.where(np.arange(1001) % 2, 1, -1)
    row = ask(make(np.ones(1001), pnl)).arms["transformer"]
    assert row.pnl_usd == -9_007_199_254_740_993 / 1_000_000
    tenth = ask(make(np.ones(10), np.full(10, 100_000))).arms["transformer"]
    assert tenth.pnl_usd == 1.0 and tenth.pnl_per_staked_usd == 0.02


def test_wrong_input_is_refused_in_a_sentence():
    with pytest.raises(DesignError, match=r"holds index 5 but design has 2 arms"):
        report(DESIGN, make([5], [1]), {}, EVEN)
    with pytest.raises(DesignError, match=r"units\.stage holds index 2"):
        report(DESIGN, make([1], [1], stage=2), {}, EVEN)
    with pytest.raises(DesignError, match="counts name"):
        report(DESIGN, Units.empty(), {"ghost": ArmCounts()}, EVEN)
    with pytest.raises(DesignError, match="not among the arms"):
        replace(DESIGN, treatment="ghost")
    with pytest.raises(DesignError, match="compare two arms"):
        replace(DESIGN, treatment="base")


@st.composite
def experiments(draw):
    seed, count = draw(st.integers(0, 2**32 - 1)), draw(st.integers(250, 500))
    rng = np.random.default_rng(seed)
    day = np.sort(rng.integers(0, draw(st.integers(1, 6)), count))
    e = np.array([0.3, 0.5, 0.6])[day * 3 // (int(day.max()) + 1)]
    traded = rng.random(count) < 0.7
    pnl = np.where(traded, rng.normal(draw(st.integers(-2, 2)), 2.0, count) * 1e6, 0.0)
    return make((rng.random(count) < e).astype(int), pnl, e=e, day=day, traded=traded)


KNOWN = History(pnl_mean_micro=100_000.0, pnl_sd_micro=2_000_000.0)
slowly = settings(max_examples=25, deadline=None)


def numbers(effect):
    return [effect.estimate, effect.low, effect.high, effect.e_value, effect.p]


@slowly
@given(experiments(), st.integers(0, 1000))
def test_order_within_a_day_does_not_matter(units, seed):
    order = np.lexsort((np.random.default_rng(seed).random(len(units)), units.day))
    here, there = ask(units, history=KNOWN), ask(units.take(order), history=KNOWN)
    for left, right in ((here.effect, there.effect), (here.pnl_effect, there.pnl_effect)):
        assert left.status == right.status == "ok"
        assert numbers(left) == pytest.approx(numbers(right), rel=1e-9, abs=1e-12)


@slowly
@given(experiments(), st.sampled_from([1, -(10**9), 10**15, 3 * 10**17 + 1]))
def test_a_constant_added_to_all_money_leaves_the_effect(units, offset):
    moved = replace(units, pnl_micro=units.pnl_micro + offset)
    history = replace(KNOWN, pnl_mean_micro=KNOWN.pnl_mean_micro + offset)
    here, there = ask(units, history=KNOWN), ask(moved, history=history)
    rounding = 4.0 * np.spacing(abs(float(offset)) + 1e6) / 1e6
    for name in ("estimate", "low", "high"):
        left, right = getattr(here.pnl_effect, name), getattr(there.pnl_effect, name)
        assert left == pytest.approx(right, rel=1e-9, abs=1e-9 + rounding)


@slowly
@given(experiments(), st.sampled_from([10**12, 10**15]))
def test_without_history_one_day_is_free_of_the_offset_too(units, offset):
    one_day = replace(units, day=np.zeros(len(units), np.int64))
    moved = replace(one_day, pnl_micro=one_day.pnl_micro + offset)
    here, there = ask(one_day).pnl_effect, ask(moved).pnl_effect
    assert (here.estimate, here.low, here.high) == pytest.approx(
        (there.estimate, there.low, there.high), abs=1e-6
    )


@slowly
@given(experiments(), st.sampled_from(["win_rate", "profit_rate", "pnl"]))
def test_swapping_the_arms_flips_the_sign(units, metric):
    design = replace(DESIGN, metric=metric)
    swapped = replace(design, control="transformer", treatment="base")
    here = ask(units, design).effect
    there = ask(replace(units, e=1.0 - units.e), swapped).effect
    assert here.estimate == pytest.approx(-there.estimate)
    assert (here.low, here.high) == pytest.approx((-there.high, -there.low))
    assert here.e_value == pytest.approx(there.e_value)


@slowly
@given(st.lists(st.integers(-(2**61), 2**61), max_size=50))
def test_money_adds_up_exactly(values):
    found = ask(make(np.ones(len(values)), values)).arms["transformer"]
    assert found.pnl_usd == sum(values) / 1_000_000


def test_an_interval_of_rates_stays_within_what_is_possible_and_holds_its_estimate():
    rows = 120
    arm = np.arange(rows) % 2
    won = (arm == 1) & (np.arange(rows) % 40 != 1)
    pnl = np.where(won, 1_000_000, -1_000_000 * (np.arange(rows) % 3))
    columns = {
        "arm": arm, "stage": np.zeros(rows, int), "e": np.full(rows, 0.5), "day": np.zeros(rows, int),
        "traded": np.ones(rows, bool), "won": won, "pnl_micro": pnl, "stake_micro": np.full(rows, 10**6),
        "fee_micro": np.zeros(rows, int), "decisions": np.ones(rows, int), "fallbacks": np.zeros(rows, int),
        "trades": np.ones(rows, int), "trade_wins": won.astype(int),
    }  # fmt: skip
    design = Design(
        arms=("base", "transformer"), control="base", treatment="transformer", metric="profit_rate",
        started_us=0, attribution_s=900,
    )  # fmt: skip
    counts = {name: ArmCounts(units=60) for name in design.arms}
    found = report(design, Units.of(columns), counts, [Stage(1, (0.5, 0.5), (60, 60), 0)]).effect
    assert found.status == "ok"
    assert found.high == 1.0
    assert 0.5 < found.low < found.lower_one_sided < found.estimate <= found.high
