"""Promotion at named looks: which units they see, what they may spend; between them nothing is said."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from stats.design import Design
from stats.errors import DesignError
from stats.group_sequential import in_student_t, obrien_fleming_like, spending_boundaries
from stats.headline import headline
from stats.plan import looks_fault
from stats.planned_looks import boundaries_of, next_look, taken_looks
from stats.report import report
from stats.scale import plan_information
from stats.scores import Scores, pair_scores
from stats.sequence import looks
from stats.shape import as_dict
from stats.special import normal_isf
from stats.units import Stage, Units

SEQUENTIAL = Design(
    arms=("base", "transformer"), control="base", treatment="transformer", metric="profit_rate",
    started_us=1_767_225_600_000_000, attribution_s=900, v_plan_units=800, pnl_margin_usd=1000.0,
)  # fmt: skip
PLANNED = replace(SEQUENTIAL, gate="planned", looks=(0.25, 0.5, 1.0))
HYBRID = replace(PLANNED, gate="hybrid")
EVEN = (Stage(version=1, weights=(0.5, 0.5), counts=(100, 100), started_us=0),)


def units_of(won, treated, e=0.5, every=20):
    """Traded units; a win brings a dollar, a loss takes one."""
    won, arm = np.asarray(won, bool), np.asarray(treated).astype(np.int64)
    ones, nothing = np.ones(len(arm), np.int64), np.zeros(len(arm), np.int64)
    return Units(
        arm=arm, stage=nothing, e=np.broadcast_to(np.asarray(e, float), len(arm)).copy(),
        day=np.arange(len(arm)) // every, traded=ones > 0, won=won,
        pnl_micro=np.where(won, 1_000_000, -1_000_000), stake_micro=5_000_000 * ones, fee_micro=nothing,
        decisions=ones, fallbacks=nothing, trades=ones, trade_wins=won.astype(np.int64),
    )  # fmt: skip


def drawn(seed, count, lift=0.0, e=0.5, level=0.5):
    rng = np.random.default_rng(seed)
    treated = rng.random(count) < e
    return units_of(rng.random(count) < level + lift * treated, treated, e)


def ask(units, design=PLANNED, closed=None):
    found = report(design, units, {}, EVEN, None, closed)
    json.dumps(as_dict(found), allow_nan=False)
    return found


def scores_of(units):
    return pair_scores(units, 1, 0, "profit_rate")


# ---- which looks


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1200), st.integers(1, 300), st.floats(0.05, 0.95))
def test_a_look_sees_the_same_units_however_late_it_is_read(count, more, e):
    """The first look that holds its share; one unit fewer would not."""
    whole = drawn(count, count + more, e=e)
    early = taken_looks(PLANNED, scores_of(whole.take(np.arange(count))), None)
    late = taken_looks(PLANNED, scores_of(whole), None)
    assert late[: len(early)] == early
    clock = np.cumsum(np.full(count + more, e * (1.0 - e))) / plan_information(PLANNED.v_plan_units)
    for look in late:
        assert clock[look.rows - 1] >= look.planned * (1.0 - 1e-9)
        assert look.rows == 1 or clock[look.rows - 2] < look.planned
        assert look.fraction == pytest.approx(min(1.0, clock[look.rows - 1]))
        assert look.is_last == (look.planned == 1.0)


def test_units_without_a_coin_do_not_move_the_clock():
    fair, before = drawn(1, 500), units_of(np.ones(300), np.zeros(300), 0.0)
    both = Units(
        **{
            name: np.concatenate([getattr(before, name), getattr(fair, name)])
            for name in Units.__dataclass_fields__
        }
        | {"day": np.arange(800) // 20}
    )
    alone, after = (taken_looks(PLANNED, scores_of(units), None) for units in (fair, both))
    assert [look.rows + 300 for look in alone] == [look.rows for look in after]
    assert [(look.units, look.fraction) for look in alone] == [(look.units, look.fraction) for look in after]


def test_the_deadline_brings_the_last_look_and_no_other():
    scores = scores_of(drawn(2, 700))
    open_ended = taken_looks(PLANNED, scores, None)
    assert [look.planned for look in open_ended] == [0.25, 0.5]
    assert next_look(PLANNED, scores, open_ended, None).planned == 1.0
    ended = taken_looks(PLANNED, scores, 600)
    assert [(look.planned, look.rows) for look in ended] == [(0.25, 200), (0.5, 400), (1.0, 600)]
    assert ended[-1].fraction == pytest.approx(0.75) and ended[-1].is_last
    assert next_look(PLANNED, scores, ended, 600) is None
    assert [look.rows for look in taken_looks(PLANNED, scores, 100)] == [100]
    assert taken_looks(PLANNED, scores, 0) == ()
    too_near = taken_looks(PLANNED, scores, 402)
    assert [look.rows for look in too_near] == [200, 400] and not too_near[-1].is_last
    assert next_look(PLANNED, scores, too_near, 402) is None


def test_the_last_look_may_spend_what_is_left_whatever_it_holds():
    scores = scores_of(drawn(3, 700))
    ended = taken_looks(PLANNED, scores, 600)
    bounds = boundaries_of(ended, 0.05)
    assert bounds.spent[-1] == pytest.approx(0.05)
    assert bounds.spent[0] == pytest.approx(obrien_fleming_like(0.25, 0.05))
    plain = spending_boundaries([look.fraction for look in ended], 0.05, obrien_fleming_like, sided=1)
    assert bounds.critical[:2] == plain.critical[:2] and bounds.critical[2] < plain.critical[2]
    assert boundaries_of(ended[:2], 0.05).critical == bounds.critical[:2]


def test_reference_boundaries_of_three_equal_looks():
    """One-sided 0.025, as in every textbook: 3.7103, 2.5114, 1.9930 (Jennison and Turnbull 2000)."""
    design = replace(PLANNED, looks=(1 / 3, 2 / 3, 1.0), v_plan_units=1200)
    taken = taken_looks(design, scores_of(drawn(4, 1200)), None)
    assert boundaries_of(taken, 0.025).critical == pytest.approx((3.7103, 2.5114, 1.9930), abs=2e-3)


@pytest.mark.parametrize(
    ("gate", "wrong"),
    [
        ("sequential", (1.0,)), ("planned", ()), ("hybrid", ()), ("planned", (0.5,)), ("planned", (0.1, 1.0)),
        ("planned", (0.5, 0.52, 1.0)), ("planned", (0.6, 0.5, 1.0)), ("planned", (0.5, 1.0, 1.5)),
        ("planned", (math.nan, 1.0)), ("hybrid", tuple(np.linspace(0.2, 1.0, 11))),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_refused(gate, wrong):
    assert looks_fault(gate, wrong)
    with pytest.raises(DesignError, match=r"design\.looks must"):
        replace(SEQUENTIAL, gate=gate, looks=wrong)


def test_what_is_a_plan():
    assert looks_fault("sequential", ()) is None
    assert looks_fault("planned", (1.0,)) is None
    assert looks_fault("hybrid", (0.2, 0.25, 0.3, 0.95, 1.0)) is None


# ---- Satterthwaite


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 0.8), st.integers(60, 400))
def test_degrees_of_freedom_lie_between_the_smaller_arm_and_both(seed, e, count):
    look = looks(scores_of(drawn(seed, count, e=e)), 0.5, 20.0, 0.8)[-1]
    if not look.ready:
        return
    arms = look.treatment.effective_units, look.control.effective_units
    df = look.error_df
    assert min(arms) - 1.0 <= df * (1.0 + 1e-12)
    assert df <= (sum(arms) - 2.0) * (1.0 + 1e-12)


# ---- what the gate answers


def test_before_the_first_look_and_between_looks_it_cannot_say():
    units = drawn(5, 800, lift=-0.02)
    first = ask(units.take(np.arange(150)))
    assert first.gates.promote.answer == "cannot say" and first.gates.looks == ()
    assert "the next named look is at 25%" in first.gates.promote.sentence
    assert first.gates.promote.more_units == 50 == first.verdict.more_units
    between = ask(units.take(np.arange(330)))
    assert [look.units for look in between.gates.looks] == [200]
    assert between.gates.looks[0].answer == "no" and between.gates.promote.answer == "cannot say"
    assert "Between named looks nothing can be said" in between.gates.promote.sentence
    assert between.gates.promote.more_units == 70
    assert between.verdict.verdict == "cannot say yet"
    over = ask(units)
    assert over.gates.promote.answer == "no" and "The plan is over" in over.gates.promote.sentence
    assert over.verdict.verdict == "no difference shown"


def test_a_look_that_passed_stays_passed_whatever_comes():
    """And it was passed at its own units, not at those of the report."""
    good, bad = drawn(6, 420, lift=0.25), drawn(7, 300, lift=-0.25)
    both = units_of(
        np.concatenate([good.won, bad.won]), np.concatenate([good.arm, bad.arm]) == 1, 0.5
    )  # fmt: skip
    then, now = ask(good), ask(both)
    assert then.verdict.verdict == now.verdict.verdict == "better"
    assert then.gates.looks == now.gates.looks
    assert then.gates.promote.sentence == now.gates.promote.sentence
    assert "at named look" in now.verdict.reason
    told = headline(PLANNED, now, 100.0, 1_769_904_000_000_000)
    assert f"by at least {100 * now.gates.promote.bounds[0].bound:+.1f} points" in told.sentence


def test_a_good_interval_between_looks_is_no_promotion():
    design = replace(PLANNED, looks=(1.0,), v_plan_units=4000)
    found = ask(drawn(8, 700, lift=0.3), design)
    assert found.effect.low > 0.0
    assert ask(drawn(8, 700, lift=0.3), SEQUENTIAL).verdict.verdict == "better"
    assert found.verdict.verdict == "cannot say yet" and found.gates.promote.answer == "cannot say"


def test_a_hybrid_sees_at_any_look_with_less_error():
    late = replace(HYBRID, looks=(1.0,), v_plan_units=4000)
    found = ask(drawn(8, 700, lift=0.3), late)
    assert found.verdict.verdict == "better" and found.gates.promote.answer == "yes"
    assert found.gates.promote.bounds[0].level == pytest.approx(0.015)
    assert found.gates.promote.level == 0.05
    named = ask(drawn(9, 420, lift=0.16), HYBRID)
    assert [look.spent for look in named.gates.looks] == pytest.approx(
        [obrien_fleming_like(look.fraction, 0.035) for look in named.gates.looks]
    )


def test_a_hybrid_between_its_looks_asks_more_than_the_interval_shown():
    """30% of alpha on one side is less than the half of it that the interval has on either."""
    units = drawn(36, 700, lift=0.12)
    found = ask(units, replace(HYBRID, looks=(1.0,)))
    assert found.effect.low > 0.0 and ask(units, SEQUENTIAL).verdict.verdict == "better"
    assert found.gates.promote.answer == "no" and found.gates.looks == ()
    assert found.verdict.verdict == "cannot say yet" and found.gates.promote.sentence in found.verdict.reason


@pytest.mark.parametrize("design", [PLANNED, HYBRID])
def test_harm_is_seen_at_any_look_whatever_the_gate(design):
    found = ask(drawn(10, 170, lift=-0.4, level=0.7), design)
    same = ask(drawn(10, 170, lift=-0.4, level=0.7), SEQUENTIAL)
    assert found.verdict.verdict == "worse" and found.gates.rollback == same.gates.rollback
    assert found.gates.rollback.answer == "yes" and found.gates.promote.answer != "yes"


def test_a_look_with_few_units_in_an_arm_cannot_say():
    units = drawn(11, 2000, e=0.01)
    found = ask(units, replace(PLANNED, v_plan_units=100))
    assert found.gates.looks
    assert found.gates.looks[0].answer == "cannot say"
    assert "20 effective units" in found.gates.looks[0].bounds[0].reason


def test_the_deadline_ends_the_plan():
    units = drawn(12, 700, lift=0.01)
    found = ask(units, closed=500)
    assert [look.units for look in found.gates.looks] == [200, 400, 500]
    assert found.gates.promote.answer == "no"
    none = ask(units, closed=0)
    assert none.gates.promote.answer == "cannot say" and "deadline passed" in none.gates.promote.sentence


def test_named_looks_find_more_than_the_sequence_does():
    """The point of a plan: at its end the bound is nearer than the sequence's at the same level."""
    found, watched = ask(drawn(13, 800, lift=0.1)), ask(drawn(13, 800, lift=0.1), SEQUENTIAL)
    planned, sequence = found.gates.looks[-1].bounds[0].bound, watched.gates.promote.bounds[0].bound
    assert found.effect.estimate - planned < 0.75 * (watched.effect.estimate - sequence)


def _runs(runs, count, seed, lift=0.0):
    """Split 10% -> 25% -> 50%, a drifting market, half the units in lots that share their luck."""
    rng = np.random.default_rng(seed)
    e = np.array([0.1, 0.25, 0.5])[np.minimum(np.arange(count) * 3 // count, 2)]
    for _ in range(runs):
        treated = rng.random(count) < e
        drift = np.cumsum(rng.normal(0.0, 0.08 / math.sqrt(count), count))
        common = np.repeat(rng.normal(0.0, 0.15, count // 10), 10)
        level = np.clip(0.5 + drift + common + lift * treated, 0.02, 0.98)
        yield units_of(rng.random(count) < level, treated, e)


def test_the_error_of_all_named_looks_together_is_kept():
    """No effect. Planned fractions of what really comes, 15% of the plan missing: the deadline ends it."""
    runs, count, alpha = 400, 600, 0.05
    whole = sum(0.25 * 200 * f for f in (0.36, 0.75, 1.0))
    plan = replace(PLANNED, v_plan_units=round(4 * whole / 0.85))
    passed = dict.fromkeys(("planned", "hybrid"), 0)
    for units in _runs(runs, count, 20261102):
        for kind in passed:
            found = report(replace(plan, gate=kind), units, {}, EVEN, None, count)
            assert found.gates.looks[-1].planned == 1.0
            passed[kind] += found.gates.promote.answer == "yes"
    print(f"no effect, {runs} runs: " + ", ".join(f"{k} {n / runs:.3f}" for k, n in passed.items()))
    allowed = alpha + 2.0 * math.sqrt(alpha * (1.0 - alpha) / runs)
    assert all(0 < count / runs <= allowed for count in passed.values())


def test_a_true_difference_is_found_more_often_by_a_plan():
    """12 points, the same 100 runs, each asked at its end: the price of looking whenever one likes."""
    plan = replace(PLANNED, v_plan_units=round(0.25 * 200 * (0.36 + 0.75 + 1.0) * 4))
    found = dict.fromkeys(("sequential", "planned", "hybrid"), 0)
    for units in _runs(100, 600, 99, 0.12):
        for kind in found:
            design = replace(plan, gate=kind, looks=() if kind == "sequential" else plan.looks)
            found[kind] += report(design, units, {}, EVEN, None, 600).gates.promote.answer == "yes"
    print("12 points, 100 runs: " + ", ".join(f"{kind} {count}" for kind, count in found.items()))
    assert found["planned"] > found["sequential"] + 20
    assert found["planned"] >= found["hybrid"] > found["sequential"] + 15


def test_few_units_are_read_as_a_t():
    """24 units an arm: a z would reject more often than it says."""
    rng, runs, alpha = np.random.default_rng(20261104), 8000, 0.05
    normal = student = 0
    critical = normal_isf(alpha)
    treated, e = np.arange(48) % 2 == 1, np.full(48, 0.5)
    for _ in range(runs):
        scores = Scores(
            day=np.zeros(48, np.int64), treated=treated, traded=np.ones(48, bool), e=e, trials=np.ones(48),
            sums=rng.normal(0.0, np.where(treated, 3.0, 1.0)), reference=0.0, unlogged=0,
        )  # fmt: skip
        look = looks(scores, 0.0, 20.0, 0.8)[-1]
        if not normal:
            welch = ttest_ind(scores.sums[treated], scores.sums[~treated], equal_var=False)
            assert look.error_df == pytest.approx(welch.df)
        normal += look.effect > critical * look.error
        student += look.effect > in_student_t(critical, look.error_df) * look.error
    print(f"24 units an arm, {runs} runs: z {normal / runs:.4f}, t {student / runs:.4f}")
    assert student < normal
    assert student / runs <= alpha + 2.0 * math.sqrt(alpha * (1.0 - alpha) / runs)
