"""The controller's laws, on random plans, histories and evidence: what it may never do, whatever it is
told.
"""

import dataclasses
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.evidence import Bound, Check, Evidence, decoded, digest, encoded
from router.rollout import DAY_US, MOVES, decide
from router.rollout_log import NOT_BEGUN, Course, Event, standing
from router.rollout_plan import TESTED, WORSE, Guardrail, Money, Plan, Primary, Shadow, Stage

START_US = 1_767_225_600_000_000
NAN = math.nan
KINDS = {"advance": "advanced", "promote": "promoted", "rollback": "rolled_back"}

few = settings(max_examples=40)  # a life has a dozen looks
numbers = st.none() | st.sampled_from([NAN, math.inf, -math.inf, 0.0]) | st.floats(-1.0, 1.0)
bounds = st.builds(
    Bound,
    status=st.sampled_from(["ok", "ok", "ok", "not_ready", "degenerate"]),
    estimate=numbers,
    low=numbers,
    high=numbers,
    upper=numbers,
    planned_low=numbers,
)
GOOD = Bound(status="ok", estimate=0.1, low=0.02, high=0.2, upper=0.2, planned_low=0.03)
good_bounds = st.just(GOOD) | bounds


@st.composite
def plans(draw):
    shares = draw(st.lists(st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.5]), min_size=1, max_size=4, unique=True))
    stages = tuple(
        Stage(
            share=share,
            units_min=draw(st.integers(1, 50)),
            days_min=draw(st.floats(0.5, 5.0)),
            days_max=draw(st.floats(5.0, 30.0)),
            approvals=draw(st.integers(0, 2)),
        )
        for share in sorted(shares)
    )
    return Plan(
        version=1,
        stages=stages,
        primary=Primary(metric=draw(st.sampled_from(["win_rate", "pnl"])), effect=0.05),
        money=Money(margin_usd=0.02),
        guardrails=tuple(draw(st.lists(guardrails(), max_size=3, unique_by=lambda g: (g.name, g.is_test)))),
        gate=draw(st.sampled_from(["any_look", "planned"])),
        on_timeout=draw(st.sampled_from(["rollback", "hold"])),
        weekly_cycles=draw(st.integers(0, 2)),
        waiver="nobody minds at all",
        promotion_approvals=draw(st.integers(0, 2)),
        shadow=draw(st.just(msgspec.UNSET) | shadows),
    )


shadows = st.builds(
    Shadow, margin_usd=st.floats(0.0, 0.1), days_min=st.floats(0.1, 6.0), days_max=st.floats(1.0, 20.0)
)


@st.composite
def guardrails(draw):
    name = draw(st.sampled_from(sorted(WORSE)))
    dry_run = draw(st.booleans())
    if name in TESTED and draw(st.booleans()):
        return Guardrail(name=name, worse=WORSE[name], margin=draw(st.floats(0.0, 0.2)), dry_run=dry_run)
    then = draw(st.sampled_from(["veto", "rollback"]))
    return Guardrail(name=name, worse=WORSE[name], limit=draw(st.floats(-1, 1)), then=then, dry_run=dry_run)


TROUBLES = (
    {"as_of_us": 1},
    {"since_us": START_US + DAY_US},
    {"split_version": 99},
    {"killed": ("base",)},
    {"killed": ("base", "transformer")},
    {"killed": ("transformer",), "failed": "SQL is away"},
    {"failed": "SQL is away"},
    {"broken": "the coin is broken"},
    {"tests": (), "limits": ()},
    {"shadow": msgspec.UNSET},
    {"shadow": Bound(status="not_ready", reason="nothing on paper")},
)


@st.composite
def evidences(draw, plan, at, now_us):
    """Mostly as good as can be, so that rollouts climb; otherwise anything, and at times one trouble more."""
    if draw(st.integers(0, 2)):
        found = perfect(plan, at, now_us)
    else:
        checks = {
            g: Check(
                name=g.name,
                value=draw(numbers),
                low=draw(numbers),
                high=draw(numbers),
                difference=draw(numbers),
                is_shown=draw(st.booleans()),
            )
            for g in plan.guardrails
        }
        found = perfect(
            plan,
            at,
            now_us,
            primary=draw(good_bounds),
            money=draw(good_bounds),
            tests=tuple(check for g, check in checks.items() if g.is_test),
            limits=tuple(check for g, check in checks.items() if not g.is_test),
            stage_units=draw(st.sampled_from([0, 10, 100])),
            whole_days=draw(st.sampled_from([0, 7, 14, 30])),
            day_block_low=draw(numbers),
            stage_effects=draw(st.integers(0, 3)),
            stages_p=draw(numbers),
            shadow=draw(good_bounds),
        )
    trouble = draw(st.sampled_from([{}] * 24 + [*TROUBLES]))
    more = {"as_of_us": now_us + 1} if "as_of_us" in trouble else trouble
    return msgspec.structs.replace(found, **more)


@dataclasses.dataclass(frozen=True)
class Seen:
    """One look of a random life: what was known, what was decided."""

    at: object
    evidence: object
    now_us: int
    verdict: object


@st.composite
def lives(draw):
    """A plan, and everything that happened to its rollout: looks, missed looks, people, kills, errors."""
    plan = draw(plans())
    events = (event(1, START_US, "started", NOT_BEGUN, 0.0, 1),)
    now_us, seen = START_US, []
    for _ in range(draw(st.integers(1, 12))):
        now_us += draw(st.integers(0, 4) | st.integers(0, 40)) * DAY_US // 2
        course = course_of(events)
        at = standing(course.events)
        evidence = draw(evidences(plan, at, now_us)) if draw(st.integers(0, 14)) else None
        verdict = decide(plan, course, evidence, now_us)
        seen.append(Seen(course, evidence, now_us, verdict))
        if verdict.action != "done":
            events = (*events, done(events, verdict, now_us))
        person = draw(st.sampled_from([None] * 4 + ["paused", "resumed", "resumed", "approved", "approved"]))
        if person and verdict.action not in {"done", "rollback"}:
            last = standing(events)
            by = draw(st.sampled_from(["ann", "bob"]))
            made = event(events[-1].seq + 1, now_us, person, last.stage, last.share, last.split_version, by)
            events = (*events, made)
    return plan, events, seen


def event(seq, at_us, kind, stage, share, version, actor="loop", **more):
    return Event(
        seq=seq, at_us=at_us, kind=kind, stage=stage, share=share, split_version=version, actor=actor, **more
    )


def course_of(events):
    return Course(treatment="transformer", since_us=START_US, base_version=1, events=events)


def done(events, verdict, now_us):
    """What the store writes of a verdict."""
    last = events[-1]
    return event(
        last.seq + 1,
        now_us,
        KINDS.get(verdict.action, "verdict"),
        verdict.stage,
        verdict.share,
        last.split_version + (verdict.action in MOVES),
        action=verdict.action,
        cause=verdict.cause,
        evidence_digest=verdict.evidence_digest,
    )


@few
@given(lives())
def test_it_never_skips_a_stage(life):
    plan, _, seen = life
    for look in seen:
        before, verdict = standing(look.at.events).stage, look.verdict
        assert verdict.stage - before == (verdict.action in {"advance", "promote"})
        if verdict.action == "advance":
            assert verdict.share == plan.stages[verdict.stage].share
        if verdict.action == "promote":
            assert before == len(plan.stages) - 1
            assert verdict.share == plan.promoted_share


@few
@given(lives())
def test_the_same_inputs_give_the_same_verdict_also_after_a_restart(life):
    """A restarted controller knows the events and nothing else; evidence comes back from its stored text."""
    plan, _, seen = life
    for look in seen:
        again = None if look.evidence is None else decoded(encoded(look.evidence).decode())
        reread = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
        verdict = decide(reread, dataclasses.replace(look.at, events=look.at.events), again, look.now_us)
        assert verdict == look.verdict


@few
@given(lives())
def test_a_kill_beats_everything(life):
    for look in life[2]:
        if (
            look.evidence is not None
            and "transformer" in look.evidence.killed
            and not standing(look.at.events).ended
        ):
            assert (look.verdict.action, look.verdict.cause) == ("rollback", "killed")


@few
@given(lives())
def test_without_evidence_nothing_moves(life):
    for look in life[2]:
        seen = look.evidence
        is_none = seen is None or (
            (seen.failed or seen.since_us != START_US or seen.as_of_us > look.now_us)
            and "transformer" not in seen.killed
        )
        if is_none:
            assert look.verdict.action in {"hold", "done"}


@few
@given(lives())
def test_it_climbs_only_with_everything_the_plan_asks_for(life):
    """Written down again, from the plan's own words, and not from the code."""
    plan, _, seen = life
    for look in seen:
        if look.verdict.action not in {"advance", "promote"}:
            continue
        at, found = standing(look.at.events), look.evidence
        assert at.paused_since_us is None
        assert not found.broken
        assert found.split_version == at.split_version
        wanted = plan.promotion_approvals
        if look.verdict.action == "advance":
            wanted = plan.stages[look.verdict.stage].approvals
        entered = max(e.seq for e in look.at.events if e.kind in {"started", "advanced"})
        people = {e.actor for e in look.at.events if e.kind == "approved" and e.seq > entered}
        assert len(people) >= wanted
        if at.stage == NOT_BEGUN:
            assert is_on_paper(plan, found)
            continue
        stage, days_min = plan.stages[at.stage], plan.stages[at.stage].days_min
        if plan.shadow is not msgspec.UNSET and look.verdict.action == "advance" and is_on_paper(plan, found):
            days_min = min(days_min, plan.shadow.days_min)
        assert look.now_us - at.entered_us >= days_min * DAY_US
        assert found.stage_units >= stage.units_min
        for bound in judged(plan, found):
            assert bound.status == "ok"
            assert bound.estimate > -0.5 * (bound.upper - bound.estimate)
        if look.verdict.action == "promote":
            check_proof(plan, found)


def is_on_paper(plan, found):
    if plan.shadow is msgspec.UNSET:
        return True
    seen = found.shadow
    return seen is not msgspec.UNSET and seen.status == "ok" and seen.low > -plan.shadow.margin_usd


@few
@given(lives())
def test_paper_carries_no_arm_beyond_half(life):
    """The same evidence with paper at its worst: whoever is promoted is promoted all the same."""
    plan, _, seen = life
    for look in seen:
        if look.verdict.action == "promote":
            without = msgspec.structs.replace(look.evidence, shadow=Bound(status="void"))
            verdict = decide(plan, look.at, without, look.now_us)
            assert (verdict.action, verdict.share) == ("promote", look.verdict.share)


def judged(plan, found):
    return [found.primary] if plan.primary.metric == "pnl" else [found.primary, found.money]


def check_proof(plan, found):
    margins = [plan.money.margin_usd] if plan.primary.metric == "pnl" else [plan.primary.margin, 0.02]
    for bound, margin in zip(judged(plan, found), margins[-2:], strict=True):
        low = bound.planned_low if plan.gate == "planned" else bound.low
        assert low > -margin
    assert found.whole_days >= 7 * plan.weekly_cycles
    assert plan.weekly_cycles == 0 or found.day_block_low > -plan.primary.margin
    assert found.stage_effects < 2 or found.stages_p >= 0.01


@few
@given(lives())
def test_what_is_over_stays_over(life):
    _, events, seen = life
    ended = False
    for look in seen:
        assert (look.verdict.action == "done") == ended
        ended = ended or look.verdict.action == "rollback"
    assert len([e for e in events if e.kind == "rolled_back"]) <= 1
    assert [e.seq for e in events] == list(range(1, len(events) + 1))


@few
@given(lives(), st.integers(0, 400))
def test_missed_looks_are_one_look(life, days):
    """However long nobody looked: one step, and no second one at the same moment."""
    plan, events, _ = life
    now_us = events[-1].at_us + days * DAY_US
    at = standing(events)
    found = perfect(plan, at, now_us)
    first = decide(plan, course_of(events), found, now_us)
    if first.action not in {"advance", "promote"}:
        assert (first.stage, first.action == "rollback") == (at.stage, first.cause == "timeout")
        return
    after = (*events, done(events, first, now_us))
    second = decide(plan, course_of(after), perfect(plan, standing(after), now_us), now_us)
    assert second.action == "hold"
    assert second.cause in {"too_young", "promoted"}


def perfect(plan, at, now_us, **more):
    tests = tuple(Check(name=g.name, value=0.0, low=-1.0, high=1.0) for g in plan.guardrails if g.is_test)
    limits = tuple(Check(name=g.name, value=within(g)) for g in plan.guardrails if not g.is_test)
    fields = {
        "experiment": "main",
        "as_of_us": now_us,
        "since_us": START_US,
        "split_version": at.split_version,
        "share": at.share,
        "primary": GOOD,
        "money": GOOD,
        "tests": tests,
        "limits": limits,
        "stage_units": 10_000,
        "whole_days": 400,
        "day_block_low": 0.01,
        "stage_effects": 3,
        "stages_p": 0.5,
        "shadow": msgspec.UNSET if plan.shadow is msgspec.UNSET else GOOD,
    }
    return Evidence(**fields | more)


def within(guardrail):
    return guardrail.limit - 0.1 if guardrail.worse == "higher" else guardrail.limit + 0.1


@few
@given(lives())
def test_a_trial_guardrail_never_decides(life):
    plan, _, seen = life
    without = msgspec.structs.replace(plan, guardrails=tuple(g for g in plan.guardrails if not g.dry_run))
    for look in seen:
        assert decide(without, look.at, look.evidence, look.now_us) == look.verdict


@few
@given(plans())
def test_perfect_evidence_reaches_the_end(plan):
    """Not so careful that nothing ever climbs: with all that is asked for it is promoted, in stages + 1
    steps.
    """
    events = (event(1, START_US, "started", NOT_BEGUN, 0.0, 1),)
    now_us, steps = START_US, []
    for _ in range(60):
        course = course_of(events)
        verdict = decide(plan, course, perfect(plan, standing(course.events), now_us), now_us)
        events = (*events, done(events, verdict, now_us))
        if verdict.action == "await_approval":
            at = standing(events)
            for who in ("ann", "bob"):
                seq = events[-1].seq + 1
                events = (*events, event(seq, now_us, "approved", at.stage, at.share, at.split_version, who))
        steps.append(verdict.action)
        if verdict.action == "promote":
            break
        now_us += 2 * DAY_US
    assert [step for step in steps if step in MOVES] == ["advance"] * len(plan.stages) + ["promote"]


PLAN = Plan(
    version=1,
    stages=(
        Stage(share=0.1, units_min=10, days_min=5.0, days_max=20.0),
        Stage(share=0.5, units_min=10, days_min=5.0, days_max=20.0),
    ),
    primary=Primary(metric="win_rate", effect=0.05),
    money=Money(margin_usd=0.02),
    guardrails=(
        Guardrail(name="fallback_rate", worse="higher", margin=0.01),
        Guardrail(name="drawdown_usd", worse="higher", limit=50.0, then="rollback"),
        Guardrail(name="slow_rate", worse="higher", limit=0.05),
    ),
)
FIRST = (
    event(1, START_US, "started", NOT_BEGUN, 0.0, 1),
    event(2, START_US, "advanced", 0, 0.1, 2, action="advance", cause="climb"),
)


def verdict_at(days, events=FIRST, plan=PLAN, **more):
    now_us = START_US + round(days * DAY_US)
    course = course_of(events)
    return decide(plan, course, perfect(plan, standing(course.events), now_us, **more), now_us)


WORSE_BOUND = Bound(status="ok", estimate=-0.2, low=-0.3, high=-0.05, upper=-0.05)


@pytest.mark.parametrize(("field", "cause"), [("primary", "harm:win_rate"), ("money", "harm:pnl")])
def test_harm_rolls_back_at_once_also_when_paused(field, cause):
    assert verdict_at(0.01, **{field: WORSE_BOUND}).cause == cause
    paused = (*FIRST, event(3, START_US, "paused", 0, 0.1, 2, "ann"))
    verdict = verdict_at(0.01, paused, **{field: WORSE_BOUND})
    assert (verdict.action, verdict.share) == ("rollback", 0.0)
    promoted = (*FIRST, event(3, START_US, "promoted", 2, 0.95, 3))
    assert verdict_at(100, promoted, **{field: WORSE_BOUND}).action == "rollback"


ON_PAPER = msgspec.structs.replace(PLAN, shadow=Shadow(margin_usd=0.0, days_min=1.0, days_max=14.0))
BEGUN = FIRST[:1]


@pytest.mark.parametrize(
    ("shadow", "cause"),
    [
        (msgspec.UNSET, "no_evidence:shadow"),
        (Bound(status="not_ready", reason="12 of at least 20 windows"), "shadow_not_ready"),
        (Bound(status="ok", estimate=0.1, low=NAN), "shadow_not_ready"),
        (Bound(status="ok", estimate=0.1, low=0.0), "unproven:shadow"),
        (Bound(status="ok", estimate=0.1, low=-0.01), "unproven:shadow"),
    ],
)
def test_no_unit_moves_before_paper_speaks_for_it(shadow, cause):
    verdict = verdict_at(3, BEGUN, ON_PAPER, shadow=shadow)
    assert (verdict.action, verdict.stage, verdict.cause) == ("hold", NOT_BEGUN, cause)
    assert verdict_at(3, BEGUN, ON_PAPER).share == 0.1


def test_paper_has_its_time_and_no_more():
    silent = {"shadow": Bound(status="not_ready", reason="no quotes")}
    assert verdict_at(13.9, BEGUN, ON_PAPER, **silent).action == "hold"
    late = verdict_at(14, BEGUN, ON_PAPER, **silent)
    assert (late.action, late.cause, late.share) == ("rollback", "timeout", 0.0)
    assert "the time on paper is over after 14 days, and paper cannot be judged: no quotes" in late.reason
    holding = msgspec.structs.replace(ON_PAPER, on_timeout="hold")
    assert verdict_at(99, BEGUN, holding, **silent).action == "hold"
    paused = (*BEGUN, event(2, START_US + DAY_US, "paused", NOT_BEGUN, 0.0, 1, "ann"))
    assert verdict_at(99, paused, ON_PAPER, **silent).action == "paused"


def test_paper_shortens_a_stage_while_it_speaks_but_never_the_last():
    assert verdict_at(1, FIRST, ON_PAPER).action == "advance"
    assert verdict_at(0.9, FIRST, ON_PAPER).cause == "too_young"
    silent = Bound(status="not_ready", reason="live is off paper")
    assert verdict_at(4.9, FIRST, ON_PAPER, shadow=silent).cause == "too_young"
    assert verdict_at(5, FIRST, ON_PAPER, shadow=silent).action == "advance"
    last = (*FIRST, event(3, START_US, "advanced", 1, 0.5, 3, action="advance", cause="climb"))
    assert verdict_at(4.9, last, ON_PAPER).cause == "too_young"
    assert verdict_at(5, last, ON_PAPER).action == "promote"
    assert verdict_at(5, last, ON_PAPER, primary=Bound(status="not_ready")).action == "hold"


def test_another_model_is_not_promoted_on_what_was_shown_of_the_first():
    said = "transformer serves another model since then"
    last = (*FIRST, event(3, START_US, "advanced", 1, 0.5, 3, action="advance", cause="climb"))
    for events in (FIRST[:1], FIRST, last):
        verdict = verdict_at(6, events, swapped=said)
        assert (verdict.action, verdict.cause, verdict.reason) == ("hold", "model_changed", said)
    assert verdict_at(6, last, swapped=said, primary=WORSE_BOUND).action == "rollback"
    assert verdict_at(20, last, swapped=said).cause == "timeout"
    assert verdict_at(6, last).action == "promote"


def test_a_limit_rolls_back_at_once_or_vetoes_as_the_plan_says():
    deep = limits(drawdown_usd=50.5, slow_rate=0.0)
    assert verdict_at(0.01, limits=deep).cause == "limit:drawdown_usd"
    assert verdict_at(6, limits=limits(drawdown_usd=50.0, slow_rate=0.06)).cause == "veto:slow_rate"
    assert verdict_at(6, limits=limits(drawdown_usd=50.0, slow_rate=0.05)).action == "advance"
    assert verdict_at(6, limits=limits(drawdown_usd=None, slow_rate=NAN)).action == "advance"


def limits(**values):
    return tuple(Check(name=name, value=value) for name, value in values.items())


def test_a_guardrail_vetoes_what_it_shows_beyond_its_margin_and_never_rolls_back():
    def verdict(**found):
        return verdict_at(6, tests=(Check(name="fallback_rate", **found),))

    assert verdict(low=0.011).cause == "veto:fallback_rate"
    assert verdict(low=0.01).action == "advance"
    assert verdict(low=None).action == "advance"
    assert verdict(low=None, difference=1.0, is_shown=True).cause == "veto:fallback_rate"
    assert verdict_at(0.1, tests=(Check(name="fallback_rate", low=0.9),)).action == "hold"
    assert verdict_at(6, tests=()).cause == "no_evidence:fallback_rate"


def test_the_time_out_keeps_the_control_and_a_pause_stops_its_clock():
    poor = Bound(status="not_ready", reason="too few units")
    assert verdict_at(19.9, primary=poor).cause == "not_ready:win_rate"
    assert verdict_at(20, primary=poor).cause == "timeout"
    hold = msgspec.structs.replace(PLAN, on_timeout="hold")
    assert verdict_at(20, plan=hold, primary=poor).action == "hold"
    paused = (*FIRST, event(3, START_US + 2 * DAY_US, "paused", 0, 0.1, 2, "ann"))
    assert verdict_at(200, paused, primary=poor).action == "paused"
    resumed = (*paused, event(4, START_US + 200 * DAY_US, "resumed", 0, 0.1, 2, "ann"))
    assert verdict_at(217.9, resumed, primary=poor).action == "hold"
    assert verdict_at(218, resumed, primary=poor).cause == "timeout"


def test_a_planned_look_is_taken_once_and_decides():
    plan = msgspec.structs.replace(PLAN, gate="planned")
    second = (*FIRST, event(3, START_US, "advanced", 1, 0.5, 3))
    assert verdict_at(19.9, second, plan).cause == "look_ahead"
    assert verdict_at(20, second, plan).action == "promote"
    short = msgspec.structs.replace(GOOD, planned_low=-0.001)
    assert verdict_at(20, second, plan, primary=short).cause == "timeout"


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"primary": msgspec.structs.replace(GOOD, low=0.0)}, "unproven:win_rate"),
        ({"money": msgspec.structs.replace(GOOD, low=-0.02)}, "unproven:pnl"),
        ({"whole_days": 13}, "cycles"),
        ({"day_block_low": -0.001}, "day_blocks"),
        ({"day_block_low": None}, "day_blocks"),
        ({"stages_p": 0.009}, "stages_disagree"),
        ({"stages_p": None}, "stages_disagree"),
    ],
)
def test_promotion_wants_each_of_its_proofs(more, cause):
    second = (*FIRST, event(3, START_US, "advanced", 1, 0.5, 3))
    assert verdict_at(6, second).action == "promote"
    assert verdict_at(6, second, **more).cause == cause


def test_a_hand_that_moved_the_split_is_respected_until_somebody_resumes():
    assert verdict_at(6, split_version=7).cause == "moved_by_hand"
    taken = (*FIRST, event(3, START_US + DAY_US, "resumed", 0, 0.2, 7, "ann"))
    assert verdict_at(6, taken).action == "advance"


@pytest.mark.parametrize("field", ["primary", "money"])
def test_no_hand_on_the_split_disarms_what_protects(field):
    """Harm, a limit and a kill give the units back, whoever moved the split last."""
    assert verdict_at(0.1, split_version=7, **{field: WORSE_BOUND}).action == "rollback"
    fallen = tuple(
        Check(name=g.name, value=60.0 if g.name == "drawdown_usd" else 0.0)
        for g in PLAN.guardrails
        if not g.is_test
    )
    assert verdict_at(0.1, split_version=7, limits=fallen).cause == "limit:drawdown_usd"
    assert verdict_at(0.1, split_version=7, killed=("transformer",)).cause == "killed"


def test_a_broken_coin_does_not_stop_the_plan_s_time():
    """Nothing is concluded of it, and no stage lasts for ever."""
    assert verdict_at(19.9, broken="the coin is broken").cause == "broken"
    late = verdict_at(20, broken="the coin is broken")
    assert (late.action, late.cause, late.share) == ("rollback", "timeout", 0.0)
    assert "stage 1 is over after 20 days, and the coin is broken" in late.reason
    holding = msgspec.structs.replace(PLAN, on_timeout="hold")
    assert verdict_at(99, plan=holding, broken="the coin is broken").cause == "broken"
    promoted = (*FIRST, event(3, START_US, "promoted", 2, 0.95, 3, action="promote", cause="climb"))
    assert verdict_at(99, promoted, broken="the coin is broken").cause == "broken"
    assert verdict_at(99, broken="the coin is broken", split_version=7).action == "hold"


def test_a_broken_coin_moves_nothing_but_a_limit_does():
    assert verdict_at(6, broken="the coin is broken").cause == "broken"
    assert verdict_at(6, broken="the coin is broken", primary=WORSE_BOUND).action == "hold"
    deep = limits(drawdown_usd=51.0, slow_rate=0.0)
    assert verdict_at(6, broken="the coin is broken", limits=deep).action == "rollback"


@given(evidences(PLAN, standing(FIRST), START_US))
@settings(max_examples=50)
def test_a_digest_names_what_was_seen(found):
    assert digest(decoded(encoded(found).decode())) == digest(found)
    other = msgspec.structs.replace(found, stage_units=found.stage_units + 1)
    assert digest(other) != digest(found)
