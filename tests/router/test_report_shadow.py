"""The block `shadow` of the report, from journaled records to JSON: what counts, what is void, and why."""

import json
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest

from router import rollout_steps, shadowing
from router.change import By
from router.definition import experiment_of
from router.question import Question
from router.report import report_of
from router.rollout_audit import audited
from router.rollout_evidence import SETTLED_US, evidence_of
from router.rollout_shadow import its_setting
from router.rollout_steps import Hands
from router.shadowing import Wanted
from router.snapshot import first_split
from store import experiments, schema
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision, MarketOutcome, ShadowSetting, ShadowTick
from store.sql import open_engine

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "report.schema.json").read_text())
WINDOW_US = 900_000_000
BEGAN_US = 2_000_000 * WINDOW_US
LATER_US = BEGAN_US + 10_000 * WINDOW_US


@pytest.fixture
def engine(tmp_path):
    found = open_engine(f"sqlite:///{tmp_path / 'abctl.db'}")
    schema.upgrade(found)
    main = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, BEGAN_US - 10)
    experiments.ensure(found, main, first_split(main, "test"), "test")
    return found


def switch(engine, at_us=BEGAN_US - 5, **wanted):
    wanted = {"arm": "transformer"} | wanted
    return shadowing.change(engine, "main", Wanted(**wanted), By("test", ""), lambda: at_us)


def decision(unit, number, start_us, **changed):
    fields = {
        "bot": "b",
        "arm": "base",
        "served_arm": "base",
        "reason": "assigned",
        "binding": "started_at",
        "split_version": 1,
        "weights": {"base": 1.0, "transformer": 0.0},
        "forced": False,
        "eligible": True,
        "split_stale": False,
        "received_at_us": start_us + number,
        "started_at_us": start_us,
        "sent_started_at_us": start_us,
        "as_of_us": None,
        "action": "hold",
        "probs": (0.8, 0.1, 0.1),
        "value": 0.0,
        "model": "m",
        "schema": "s",
        "state": b"",
        "history_digest": b"",
        "history_used": 1,
        "latency_us": 700,
    }
    names = {"experiment": "main", "decision_id": f"{unit}-{number}", "unit": unit}
    return Decision(**names, **(fields | changed))


def tick(unit, number, shadow, served, **changed):
    """shadow, served: (if UP wins, if DOWN wins), USD."""
    fields = {
        "bot": "b",
        "arm": "transformer",
        "setting": 1,
        "void": "",
        "at_us": number,
        "action": "buy",
        "served_action": "buy" if number == 1 else "hold",
        "unfilled": 0,
    }
    worth = {
        "shadow_up_micro": round(shadow[0] * 1e6),
        "shadow_down_micro": round(shadow[1] * 1e6),
        "served_up_micro": round(served[0] * 1e6),
        "served_down_micro": round(served[1] * 1e6),
    }
    names = {"experiment": "main", "decision_id": f"{unit}-{number}", "unit": unit, "tick": number}
    return ShadowTick(**(names | fields | worth | changed))


def outcome(unit, start_us, pnl_usd, **changed):
    fields = {
        "bot": "b",
        "pnl_micro": round(pnl_usd * 1e6),
        "fee_micro": 0,
        "stake_micro": 100_000_000,
        "trades": 1,
        "won": None,
        "fill": "live",
        "closed_at_us": start_us + WINDOW_US,
        "received_at_us": start_us + WINDOW_US,
        "winner": "up",
    }
    return MarketOutcome(experiment="main", unit=unit, **(fields | changed))


def unit_of(name, window, shadow, served, live):
    """All records of a unit of two ticks that is whole. shadow, served: paper in USD if UP wins, which it
    does."""
    start_us = BEGAN_US + window * WINDOW_US
    both = [decision(name, n, start_us) for n in (1, 2)]
    ticks = [tick(name, n, (shadow * n / 2, -1.0), (served * n / 2, -1.0)) for n in (1, 2)]
    return [*both, *ticks, outcome(name, start_us, live)]


def put(engine, records, journal="j"):
    data = b"".join(frame_bytes(msgspec.msgpack.encode(record)) for record in records)
    stored = ingest(engine, "main", [Shipment(journal, 0, data)], LATER_US)
    assert stored.dead == 0


def block(engine):
    report = json.loads(msgspec.json.encode(report_of(engine, Question(key="main", days=7), LATER_US)))
    jsonschema.validate(report, SCHEMA)
    return report["shadow"]


def traffic(seed, windows=60, gain=0.0, kind=0.0):
    """Four units a window that move together. gain: of the shadow a unit; kind: what paper gives both arms
    too much."""
    rng = np.random.default_rng(seed)
    for window in range(windows):
        market = rng.normal(0.0, 10.0)
        for asset in range(4):
            served = market + rng.normal(0.0, 1.0)
            shadow = market + gain + rng.normal(0.0, 1.0)
            live = served - kind + rng.normal(0.0, 0.3)
            yield from unit_of(f"u{window}-{asset}", window, shadow, served, live)


def test_nothing_is_said_where_nothing_is_shadowed(engine):
    assert block(engine) is None
    switch(engine)
    assert block(engine)["pnl_effect"]["status"] == "not_ready"
    switch(engine, arm=None)
    assert block(engine) is None


def test_a_better_arm_is_seen_on_paper(engine):
    """The market's 10 USD a unit fall out: 240 paired units see 1 USD."""
    switch(engine)
    put(engine, traffic(1, gain=1.0))
    found = block(engine)
    assert (found["units"], found["void"], found["counts"]) == (240, {}, True)
    effect = found["pnl_effect"]
    assert effect["status"] == "ok"
    assert effect["clusters"] == 60
    assert 0.0 < effect["low"] < 1.0 < effect["high"] < 2.0
    assert found["disagreement_rate"] == 0.5
    assert "transformer on paper makes" in found["sentence"]


def test_paper_that_is_too_kind_is_no_evidence(engine):
    """A null arm stays one, for both are on the same paper; that it is 4 USD a unit off is told and voids."""
    switch(engine)
    put(engine, traffic(2, kind=4.0))
    found = block(engine)
    assert found["pnl_effect"]["low"] < 0.0 < found["pnl_effect"]["high"]
    assert (found["calibration"]["status"], found["counts"]) == ("void", False)
    assert "this is no evidence" in found["sentence"]


def test_paper_that_is_not_known_well_enough_is_no_evidence_yet(engine):
    switch(engine, margin_usd=0.01)
    put(engine, traffic(3))
    found = block(engine)
    assert (found["calibration"]["status"], found["counts"]) == ("not_ready", False)


START_US = BEGAN_US + 5 * WINDOW_US
WHOLE = unit_of("u", 5, 3.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("records", "void"),
    [
        (WHOLE, {}),
        ([r for r in WHOLE if not isinstance(r, ShadowTick)], {"no_quote": 1}),
        ([r for r in WHOLE if not isinstance(r, MarketOutcome)], {"missing": 1}),
        ([*WHOLE[:3], *WHOLE[4:]], {"hole": 1}),
        ([*WHOLE, decision("u", 3, START_US)], {"hole": 1}),
        ([*WHOLE[:3], tick("u", 0, (0, 0), (0, 0), void="dropped"), WHOLE[4]], {"dropped": 1}),
        ([*WHOLE[:3], tick("u", 2, (0, 0), (0, 0), setting=2), WHOLE[4]], {"hole": 1}),
        ([*WHOLE[:4], outcome("u", START_US, 2.0, winner=None)], {"unsettled": 1}),
        (
            [
                *WHOLE,
                decision("u", 3, START_US, bot="c"),
                tick("u", 1, (1, 1), (1, 1), bot="c"),
                outcome("u", START_US, 0.0, bot="c", winner="down"),
            ],
            {"contradicted": 1},
        ),
    ],
    ids=[
        "whole",
        "no quote",
        "no outcome",
        "missing tick",
        "tick too few",
        "dropped",
        "changed",
        "no winner",
        "two winners",
    ],
)
def test_a_life_that_is_not_whole_is_void_and_counted(engine, records, void):
    switch(engine)
    put(engine, records)
    found = block(engine)
    assert found["void"] == void
    assert found["units"] == (0 if void else 1)


def test_what_is_sold_needs_no_winner(engine):
    switch(engine)
    sold = [tick("u", n, (3.0, 3.0), (2.0, 2.0)) for n in (1, 2)]
    put(engine, [*WHOLE[:2], *sold, outcome("u", START_US, 2.0, winner=None)])
    found = block(engine)
    assert (found["units"], found["pnl_effect"]["estimate"]) == (1, 1.0)


def test_the_losing_side_pays_nothing(engine):
    switch(engine)
    put(
        engine,
        [
            *WHOLE[:2],
            *(tick("u", n, (9.0, -5.0), (8.0, -1.0)) for n in (1, 2)),
            outcome("u", START_US, -1.0, winner="down"),
        ],
    )
    assert block(engine)["pnl_effect"]["estimate"] == -4.0


def test_two_bots_of_a_unit_are_summed(engine):
    switch(engine)
    other = [
        decision("u", 3, START_US, bot="c"),
        tick("u", 1, (5.0, 0.0), (1.0, 0.0), bot="c"),
        outcome("u", START_US, 1.0, bot="c"),
    ]
    put(engine, [*WHOLE, *other])
    found = block(engine)
    assert (found["units"], found["ticks"], found["pnl_effect"]["estimate"]) == (1, 3, 5.0)


@pytest.mark.parametrize(
    "records",
    [
        unit_of("u", 9_999, 3.0, 2.0, 2.0),
        [msgspec.structs.replace(r, forced=True) if isinstance(r, Decision) else r for r in WHOLE],
        [msgspec.structs.replace(r, arm="transformer") if isinstance(r, Decision) else r for r in WHOLE],
        [
            msgspec.structs.replace(r, received_at_us=BEGAN_US - 100) if isinstance(r, Decision) else r
            for r in WHOLE
        ],
    ],
    ids=["not mature", "forced", "the arm itself", "begun before"],
)
def test_other_units_are_neither_pairs_nor_void(engine, records):
    switch(engine)
    put(engine, records)
    found = block(engine)
    assert (found["units"], found["void"]) == (0, {})


PAPER_PLAN = """
version = 1
stages = [{share = 0.1, units_min = 10, days_min = 1, days_max = 20}]
primary = {metric = "win_rate", effect = 0.05}
money = {margin_usd = 0.02}
alpha = {promotion = 0.05, shadow = 0.02, rollback = 0.05}
shadow = {margin_usd = 0.0, days_min = 1, days_max = 14}
"""


def rollout_at(engine, now_us):
    return Hands(engine=engine, key="main", actor="loop", clock=lambda: now_us, lead_us=0)


def looked(engine, now_us):
    """One look of a rollout; what it saw of paper, and what it did."""
    seen = []

    def evidence(open_, at_us):
        seen.append(evidence_of(engine, open_, (), at_us))
        return seen[-1]

    verdict = rollout_steps.look(rollout_at(engine, now_us), evidence).verdict
    return seen[-1].shadow, verdict


def test_a_rollout_opens_on_what_the_report_says_of_paper(engine):
    """From journaled records to the first share, and the same evidence again from SQL later."""
    rollout_steps.start(rollout_at(engine, BEGAN_US), PAPER_PLAN, "")
    paper, verdict = looked(engine, BEGAN_US + 1)
    assert (paper.status, verdict.cause) == ("not_ready", "shadow_not_ready")
    assert "abctl split shadow transformer" in verdict.reason
    switch(engine, BEGAN_US + 2)
    put(engine, traffic(1, windows=120, gain=1.0))
    early, late = BEGAN_US + 15 * WINDOW_US, BEGAN_US + 122 * WINDOW_US
    few, held = looked(engine, early)
    assert (few.low, held.stage, held.cause) == (None, -1, "shadow_not_ready")
    assert "of at least 20 windows" in held.reason
    paper, verdict = looked(engine, late)
    told = block_at(engine, late - SETTLED_US)
    assert paper.estimate == pytest.approx(told["pnl_effect"]["estimate"], rel=1e-12)
    assert told["pnl_effect"]["low"] - 0.2 < paper.low < told["pnl_effect"]["estimate"]
    assert (verdict.action, verdict.stage, verdict.share) == ("advance", 0, 0.1)
    switch(engine, late + 1, arm=None)
    lines = list(audited(engine, rollout_steps.opened(engine, "main"), LATER_US))
    assert [line.same for line in lines] == [True] * len(lines)
    assert len(lines) >= 2


def test_a_second_paper_is_no_second_chance(engine):
    """Whoever switches it until it says yes would be told yes of an equal arm in the end."""
    rollout_steps.start(rollout_at(engine, BEGAN_US), PAPER_PLAN, "")
    switch(engine, BEGAN_US + 2)
    switch(engine, BEGAN_US + 3, stake_usd=50)
    put(engine, traffic(1, windows=120, gain=1.0))
    paper, verdict = looked(engine, BEGAN_US + 122 * WINDOW_US)
    assert (paper.status, verdict.action, verdict.stage) == ("not_ready", "hold", -1)
    assert "not a second chance" in verdict.reason


def test_units_that_the_shadow_could_not_answer_are_not_passed_over(engine):
    """They need not be like the others: an arm that is silent where it would lose looks better."""
    switch(engine)
    whole = list(traffic(1, gain=1.0))
    silent = {f"u{window}-0" for window in range(0, 60, 4)}
    ticks = [r for r in whole if isinstance(r, ShadowTick)]
    kept = [r for r in whole if not isinstance(r, ShadowTick)]
    void = [msgspec.structs.replace(r, void="no_answer") if r.unit in silent else r for r in ticks]
    put(engine, [*kept, *void])
    found = block(engine)
    assert (found["void"], found["counts"]) == ({"no_answer": 15}, False)
    assert "6.2% of the units gave no pair, of at most 5%" in found["sentence"]


ON, OFF, OTHER = "transformer", None, "challenger"


@pytest.mark.parametrize(
    ("settings", "its"),
    [
        ([], None),
        ([(5, ON)], 1),
        ([(5, ON), (6, OFF)], None),
        ([(5, OFF), (15, ON)], 2),
        ([(5, ON), (15, OFF), (16, ON)], 1),
        ([(5, OTHER), (12, OTHER), (15, ON), (16, ON)], 3),
        ([(3, ON), (4, OFF), (15, ON)], 3),
    ],
)
def test_a_rollout_s_paper_has_one_setting(settings, its):
    every = [
        ShadowSetting(
            experiment="main", number=number, arm=arm, since_us=at, is_required=False, stake_micro=1,
            fee_ppm=0, margin_micro=1, actor="a", reason="",
        )
        for number, (at, arm) in enumerate(settings, 1)
    ]  # fmt: skip
    found = its_setting(every, ON, 10)
    assert (found and found.number) == its


def block_at(engine, at_us):
    question = Question(key="main", days=7, as_of_us=at_us)
    report = json.loads(msgspec.json.encode(report_of(engine, question, LATER_US)))
    jsonschema.validate(report, SCHEMA)
    return report["shadow"]


def test_the_block_of_a_past_moment_is_what_it_was(engine):
    switch(engine)
    put(engine, traffic(1, gain=1.0))
    past = block_at(engine, BEGAN_US + 40 * WINDOW_US)
    assert past["units"] < block(engine)["units"]
    switch(engine, BEGAN_US + 50 * WINDOW_US, arm=None)
    assert block_at(engine, BEGAN_US + 40 * WINDOW_US) == past
    assert block(engine) is None
    assert block_at(engine, BEGAN_US - 8) is None
