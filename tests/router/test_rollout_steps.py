"""Steps against real databases: a line and its split are one, and never two leaders take the same step."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import text

from router import change, rollout_steps
from router.definition import experiment_of
from router.errors import ArchivedExperiment, BadPlan, NoRollout, RolloutOpen
from router.evidence import Bound, Evidence, decoded, encoded
from router.rollout import DAY_US, decide
from router.rollout_audit import audited
from router.rollout_loop import looks
from router.rollout_steps import MOST_AGE_S, Hands
from router.rollout_templates import template
from router.snapshot import first_split
from store import experiments, rollouts
from store.errors import RolloutMoved, SplitMoved, StaleEvidence

START_US = 1_767_225_600_000_000
GOOD = Bound(status="ok", estimate=0.1, low=0.02, high=0.2, upper=0.2, planned_low=0.03)
BAD = Bound(status="ok", estimate=-0.2, low=-0.3, high=-0.05, upper=-0.05)
PLAN = """
version = 1
stages = [
    {share = 0.1, units_min = 10, days_min = 1, days_max = 20},
    {share = 0.5, units_min = 10, days_min = 1, days_max = 20, approvals = 2},
]
primary = {metric = "win_rate", effect = 0.05}
money = {margin_usd = 0.02}
"""


@pytest.fixture
def clock(clock):
    clock.now_us = START_US + DAY_US
    return clock


@pytest.fixture
def engine(migrated):
    made = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, START_US)
    experiments.ensure(migrated, made, first_split(made, "test"), "test")
    return migrated


@pytest.fixture
def hands(engine, clock):
    return Hands(engine=engine, key="main", actor="loop", clock=clock, lead_us=2_000_000)


def perfect(found, now_us, **more):
    newest = found.history[-1]
    fields = {
        "experiment": "main",
        "as_of_us": now_us,
        "since_us": START_US,
        "looked_at_us": now_us,
        "split_version": newest.version,
        "share": newest.weights["transformer"],
        "primary": GOOD,
        "money": GOOD,
        "stage_units": 10_000,
        "whole_days": 400,
        "day_block_low": 0.01,
        "stage_effects": 2,
        "stages_p": 0.5,
    }
    return Evidence(**fields | more)


def harmful(found, now_us):
    return perfect(found, now_us, primary=BAD)


def shares(engine):
    return [split.weights["transformer"] for split in change.history(engine, "main")]


def lines(engine):
    with engine.connect() as connection:
        return rollouts.events(connection, "main")


def kinds(engine):
    return [line.kind for line in lines(engine)]


def test_from_start_to_promotion(hands, engine, clock):
    rollout_steps.start(hands, PLAN, "let us see")
    assert rollout_steps.look(hands, perfect).verdict.action == "advance"
    assert rollout_steps.look(hands, perfect).verdict.cause == "too_young"
    clock.after(days=2)
    assert rollout_steps.look(hands, perfect).verdict.action == "await_approval"
    for who in ("ann", "ann", "bob"):
        rollout_steps.approve(replace(hands, actor=who), "seen")
    assert rollout_steps.look(hands, perfect).verdict.action == "advance"
    clock.after(days=2)
    assert rollout_steps.look(hands, perfect).verdict.action == "promote"
    assert shares(engine) == [0.0, 0.1, 0.5, 0.95]
    assert kinds(engine) == [
        *("started", "advanced", "verdict", "verdict", "approved", "approved", "advanced", "promoted"),
    ]
    assert rollout_steps.look(hands, harmful).verdict.action == "rollback"
    history = change.history(engine, "main")
    assert history[-1].ranges == history[0].ranges
    assert history[-1].restored_from == 1
    assert rollout_steps.look(hands, perfect).verdict.action == "done"
    with pytest.raises(NoRollout, match="is over: rolled back"):
        rollout_steps.pause(hands, "")


def test_a_step_is_one_line_one_split_and_two_audits(hands, engine, clock):
    rollout_steps.start(hands, PLAN, "let us see")
    rollout_steps.look(hands, perfect)
    line, split = lines(engine)[-1], change.history(engine, "main")[-1]
    assert (line.split_version, line.share, line.at_us) == (split.version, 0.1, split.created_at_us)
    assert split.effective_at_us == clock.now_us + 2_000_000
    assert "rollout 1, advanced" in split.reason
    with engine.connect() as connection:
        told = connection.execute(text("SELECT action, detail FROM audit ORDER BY id")).all()
    assert [action for action, _ in told][-3:] == ["rollout.started", "split.set", "rollout.advanced"]
    assert json.loads(told[-1].detail)["evidence_digest"] == line.evidence_digest


def test_a_verdict_that_is_no_news_is_written_once(hands, engine, clock):
    rollout_steps.start(hands, PLAN, "")
    rollout_steps.look(hands, perfect)
    told = [rollout_steps.look(hands, perfect).is_news for _ in range(3)]
    clock.after(days=0.5)
    assert [*told, rollout_steps.look(hands, perfect).is_news] == [True, False, False, False]
    assert len(lines(engine)) == 3


def test_a_leader_that_was_overtaken_while_it_looked_does_nothing(hands, engine):
    """Frozen between reading and writing: the other one's step is the only one."""
    rollout_steps.start(hands, PLAN, "")

    def overtaken(found, now_us):
        rollout_steps.look(replace(hands, actor="other"), perfect)
        return perfect(found, now_us)

    with pytest.raises(RolloutMoved, match="line 2"):
        rollout_steps.look(hands, overtaken)
    assert shares(engine) == [0.0, 0.1]
    assert [line.actor for line in lines(engine)] == ["loop", "other"]


def test_a_split_moved_meanwhile_leaves_no_line(hands, engine, clock):
    rollout_steps.start(hands, PLAN, "")

    def moved(found, now_us):
        change.set_share(engine, "main", "transformer", "0.3", change.By("ann", "by hand"), clock, 0)
        return perfect(found, now_us)

    with pytest.raises(SplitMoved):
        rollout_steps.look(hands, moved)
    assert kinds(engine) == ["started"]
    assert shares(engine) == [0.0, 0.3]
    assert rollout_steps.look(hands, perfect).verdict.cause == "moved_by_hand"
    assert rollout_steps.resume(hands, "take it")
    assert rollout_steps.look(hands, perfect).verdict.action == "advance"


def test_old_evidence_carries_nothing_out(hands, engine, clock):
    rollout_steps.start(hands, PLAN, "")

    def slow(found, now_us):
        clock.after(days=(MOST_AGE_S + 1) / 86_400)
        return perfect(found, now_us)

    with pytest.raises(StaleEvidence, match="601 s old"):
        rollout_steps.look(hands, slow)
    assert kinds(engine) == ["started"]


def test_many_leaders_at_once_take_each_step_once(hands, engine, clock):
    rollout_steps.start(hands, PLAN, "")

    def lead(number):
        try:
            return rollout_steps.look(replace(hands, actor=f"leader-{number}"), perfect).verdict.action
        except (RolloutMoved, SplitMoved):
            return "overtaken"

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(lead, range(12)))
    assert told.count("advance") == 1
    assert shares(engine) == [0.0, 0.1]
    assert [line.seq for line in lines(engine)] == list(range(1, len(lines(engine)) + 1))


@pytest.mark.parametrize("way", ["killed", "abort"])
def test_a_fall_back_that_moves_nothing_sees_who_moved_the_split_meanwhile(hands, engine, way):
    """Before the first stage the split is as it should be; but not any more once somebody gave units."""
    rollout_steps.start(hands, PLAN, "")
    by = change.By("ann", "test")

    def meanwhile():
        change.set_share(engine, "main", "transformer", "0.3", by, hands.clock, 0)

    def killed(found, now_us):
        meanwhile()
        return perfect(found, now_us, killed=("transformer",), split_version=1)

    if way == "killed":
        with pytest.raises(SplitMoved):
            rollout_steps.look(hands, killed)
        seen = lambda found, now_us: perfect(found, now_us, killed=("transformer",))  # noqa: E731
        assert rollout_steps.look(hands, seen).verdict.action == "rollback"
    else:
        was = rollout_steps.recorded(engine, "main")
        meanwhile()
        line = rollout_steps._restored(rollout_steps._line(hands, was, "aborted", ""), hands, was)
        with pytest.raises(SplitMoved):
            rollouts.append(engine, "main", was.at.seq + 1, lambda: line)
        rollout_steps.abort(hands, "", "base")
    assert shares(engine)[-1] == 0.0


def test_a_time_on_paper_is_before_the_first_unit(hands, engine, clock):
    change.set_share(engine, "main", "transformer", "0.1", change.By("a", ""), clock, 0)
    with pytest.raises(BadPlan, match=r"has 0\.1 already") as refused:
        rollout_steps.start(hands, template("shadow-first"), "")
    assert refused.value.field == "shadow"


def test_weeks_that_never_mature_within_the_plan_are_refused_at_the_start(engine, clock):
    slow = {"key": "slow", "arms": ["base", "transformer"], "control": "base", "metric": "win_rate"}
    made = experiment_of(slow | {"attribution_s": 86_400}, START_US)
    experiments.ensure(engine, made, first_split(made, "test"), "test")
    hands = Hands(engine=engine, key="slow", actor="loop", clock=clock, lead_us=0)
    with pytest.raises(BadPlan, match=r"mature 1\.01 days later") as refused:
        rollout_steps.start(hands, template("guide-1-week"), "")
    assert refused.value.field == "weekly_cycles"


FROZEN = """
import sys
sys.path.insert(0, sys.argv[2])
from test_rollout_steps import DAY_US, START_US, perfect
from router import rollout_steps
from router.rollout_steps import Hands
from store.errors import RolloutMoved
from store.sql import open_engine

def frozen(found, now_us):
    print("looked", flush=True)
    sys.stdin.readline()
    return perfect(found, now_us)

engine = open_engine(sys.argv[1])
hands = Hands(engine=engine, key="main", actor="frozen", clock=lambda: START_US + DAY_US, lead_us=0)
try:
    print(rollout_steps.look(hands, frozen).verdict.action)
except RolloutMoved as error:
    print("overtaken")
"""


def test_a_frozen_process_wakes_up_too_late(hands, engine, sql_url, request):
    """SIGSTOP between looking and writing, another leader meanwhile, SIGCONT."""
    rollout_steps.start(hands, PLAN, "")
    words = [sys.executable, "-c", FROZEN, sql_url, str(request.path.parent)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as leader:
        assert leader.stdout.readline() == "looked\n"
        leader.send_signal(signal.SIGSTOP)
        leader.stdin.write("go on\n")
        leader.stdin.flush()
        assert rollout_steps.look(hands, perfect).verdict.action == "advance"
        leader.send_signal(signal.SIGCONT)
        assert leader.communicate(timeout=60)[0] == "overtaken\n"
    assert shares(engine) == [0.0, 0.1]
    assert [line.actor for line in lines(engine)] == ["loop", "loop"]


def test_pause_and_resume_and_who_did_it(hands, engine):
    rollout_steps.start(hands, PLAN, "")
    rollout_steps.look(hands, perfect)
    ann = replace(hands, actor="ann")
    assert [rollout_steps.pause(ann, "lunch"), rollout_steps.pause(ann, "lunch")] == [True, False]
    assert rollout_steps.look(hands, perfect).verdict.action == "paused"
    assert [rollout_steps.resume(ann, ""), rollout_steps.resume(ann, "")] == [True, False]
    told = [(line.kind, line.actor) for line in lines(engine)]
    assert told[-3:] == [("paused", "ann"), ("verdict", "loop"), ("resumed", "ann")]


def test_nobody_approves_what_is_not_asked_for(hands):
    rollout_steps.start(hands, PLAN, "")
    rollout_steps.look(hands, perfect)
    with pytest.raises(NoRollout, match="waits for no approval"):
        rollout_steps.approve(hands, "")


@pytest.mark.parametrize(("keeping", "left"), [("base", 0.0), ("stay", 0.1)])
def test_abort_ends_it_with_or_without_its_split(hands, engine, keeping, left):
    rollout_steps.start(hands, PLAN, "")
    rollout_steps.look(hands, perfect)
    rollout_steps.abort(hands, "wrong model", keeping)
    found = rollout_steps.recorded(engine, "main")
    assert found.at.ended == "aborted"
    assert found.at.share == shares(engine)[-1] == left
    assert rollout_steps.look(hands, perfect).verdict.action == "done"


def test_another_rollout_may_follow_and_its_lines_go_on(hands, engine):
    rollout_steps.start(hands, PLAN, "")
    with pytest.raises(RolloutOpen, match="number 1"):
        rollout_steps.start(hands, PLAN, "")
    rollout_steps.look(hands, harmful)
    assert rollout_steps.start(hands, PLAN, "again").rollout.number == 2
    assert [(line.seq, line.rollout) for line in lines(engine)] == [(1, 1), (2, 1), (3, 2)]


def test_a_rollback_before_the_first_stage_moves_no_split(hands, engine):
    rollout_steps.start(hands, PLAN, "")
    assert rollout_steps.look(hands, harmful).verdict.action == "rollback"
    assert shares(engine) == [0.0]


def test_a_rollback_goes_back_to_the_newest_split_without_the_arm(hands, engine, clock):
    by = change.By("ann", "before")
    for share in ("0.2", "0", "0.1"):
        change.set_share(engine, "main", "transformer", share, by, clock, 0)
    assert rollout_steps.start(hands, PLAN, "").rollout.base_version == 3
    assert rollout_steps.look(hands, perfect).verdict.action == "advance"
    assert len(shares(engine)) == 4  # the share was the stage's already
    rollout_steps.look(hands, harmful)
    assert change.history(engine, "main")[-1].restored_from == 3


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ('metric = "win_rate"', 'metric = "profit_rate"', "judged by win_rate"),
        ("share = 0.1,", "share = 0.04,", "transformer has 0.05 already"),
    ],
)
def test_a_plan_must_fit_its_experiment(hands, engine, clock, old, new, rule):
    change.set_share(engine, "main", "transformer", "0.05", change.By("ann", ""), clock, 0)
    with pytest.raises(BadPlan, match=rule):
        rollout_steps.start(hands, PLAN.replace(old, new), "")
    assert lines(engine) == ()


def test_an_archived_experiment_climbs_no_more(hands, engine, clock):
    experiments.archive(engine, "main", clock(), "ann")
    with pytest.raises(ArchivedExperiment):
        rollout_steps.start(hands, PLAN, "")


def test_arms_that_others_hold_are_not_promised(hands, engine, clock):
    fields = {"key": "three", "arms": ["base", "transformer", "ghost"], "control": "base"}
    made = experiment_of(fields, START_US)
    experiments.create(engine, made, first_split(made, "test"), "test")
    change.set_share(engine, "three", "ghost", "0.2", change.By("ann", ""), clock, 0)
    with pytest.raises(BadPlan, match="other arms leave only"):
        rollout_steps.start(replace(hands, key="three"), PLAN, "")


def test_a_plan_that_was_changed_in_sql_is_not_followed(hands, engine):
    rollout_steps.start(hands, PLAN, "")
    with engine.begin() as connection:
        connection.execute(text("UPDATE rollout SET plan = replace(plan, '0.02', '0.03')"))
    with pytest.raises(BadPlan, match="was started as"):
        rollout_steps.look(hands, perfect)


@pytest.mark.parametrize("broken", ["replace(plan, '0.02', '0.03')", "replace(plan, 'stages', 'steps')"])
def test_a_plan_that_cannot_be_followed_can_be_ended(hands, engine, broken):
    """Its units go back although this release does not understand what it climbs by."""
    rollout_steps.start(hands, PLAN, "")
    rollout_steps.look(hands, perfect)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE rollout SET plan = {broken}"))
    with pytest.raises(BadPlan, match="or abort the rollout"):
        rollout_steps.look(hands, perfect)
    assert rollout_steps.pause(hands, "")
    rollout_steps.abort(hands, "upgraded", "base")
    found = rollout_steps.recorded(engine, "main")
    assert (found.at.ended, found.history[-1].weights["transformer"]) == ("aborted", 0.0)


def test_the_loop_looks_past_what_passes_and_ends_with_the_rollout(hands, clock):
    rollout_steps.start(hands, PLAN, "")
    told, calls = [], []

    def evidence(found, now_us):
        calls.append(now_us)
        if len(calls) == 2:
            rollout_steps.pause(replace(hands, actor="ann"), "")
            rollout_steps.resume(replace(hands, actor="ann"), "")
        return perfect(found, now_us) if len(calls) < 4 else harmful(found, now_us)

    def wait():
        clock.after(days=0.1)
        return True

    for found in looks(hands, evidence, wait):
        word = type(found).__name__ if isinstance(found, Exception) else found.verdict.action
        told.append(word)
    assert told == ["advance", "RolloutMoved", "hold", "rollback", "done"]


def test_every_line_replays_from_what_was_kept(hands, engine, clock):
    rollout_steps.start(hands, PLAN, "")
    for _ in range(3):
        rollout_steps.look(hands, perfect)
        clock.after(days=0.9)
    rollout_steps.look(hands, harmful)
    found = rollout_steps.opened(engine, "main")
    for line in lines(engine):
        if line.evidence:
            was = decoded(line.evidence)
            before = tuple(event for event in found.course.events if event.seq < line.seq)
            again = decide(found.plan, replace(found.course, events=before), was, was.looked_at_us)
            assert (again.action, again.cause) == (line.action, line.cause)
            assert again.evidence_digest == line.evidence_digest


def test_the_audit_tells_evidence_that_sql_does_not_bear_out(hands, engine, clock):
    """Made up here: SQL holds no unit at all."""
    rollout_steps.start(hands, PLAN, "")
    rollout_steps.look(hands, perfect)
    clock.after(days=1)
    (line,) = audited(engine, rollout_steps.opened(engine, "main"), clock())
    assert line.said == line.again == "advance climb"
    assert line.written != line.now
    assert not line.same


def test_the_template_starts(hands):
    found = rollout_steps.start(hands, template("default"), "")
    assert found.at.stage == -1
    assert encoded(perfect(found, 0))
