"""A switchback's report from real databases: blocks are its rows, and only complete ones."""

import json
import random
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest

from router import change, rollout_steps
from router.blocks import block_table
from router.coins import assigned_of
from router.definition import experiment_of
from router.errors import BadPlan
from router.question import Question
from router.report import build_report, report_of
from router.report_html import page
from router.rollout_steps import Hands
from router.rollout_templates import template
from router.snapshot import first_split, read
from router.switchback import in_burn_in
from store import experiments
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.named_units import read_named_units
from store.records import Decision, MarketOutcome

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "report.schema.json").read_text())
START_US = 1_767_225_600_000_000
US, DAY_US, QUARTER_US = 1_000_000, 86_400_000_000, 900_000_000
DAYS = 8
END_US = START_US + DAYS * DAY_US + 2 * QUARTER_US
PACK = msgspec.msgpack.encode
FIELDS = {
    "key": "blocks",
    "arms": ["base", "transformer"],
    "control": "base",
    "assignment": "switchback",
    "metric": "profit_rate",
    "unit_pattern": "(?P<family>.+)-(?P<window>[0-9]+[smhd])-(?P<start>[0-9]+)",
    "block_s": 14_400,
    "burn_in_s": 1800,
}


@pytest.fixture
def engine(migrated):
    return migrated


def filled(engine, lift, **more):
    """Eight days of two families: all of a block share its weather."""
    made = experiment_of(FIELDS | more, START_US - DAY_US)
    experiments.create(engine, made, first_split(made, "test"), "test")
    by = change.By("test", "test")
    change.set_share(engine, "blocks", "transformer", "0.5", by, lambda: START_US - DAY_US + 1, 0)
    view = read(engine, START_US).views["blocks"]
    rng, records = random.Random(3), []
    for family in ("btc", "eth"):
        weather = {block: rng.gauss(0.0, 0.1) for block in range(6 * DAYS)}
        for number in range(96 * DAYS):
            at_us = START_US + number * QUARTER_US
            unit = f"{family}-15m-{at_us // US}"
            coin = assigned_of(view, unit, at_us)
            rate = 0.5 + weather[number // 16] + (lift if coin.arm == "transformer" else 0.0)
            records += records_of(unit, at_us, coin, rng.random() < rate)
    data = b"".join(frame_bytes(PACK(record)) for record in records)
    assert not ingest(engine, "blocks", [Shipment("j", 0, data)], START_US).dead
    return made


def records_of(unit, at_us, coin, won):
    decision = Decision(
        decision_id=f"d-{unit}", experiment="blocks", unit=unit, bot="b", arm=coin.arm, served_arm=coin.arm,
        reason="assigned", binding="pattern", split_version=coin.split_version, weights=dict(coin.weights),
        forced=False, eligible=True, split_stale=False, received_at_us=at_us, started_at_us=at_us,
        sent_started_at_us=None, as_of_us=None, action="hold", probs=(1.0, 0.0, 0.0), value=0.0, model="m",
        schema="s", state=b"", history_digest=b"", history_used=1, latency_us=900,
    )  # fmt: skip
    outcome = MarketOutcome(
        experiment="blocks", unit=unit, bot="b", pnl_micro=400_000 if won else -400_000, fee_micro=1,
        stake_micro=10, trades=1, won=None, fill="live", closed_at_us=at_us + 1,
        received_at_us=at_us + QUARTER_US,
    )  # fmt: skip
    return [decision, outcome]


@pytest.mark.parametrize(("by", "families"), [("family", 2), ("all", 1)])
def test_blocks_are_the_rows(engine, by, families):
    filled(engine, 0.0, block_by=by)
    told = build_report(engine, "blocks", 7, END_US)
    jsonschema.validate(json.loads(json.dumps(told)), SCHEMA, cls=jsonschema.Draft202012Validator)
    found = told["switchback"]
    whole = 6 * DAYS * families
    assert sum(found["blocks"].values()) == whole
    assert told["effect"]["units"] == whole
    assert re.search("[0-9]+ more blocks w", told["verdict"]["reason"])
    assert found["carry_over"]["units"] == whole - families  # the first block of each has none before it
    assert found["divided"] == 0
    assert [sum(stage["counts"].values()) for stage in told["stages"]] == [0, whole]
    assert told["excluded"]["burn_in"] == 6 * DAYS * 2 * 2
    mature = sum(row["mature"] for row in told["arms"].values())
    assert mature == 6 * DAYS * 2 * 14
    assert (told["naive"]["p"], told["slices"]) == (None, None)
    assert {row["status"] for row in told["guardrails"]} == {"cannot say"}
    assert all(row["profit_rate_low"] is None for row in told["arms"].values())
    assert set(told["curves"]["effect"]["low"]) == {None}


def test_a_block_counts_when_nothing_can_be_added_to_it(engine):
    filled(engine, 0.0)
    end_of_block_us = START_US + 10 * 14_400 * US
    past = Question(key="blocks", days=7, as_of_us=end_of_block_us + 2 * QUARTER_US)
    assert sum(report_of(engine, past, END_US)["switchback"]["blocks"].values()) == 20
    for now_us, blocks in (
        (end_of_block_us + 2 * QUARTER_US - 1, 18),
        (end_of_block_us + 2 * QUARTER_US, 20),
    ):
        told = build_report(engine, "blocks", 7, now_us)
        assert sum(told["switchback"]["blocks"].values()) == blocks
        assert told["excluded"]["burn_in"] == 4 * 6 * DAYS


def test_a_lasting_effect_and_its_pages(engine):
    filled(engine, 0.35)
    told = report_of(engine, Question(key="blocks", days=7, by="market"), END_US)
    assert told["effect"]["low"] > 0.0
    assert told["verdict"]["verdict"] == "better"
    assert told["switchback"]["carry_over"]["p"] > 0.05
    assert "Carry-over beyond the burn-in: not shown" in told["switchback"]["sentence"]
    assert "Carry-over beyond the burn-in: not shown" in page(told)


def test_who_starts_in_the_burn_in_is_decided_by_time_alone(engine):
    made = filled(engine, 0.0)
    with engine.connect() as connection:
        named = read_named_units(connection, "blocks")
    table = block_table(made, named.columns, named.names)
    starts = named.columns.started_at_us.tolist()
    early = [in_burn_in(at_us, made.block_s, made.burn_in_s) for at_us in starts]
    assert sum(early) == 4 * 6 * DAYS
    keys = {
        (name.split("-")[0], at // (made.block_s * US)) for name, at in zip(named.names, starts, strict=True)
    }
    assert len(table.ends_us) == len(keys)
    follows = table.blocks.before[table.blocks.before >= 0]
    assert len(follows) == len(keys) - 2
    assert all(table.ends_us[table.blocks.before >= 0] - table.ends_us[follows] == made.block_s * US)


def test_no_rollout_moves_it(engine):
    made = experiment_of(FIELDS | {"metric": "win_rate"}, START_US)
    experiments.create(engine, made, first_split(made, "test"), "test")
    hands = Hands(engine=engine, key="blocks", actor="loop", clock=lambda: START_US, lead_us=0)
    with pytest.raises(BadPlan, match="tosses its coins by blocks"):
        rollout_steps.start(hands, template("default"), "")
