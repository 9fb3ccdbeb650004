"""A bandit against real databases: one version and one line a move, from mature units only, in its turn."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import jsonschema
import msgspec
import pytest
from sqlalchemy import text

from router import bandit_steps, change, rollout_steps
from router.assignment import BUCKETS, Gate, assign
from router.bandit_loop import looks
from router.definition import experiment_of
from router.errors import ArchivedExperiment, BadPlan, NotABandit, RolloutOpen
from router.problems import Problem
from router.report import build_report
from router.rollout_steps import Hands
from router.rollout_templates import template
from router.snapshot import first_split
from stats.bandit import ArmTotals, shares
from store import bandits, experiments
from store.errors import SplitMoved
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision, MarketOutcome

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "report.schema.json").read_text())
START_US = 1_767_225_600_000_000
HOUR_US = 3_600_000_000
SPAN_US = 1_800_000_000
LEAD_US = 2_000_000
PACK = msgspec.msgpack.encode
FIELDS = {"key": "play", "arms": ["base", "transformer"], "control": "base", "mode": "bandit"}
RATES = {"base": 0.3, "transformer": 0.6, "third": 0.2}


@pytest.fixture
def clock(clock):
    clock.now_us = START_US + HOUR_US
    return clock


@pytest.fixture
def engine(migrated):
    return migrated


def created(engine, **more):
    made = experiment_of(FIELDS | more, START_US)
    experiments.create(engine, made, first_split(made, "test"), "test")
    return made


@pytest.fixture
def experiment(engine):
    return created(engine, bandit_interval_s=7200)


@pytest.fixture
def hands(engine, clock):
    return Hands(engine=engine, key="play", actor="loop", clock=clock, lead_us=LEAD_US)


def history(engine):
    return change.history(engine, "play")


def records_of(engine, experiment, unit, at_us, rng):
    """A decision by the coin and the split that bind it, and its outcome at its end."""
    found = assign(_gate(experiment), history(engine), unit, at_us)
    won = rng.random() < RATES[found.arm]
    decision = Decision(
        decision_id=f"d-{unit}", experiment="play", unit=unit, bot="b", arm=found.arm, served_arm=found.arm,
        reason="assigned", binding="started_at", split_version=found.split_version,
        weights=dict(found.weights), forced=False, eligible=True, split_stale=False, received_at_us=at_us,
        started_at_us=at_us, sent_started_at_us=None, as_of_us=None, action="hold", probs=(1.0, 0.0, 0.0),
        value=0.0, model="m", schema="s", state=b"", history_digest=b"", history_used=1, latency_us=900,
    )  # fmt: skip
    outcome = MarketOutcome(
        experiment="play", unit=unit, bot="b", pnl_micro=400_000 if won else -400_000, fee_micro=1,
        stake_micro=10, trades=1, won=None, fill="live", closed_at_us=at_us + 1,
        received_at_us=at_us + 900_000_000,
    )  # fmt: skip
    return [decision, outcome]


def _gate(experiment):
    return Gate(control=experiment.control, salt=experiment.gate_salt)


def fill(engine, experiment, since_us, count, every_us=60_000_000):
    rng, journal = random.Random(since_us), f"j{since_us}"
    records = [
        record
        for number in range(count)
        for record in records_of(
            engine, experiment, f"u{since_us}-{number}", since_us + number * every_us, rng
        )
    ]
    data = b"".join(frame_bytes(PACK(record)) for record in records)
    assert not ingest(engine, "play", [Shipment(journal, 0, data)], since_us).dead


def test_a_life(engine, experiment, hands, clock):
    """Even, then towards the better arm, each time one version and one line, and propensities logged."""
    first = bandit_steps.look(hands, ())
    assert first.choice.cause == "moved"
    assert dict(first.split.weights) == {"base": 0.5, "transformer": 0.5}
    fill(engine, experiment, clock() + LEAD_US, 120)
    clock.now_us = clock() + 2 * HOUR_US + SPAN_US
    second = bandit_steps.look(hands, ())
    assert second.split.weights["transformer"] > 0.9
    assert second.split.weights["base"] >= experiment.bandit_floor
    assert sum(round(w * BUCKETS) for w in second.split.weights.values()) == BUCKETS
    fill(engine, experiment, clock() + LEAD_US, 60)
    with engine.connect() as connection:
        lines = bandits.lines(connection, "play", 10)
        audits = connection.execute(text("SELECT action FROM audit ORDER BY id")).scalars().all()
        logged = connection.execute(text("SELECT DISTINCT weights FROM unit")).scalars().all()
    assert audits == ["experiment.create", "split.set", "bandit.move", "split.set", "bandit.move"]
    assert [line.version for line in lines] == [3, 2]
    by_share = sorted((msgspec.json.decode(words) for words in logged), key=lambda w: w["transformer"])
    assert by_share == [dict(first.split.weights), dict(second.split.weights)]
    detail = lines[0].detail
    totals = [ArmTotals(**detail["totals"][arm]) for arm in experiment.arms]
    again = shares(detail["metric"], totals, round(detail["floor"] * BUCKETS)).millionths
    assert [round(detail["weights"][arm] * BUCKETS) for arm in experiment.arms] == list(again)


def test_only_mature_units_count(engine, experiment, hands, clock):
    bandit_steps.look(hands, ())
    begun_us = clock() + LEAD_US
    fill(engine, experiment, begun_us, 50)
    clock.now_us = begun_us + 9 * 60_000_000 + SPAN_US
    seen = bandit_steps.look(hands, ()).seen
    assert sum(total.units for total in seen.totals.values()) == 10


def test_what_the_control_did_alone_is_another_time(engine, experiment, hands, clock):
    fill(engine, experiment, START_US + 1, 40)
    clock.now_us = START_US + 3 * HOUR_US
    seen = bandit_steps.look(hands, ()).seen
    assert sum(total.units for total in seen.totals.values()) == 0
    assert dict(history(engine)[-1].weights) == {"base": 0.5, "transformer": 0.5}


def test_propensities_change_at_most_once_an_interval(engine, experiment, hands, clock):
    moved_at = []
    for _ in range(60):
        found = bandit_steps.look(hands, ())
        if found.choice.action == "move":
            moved_at.append(clock())
        else:
            assert found.choice.cause in {"not_due", "same"}
        fill(engine, experiment, clock() + LEAD_US, 3)
        clock.now_us = clock() + HOUR_US // 4
    assert len(moved_at) >= 4
    gaps = [late - early for early, late in pairwise(moved_at)]
    assert min(gaps) >= 7200 * 1_000_000


def test_of_two_that_look_at_once_one_moves(engine, experiment, hands):
    def one(_):
        try:
            return bandit_steps.look(hands, ()).choice.action
        except SplitMoved:
            return "beaten"

    with ThreadPoolExecutor(4) as many:
        told = list(many.map(one, range(4)))
    assert told.count("move") == 1
    assert set(told) <= {"move", "hold", "beaten"}
    assert [split.version for split in history(engine)] == [1, 2]


def test_by_hand_it_holds_until_it_is_resumed(engine, experiment, hands, clock):
    bandit_steps.look(hands, ())
    assert bandit_steps.resume(hands, "") is False
    change.restore(engine, "play", 1, change.By("ann", "looks wrong"), clock, 0)
    clock.now_us = clock() + 10 * HOUR_US
    held = bandit_steps.look(hands, ())
    assert held.choice.cause == "by_hand"
    assert "ann moved the split by hand (version 3)" in held.choice.reason
    assert bandit_steps.resume(hands, "mended") is True
    assert bandit_steps.look(hands, ()).choice.cause == "not_due"
    clock.now_us = clock() + 2 * HOUR_US
    assert bandit_steps.look(hands, ()).choice.cause == "moved"
    assert [split.version for split in history(engine)] == [1, 2, 3, 4]


def test_a_kill_holds(engine, experiment, hands):
    held = bandit_steps.look(hands, ("transformer",))
    assert (held.choice.action, held.choice.cause) == ("hold", "killed")
    assert len(history(engine)) == 1


def test_three_arms_share(engine, clock, hands):
    made = created(engine, arms=["base", "transformer", "third"], bandit_floor=0.1, metric="pnl")
    bandit_steps.look(hands, ())
    fill(engine, made, clock() + LEAD_US, 300)
    clock.now_us = clock() + 5 * HOUR_US + SPAN_US
    weights = bandit_steps.look(hands, ()).split.weights
    assert min(weights.values()) >= 0.1
    assert weights["transformer"] > 0.7


def test_the_loop_looks_past_what_passes(engine, experiment, hands, clock):
    left = iter([True, True, False])
    told = list(looks(hands, lambda: (), lambda: next(left)))
    assert [found.choice.cause for found in told] == ["moved", "not_due", "not_due"]


def test_who_may_not_be_played(engine, clock):
    hands = Hands(engine=engine, key="play", actor="loop", clock=clock, lead_us=0)
    created(engine, mode="verdict")
    with pytest.raises(NotABandit, match="create one with mode"):
        bandit_steps.look(hands, ())
    rollout_steps.start(hands, template("default"), "")
    created(engine)  # nothing was decided yet, so it may be defined anew
    with pytest.raises(RolloutOpen, match="open rollout"):
        bandit_steps.look(hands, ())
    rollout_steps.abort(hands, "", "stay")
    bandit_steps.look(hands, ())
    with pytest.raises(BadPlan, match="is a bandit"):
        rollout_steps.start(hands, template("default"), "")
    experiments.archive(engine, "play", clock(), "test")
    with pytest.raises(ArchivedExperiment):
        bandit_steps.look(hands, ())


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"bandit_floor": 0.005}, "bandit_floor"),
        ({"bandit_floor": 0.51}, "bandit_floor"),
        ({"bandit_floor": 0.0500001}, "bandit_floor"),
        ({"bandit_interval_s": 899}, "bandit_interval_s"),
        ({"gate": "planned", "looks": [1.0]}, "gate"),
        ({"mode": "verdict", "bandit_floor": 0.1}, "bandit_floor"),
        ({"mode": "verdict", "bandit_interval_s": 900}, "bandit_interval_s"),
        ({"mode": "thompson"}, "mode"),
    ],
)
def test_a_definition_that_breaks_a_rule_names_it(more, field):
    with pytest.raises(Problem) as caught:
        experiment_of(FIELDS | more, START_US)
    assert caught.value.field == field


def test_its_report_tells_the_regret_and_withholds_what_does_not_hold(engine, experiment, hands, clock):
    bandit_steps.look(hands, ())
    fill(engine, experiment, clock() + LEAD_US, 200)
    clock.now_us = clock() + 4 * HOUR_US + SPAN_US
    told = build_report(engine, "play", 7, clock())
    assert told["effect"]["status"] == "ok"
    assert told["effect"]["low"] < told["effect"]["estimate"] < told["effect"]["high"]
    for row in told["arms"].values():
        assert row["win_rate"] is not None
        assert [row[end] for end in ("win_rate_low", "profit_rate_high", "pnl_low_usd")] == [None] * 3
    assert (told["naive"]["z"], told["naive"]["p"]) == (None, None)
    assert any("shares followed the data" in warning for warning in told["warnings"])
    jsonschema.validate(json.loads(json.dumps(told)), SCHEMA, cls=jsonschema.Draft202012Validator)
    regret = told["bandit"]["regret"]
    assert (regret["status"], regret["best"], regret["unit"]) == ("ok", "transformer", "wins")
    arms = told["arms"]
    gap = regret["levels"]["transformer"] - regret["levels"]["base"]
    assert regret["so_far"] == pytest.approx(gap * arms["base"]["traded"])
    assert regret["even_split"] == pytest.approx(gap * 100)
    created(engine, key="judged", mode="verdict")
    assert build_report(engine, "judged", 7, clock())["bandit"] is None
