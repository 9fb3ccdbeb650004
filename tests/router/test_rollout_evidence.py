"""Evidence from a real database: the report's own numbers at the plan's levels, the same again at a past
moment.
"""

import random

import msgspec
import pytest

from router import change, rollout_steps
from router.definition import experiment_of
from router.evidence import digest
from router.evidence_here import evidence_here
from router.report import build_report
from router.rollout import decide
from router.rollout_audit import audited
from router.rollout_evidence import SETTLED_US, evidence_of, reread
from router.rollout_plan import spending
from router.rollout_steps import Hands
from router.snapshot import first_split
from store import experiments, tables
from store.audit import record_change
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision, MarketOutcome
from store.sql import table_of

START_US = 1_767_225_600_000_000
HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
END_US = START_US + 12 * DAY_US
PACK = msgspec.msgpack.encode
WEIGHTS = {2: {"base": 0.75, "transformer": 0.25}, 3: {"base": 0.5, "transformer": 0.5}}
PLAN = """
version = 1
stages = [{share = 0.5, units_min = 10, days_min = 1, days_max = 20}]
primary = {metric = "win_rate", effect = 0.05, rollback_level = 0.02}
money = {margin_usd = 0.02}
alpha = {promotion = 0.04, rollback = 0.05}

[[guardrails]]
name = "fallback_rate"
worse = "higher"
margin = 0.0

[[guardrails]]
name = "missing_rate"
worse = "higher"
margin = 0.0

[[guardrails]]
name = "error_rate"
worse = "higher"
limit = 0.5

[[guardrails]]
name = "loss_usd"
worse = "higher"
limit = 1000
"""


@pytest.fixture
def engine(migrated):
    made = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, START_US)
    experiments.ensure(migrated, made, first_split(made, "test"), "test")
    by = change.By("test", "test")
    change.set_share(migrated, "main", "transformer", "0.25", by, lambda: START_US + 1, 0)
    change.set_share(migrated, "main", "transformer", "0.5", by, lambda: START_US + 4 * DAY_US, 0)
    return migrated


def unit_records(rng, number, lift):
    """A decision and, later, its outcome: a unit an hour's quarter, at random in the arms of its split."""
    at_us = START_US + 2 + number * HOUR_US // 2
    version = 3 if at_us >= START_US + 4 * DAY_US else 2
    arm = "transformer" if rng.random() < WEIGHTS[version]["transformer"] else "base"
    won = rng.random() < 0.5 + (lift if arm == "transformer" else 0.0)
    unit = f"unit-{number}"
    decision = Decision(
        decision_id=f"d{number}", experiment="main", unit=unit, bot="b", arm=arm,
        served_arm="base" if number % 7 == 0 else arm, reason="assigned", binding="started_at",
        split_version=version, weights=WEIGHTS[version], forced=False, eligible=True, split_stale=False,
        received_at_us=at_us, started_at_us=at_us, sent_started_at_us=None, as_of_us=None, action="hold",
        probs=(1.0, 0.0, 0.0), value=0.0, model="m", schema="s", state=b"", history_digest=b"",
        history_used=1, latency_us=900,
    )  # fmt: skip
    outcome = MarketOutcome(
        experiment="main", unit=unit, bot="b", pnl_micro=400_000 if won else -400_000, fee_micro=1,
        stake_micro=10, trades=1, won=None, fill="live", closed_at_us=at_us + 1,
        received_at_us=at_us + 900_000_000,
    )  # fmt: skip
    return [decision] if number % 50 == 49 else [decision, outcome]


def fill(engine, numbers, lift=0.0, seed=1):
    rng = random.Random(seed)
    records = [record for number in numbers for record in unit_records(rng, number, lift)]
    data = b"".join(frame_bytes(PACK(record)) for record in records)
    stored = ingest(engine, "main", [Shipment(f"j{seed}", 0, data)], START_US)
    assert not stored.dead


def started(engine, at_us=END_US):
    hands = Hands(engine=engine, key="main", actor="loop", clock=lambda: at_us, lead_us=0)
    return rollout_steps.start(hands, PLAN, ""), hands


def test_its_numbers_are_the_report_s_at_the_levels_of_the_plan(engine):
    fill(engine, range(540), lift=0.2)
    found, _ = started(engine)
    seen = evidence_of(engine, found, (), END_US)
    told = build_report(engine, "main", 7, seen.as_of_us)
    assert seen.primary.estimate == told["effect"]["estimate"]
    assert seen.money.estimate == pytest.approx(told["pnl_effect"]["estimate"])
    assert (seen.since_us, seen.split_version, seen.share) == (START_US, 3, 0.5)
    assert seen.stage_units == min(told["stages"][-1]["mature"].values())
    assert seen.whole_days == 11  # the twelfth is not over yet
    assert seen.stage_effects == 2
    assert 0.0 < seen.stages_p <= 1.0
    assert not seen.broken
    low, high = seen.primary.low, seen.primary.high
    assert low < seen.day_block_low < seen.primary.estimate < seen.primary.upper <= high
    assert low < seen.primary.planned_low
    missing = told["arms"]["transformer"]["missing"] + told["arms"]["base"]["missing"]
    assert missing > 5
    assert seen.primary.upper < high  # what is missing could have been won


def test_a_stricter_level_is_a_wider_bound(engine):
    fill(engine, range(540))
    found, hands = started(engine)
    loose = evidence_of(engine, found, (), END_US)
    rollout_steps.abort(hands, "", "stay")
    strict = PLAN.replace("promotion = 0.04", "promotion = 0.01").replace("level = 0.02", "level = 0.001")
    tight = evidence_of(engine, rollout_steps.start(hands, strict, ""), (), END_US)
    assert tight.primary.low < loose.primary.low
    assert tight.primary.upper > loose.primary.upper
    assert tight.primary.estimate == loose.primary.estimate


def test_guardrails_are_asked_at_their_own_level(engine):
    fill(engine, range(540))
    found, _ = started(engine)
    seen = evidence_of(engine, found, (), END_US)
    assert dict(spending(found.plan).rollback)["fallback_rate"] == pytest.approx(0.01)
    told = {row["name"]: row for row in build_report(engine, "main", 7, seen.as_of_us)["guardrails"]}
    tests = {check.name: check for check in seen.tests}
    assert told["fallback_rate"]["level"] == pytest.approx(0.01)  # 0.05 over the report's five
    assert tests["fallback_rate"].low == pytest.approx(told["fallback_rate"]["low"])
    assert tests["missing_rate"].value == pytest.approx(told["missing_rate"]["treatment"])
    limits = {check.name: check.value for check in seen.limits}
    assert limits["error_rate"] == 0.0
    assert limits["loss_usd"] >= 0.0


def test_states_that_were_old_when_they_came_are_counted_of_the_treatment_alone(engine):
    """Older than 5 s; whoever says no time is not asked, and what was forced is nobody's own."""
    ages_s = {"transformer": (0.1, 4.9, 5.1, 60.0, None), "base": (99.0, 99.0, None)}
    at_us = START_US + DAY_US
    sent = [(arm, age_s, False) for arm, ages in ages_s.items() for age_s in ages]
    (plain,) = [r for r in unit_records(random.Random(1), 1, 0.0) if isinstance(r, Decision)]
    decisions = [
        msgspec.structs.replace(
            plain,
            decision_id=f"aged-{number}",
            unit=f"aged-{number}",
            arm=arm,
            as_of_us=None if age_s is None else at_us - round(age_s * 1e6),
            received_at_us=at_us,
            forced=is_forced,
        )
        for number, (arm, age_s, is_forced) in enumerate([*sent, ("transformer", 99.0, True)])
    ]
    data = b"".join(frame_bytes(PACK(record)) for record in decisions)
    assert not ingest(engine, "main", [Shipment("ages", 0, data)], START_US).dead
    limit = '\n[[guardrails]]\nname = "stale_rate"\nworse = "higher"\nlimit = 0.4\n'
    hands = Hands(engine=engine, key="main", actor="loop", clock=lambda: END_US, lead_us=0)
    found = rollout_steps.start(hands, PLAN + limit, "")
    limits = {check.name: check for check in evidence_of(engine, found, (), END_US).limits}
    assert limits["stale_rate"].value == 0.5
    assert "older than 5 s" in limits["stale_rate"].reason


def test_a_model_that_changed_since_the_start_is_told(engine):
    """Of the pair alone, and not what was so before."""
    hands = Hands(engine=engine, key="main", actor="loop", clock=lambda: START_US + DAY_US, lead_us=0)
    found = rollout_steps.start(hands, PLAN, "")

    def promoted(arm, at_us):
        row = {"arm": arm, "alias": "champion", "model_id": "m", "at_us": at_us, "actor": "a", "reason": ""}
        with engine.begin() as connection:
            connection.execute(table_of(tables.Alias).insert(), row)

    promoted("transformer", START_US + DAY_US - 1)
    promoted("another", START_US + DAY_US + 1)
    assert evidence_of(engine, found, (), END_US).swapped is msgspec.UNSET
    promoted("transformer", START_US + DAY_US + 2)
    assert evidence_of(engine, found, (), END_US).swapped.startswith("transformer serves another model since")


def test_a_kill_on_another_node_reaches_whoever_leads(engine, tmp_path):
    """By the audit, which each node brings to SQL; its own file is the first to know."""
    hands = Hands(engine=engine, key="main", actor="loop", clock=lambda: END_US, lead_us=0)
    found = rollout_steps.start(hands, PLAN, "")
    here = evidence_here(engine, tmp_path)
    assert here(found, END_US).killed == ()
    for state, killed in (("killed", ("transformer",)), ("lifted", ()), ("killed", ("transformer",))):
        with engine.begin() as connection:
            record_change(
                connection, END_US, "ann", f"arm.{state}", "main", '{"arm":"transformer","reason":""}'
            )
        assert here(found, END_US).killed == killed


def test_a_moment_that_was_pruned_cannot_be_told_and_does_not_differ(engine):
    fill(engine, range(400), lift=0.3)
    at_us = START_US + 2 + 400 * HOUR_US // 2 + 2 * SETTLED_US
    _, hands = started(engine, at_us)
    rollout_steps.look(hands, lambda o, now_us: evidence_of(engine, o, (), now_us))
    with engine.begin() as connection:
        unit = table_of(tables.Unit)
        torn = unit.update().where(unit.c.unit == "unit-399")
        connection.execute(torn.values(pruned_at_us=END_US, first_at_us=START_US, last_at_us=END_US))
    (line,) = audited(engine, rollout_steps.opened(engine, "main"), END_US + DAY_US)
    assert (line.same, line.pruned, line.now) == (True, True, "")


def test_who_says_no_time_is_not_stale(engine):
    fill(engine, range(10))
    hands = Hands(engine=engine, key="main", actor="loop", clock=lambda: END_US, lead_us=0)
    limit = '\n[[guardrails]]\nname = "stale_rate"\nworse = "higher"\nlimit = 0.4\n'
    found = rollout_steps.start(hands, PLAN + limit, "")
    (check,) = [c for c in evidence_of(engine, found, (), END_US).limits if c.name == "stale_rate"]
    assert check.value is None
    assert "as_of" in check.reason


def test_the_moment_again_gives_the_digest_again_whatever_came_since(engine):
    fill(engine, range(400), lift=0.3)
    at_us = START_US + 2 + 400 * HOUR_US // 2 + 2 * SETTLED_US
    found, hands = started(engine, at_us)
    first = rollout_steps.look(hands, lambda o, now_us: evidence_of(engine, o, ("base",), now_us))
    fill(engine, range(400, 560), seed=2)
    later_us = END_US + DAY_US
    (line,) = audited(engine, rollout_steps.opened(engine, "main"), later_us)
    assert line.same, line
    assert line.written == line.now == first.verdict.evidence_digest
    now = evidence_of(engine, found, ("base",), later_us)
    assert digest(now) != line.written
    assert digest(reread(engine, found, now, later_us)) == digest(now)


@pytest.mark.parametrize(
    ("margin", "said"), [("0.2", ("promote", "climb")), ("0.0", ("hold", "veto:fallback_rate"))]
)
def test_a_real_gain_is_promoted_unless_it_falls_back_too_often(engine, margin, said):
    """One decision in seven of the treatment is answered by the control."""
    fill(engine, range(570), lift=0.4)
    hands = Hands(engine=engine, key="main", actor="loop", clock=lambda: END_US, lead_us=0)
    rollout_steps.start(hands, PLAN.replace("margin = 0.0", f"margin = {margin}"), "")
    rollout_steps.look(hands, lambda o, now_us: evidence_of(engine, o, (), now_us))
    found = rollout_steps.opened(engine, "main")
    now_us = END_US + 3 * DAY_US
    fill(engine, range(570, 720), lift=0.4, seed=3)
    seen = evidence_of(engine, found, (), now_us)
    verdict = decide(found.plan, found.course, seen, now_us)
    assert (verdict.action, verdict.cause) == said, verdict.reason


def test_a_real_loss_is_rolled_back(engine):
    fill(engine, range(570), lift=-0.4)
    found, _ = started(engine)
    seen = evidence_of(engine, found, (), END_US)
    verdict = decide(found.plan, found.course, seen, END_US)
    assert (verdict.action, verdict.cause) == ("rollback", "harm:win_rate")
    assert seen.primary.high < 0.0


def test_without_a_unit_it_says_so_and_holds(engine):
    found, _ = started(engine)
    seen = evidence_of(engine, found, (), END_US)
    assert seen.primary.status == seen.money.status == "not_ready"
    assert (seen.stage_units, seen.whole_days, seen.stages_p, seen.day_block_low) == (0, 0, None, None)
    assert all(check.low is None for check in seen.tests)


def test_a_broken_coin_is_told(engine):
    """Every unit fell on the control, with a split of one half."""
    rng = random.Random(1)
    records = []
    for number in range(200, 500):
        decision, *rest = unit_records(rng, number, 0.0)
        records += [msgspec.structs.replace(decision, arm="base", served_arm="base"), *rest]
    data = b"".join(frame_bytes(PACK(record)) for record in records)
    ingest(engine, "main", [Shipment("broken", 0, data)], START_US)
    found, _ = started(engine)
    seen = evidence_of(engine, found, (), END_US)
    assert "did not fall on the arms as the split says" in seen.broken
    assert decide(found.plan, found.course, seen, END_US).cause == "broken"
