"""What promotion asks beside its bounds: the three answers, their laws, and what a report says of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.conditions import AGREE_P, day_blocks, stages_agree, weekly_cycles
from stats.day_blocks import day_block_low
from stats.design import Design, History
from stats.grounds import agreement_p, compared_days, conditions_of, days_low, stage_effects
from stats.report import report
from stats.scores import pair_scores
from stats.units import ArmCounts, Stage, Units

DAY_US = 86_400_000_000
DESIGN = Design(
    arms=("base", "transformer"), control="base", treatment="transformer", metric="win_rate",
    started_us=0, attribution_s=900,
)  # fmt: skip
effects = st.tuples(st.floats(-0.5, 0.5), st.floats(0.01, 0.2), st.floats(19.0, 1e4))


def units_of(rates, days, per_day=60, seed=7):
    """Stages of `days` days each; rates: of (control, treatment) in every stage, at an even split. Who wins
    is worth 1 USD, who loses 1 USD.
    """
    rng, count = np.random.default_rng(seed), len(rates) * days * per_day
    day = np.arange(count) // per_day
    stage, arm = day // days, rng.integers(0, 2, count)
    won = rng.random(count) < np.array(rates)[stage, arm]
    ones, nothing = np.ones(count, np.int64), np.zeros(count, np.int64)
    return Units(
        arm=arm, stage=stage, e=np.full(count, 0.5), day=day, traded=ones > 0, won=won,
        pnl_micro=np.where(won, 1_000_000, -1_000_000), stake_micro=ones, fee_micro=nothing, decisions=ones,
        fallbacks=nothing, trades=ones, trade_wins=won.astype(np.int64),
    )  # fmt: skip


def ask(units, stages):
    sizes = [np.bincount(units.arm[units.stage == index], minlength=2) for index in range(stages)]
    told = tuple(
        Stage(version=index + 1, weights=(0.5, 0.5), counts=tuple(size.tolist()), started_us=index * DAY_US)
        for index, size in enumerate(sizes)
    )
    counts = {arm: ArmCounts(units=int(np.sum(units.arm == at))) for at, arm in enumerate(DESIGN.arms)}
    return report(DESIGN, units, counts, told)


def effects_of(units):
    return stage_effects(DESIGN, pair_scores(units, *DESIGN.pair, "win_rate"), units, History())


def answers(found):
    return {one.name: one.answer for one in found.gates.conditions}


@pytest.mark.parametrize(("days", "wanted", "answer"), [(14, 2, "yes"), (13, 2, "no"), (0, 0, "yes")])
def test_a_week_is_seven_days_with_units(days, wanted, answer):
    assert weekly_cycles(days, wanted).answer == answer
    assert f"{days} days are compared, of {wanted} whole weeks" in weekly_cycles(days, wanted).reason


@pytest.mark.parametrize("low", [None, math.nan, math.inf])
def test_a_bound_that_is_no_number_cannot_be_said(low):
    assert day_blocks(low, 0.0).answer == "cannot say"


def test_one_stage_has_nothing_to_disagree_with():
    assert stages_agree(1, None).answer == "yes"
    assert stages_agree(2, None).answer == "cannot say"
    assert (stages_agree(2, AGREE_P).answer, stages_agree(2, 0.0099).answer) == ("yes", "no")


@given(st.lists(effects, min_size=2, max_size=6), st.floats(-0.2, 0.2))
def test_the_order_of_stages_and_a_common_shift_change_nothing(found, shift):
    moved = [(value + shift, error, df) for value, error, df in found]
    assert agreement_p(moved) == pytest.approx(agreement_p(found), rel=1e-6, abs=1e-12)
    assert agreement_p(found[::-1]) == pytest.approx(agreement_p(found), rel=1e-9, abs=1e-300)


def test_agreeing_stages_are_seldom_said_to_disagree():
    """1% asked: of 300 experiments of two stages with the same effect at most 1% and 3 errors."""
    said = 0
    for seed in range(300):
        units = units_of([(0.5, 0.6), (0.4, 0.5)], 8, 30, seed)
        said += agreement_p(effects_of(units)) < AGREE_P
    print(f"stages that agree: {said} of 300 said to disagree")
    assert said <= 300 * AGREE_P + 3 * math.sqrt(300 * AGREE_P * (1 - AGREE_P))


def test_a_clear_gain_over_two_weeks_may_be_promoted():
    found = ask(units_of([(0.4, 0.65), (0.45, 0.7)], 8), 2)
    assert found.gates.promote.answer == "yes"
    assert set(answers(found).values()) == {"yes"}
    assert found.gates.may_promote == "yes"


def test_a_clear_gain_over_one_week_waits_for_the_second():
    found = ask(units_of([(0.4, 0.7)], 8), 1)
    assert found.gates.promote.answer == "yes", "the bound is what it is"
    assert answers(found) == {"cycles": "no", "day_blocks": "yes", "stages_agree": "yes"}
    assert found.gates.may_promote == "no"
    assert found.verdict.verdict == "better"


def test_what_helps_in_one_stage_and_harms_in_the_next_is_not_promoted():
    found = ask(units_of([(0.3, 0.9), (0.5, 0.35)], 8), 2)
    assert found.gates.promote.answer == "yes"
    assert answers(found)["stages_agree"] == "no"
    assert found.gates.may_promote == "no"
    assert "do not agree" in found.gates.conditions[2].reason


def test_days_that_are_too_few_cannot_be_said():
    found = ask(units_of([(0.4, 0.7)], 4, 100), 1)
    assert answers(found)["day_blocks"] == "cannot say"
    assert found.gates.may_promote == "no", "two weeks are lacking, whatever the days would say"


def test_a_broken_assignment_has_no_conditions():
    units = units_of([(0.4, 0.7)], 8)
    counts = {"base": ArmCounts(units=900), "transformer": ArmCounts(units=100)}
    stage = Stage(version=1, weights=(0.5, 0.5), counts=(900, 100), started_us=0)
    found = report(DESIGN, units, counts, (stage,))
    assert (found.gates.conditions, found.gates.may_promote) == ((), "cannot say")


def test_a_report_and_a_rollout_measure_the_same():
    """At the report's level; a rollout asks at its plan's."""
    units = units_of([(0.45, 0.55), (0.4, 0.6)], 8)
    scores = pair_scores(units, *DESIGN.pair, "win_rate")
    told = conditions_of(DESIGN, scores, units, 2, History())
    low = days_low(DESIGN, scores, History(), DESIGN.alpha)
    assert low == day_block_low(scores, 0.5, DESIGN.alpha)
    p = agreement_p(effects_of(units))
    assert compared_days(scores) == 15  # of 16, the newest is not over yet
    assert told == (weekly_cycles(15), day_blocks(low, 0.0), stages_agree(2, p))
