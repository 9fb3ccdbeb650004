"""The columns that stand in for SQL's: the evidence from them is the evidence that a database gives."""

import msgspec
import numpy as np
import pytest
from rollout_proof import controller, traffic
from rollout_proof.controller import ARMS, CONTROL, TREATMENT, moment_us
from rollout_proof.traffic import World

from router import change, rollout_steps
from router.rollout import Verdict
from router.rollout_evidence import SETTLED_US, evidence_from, evidence_of
from router.rollout_steps import Hands
from router.rollout_templates import template
from router.rollout_toml import plan_of
from router.snapshot import first_split
from store import experiments, schema
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision, MarketOutcome
from store.sql import open_engine

SHARES = ((0, 0.1), (2, 0.25), (4, 0.5))
"""Day -> the treatment's share from then on."""
DAYS = 6
TEXTS = {"market": template("default"), "window": template("default").replace('"win_rate"', '"pnl"', 1)}
BY = change.By("proof", "proof")


@pytest.fixture
def engine(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/abctl.db")
    schema.upgrade(engine)
    yield engine
    engine.dispose()


def climbed(plan, found):
    """A book after three stages, its units assigned."""
    book = controller.begun(plan, found)
    controller.assign(book, found, 0.0, 0.0)
    for stage, (day, share) in enumerate(SHARES):
        step = Verdict(
            action="advance", stage=stage, share=share, cause="climb", reason="", evidence_digest=""
        )
        controller.move(book, step, float(day))
        until = SHARES[stage + 1][0] if stage + 1 < len(SHARES) else DAYS
        controller.assign(book, found, float(day), float(until))
    return book


def rolled_as_in(engine, book, text):
    """A rollout with the same versions at the same moments."""
    experiments.ensure(engine, book.experiment, first_split(book.experiment, "proof"), "proof")
    hands = Hands(engine=engine, key="main", actor="proof", clock=lambda: moment_us(0.0), lead_us=0)
    rollout_steps.start(hands, text, "")
    for split in book.history[1:]:
        share, at_us = str(split.weights[TREATMENT]), split.effective_at_us
        change.set_share(engine, "main", TREATMENT, share, BY, lambda at_us=at_us: at_us, 0)


def records_of(book, found, columns, row):
    """Two decisions of every bot, and its part of the outcome if that came."""
    at_us, arm = int(columns.started_at_us[row]), ARMS[int(book.treated[row])]
    version = int(columns.split_version[row])
    weights = dict(book.history[version - 1].weights)
    is_away = bool(book.treated[row] and found.away[row])
    settled_us, pnl_micro = int(columns.settled_at_us[row]), int(columns.pnl_micro[row])
    for bot in range(found.bots):
        for tick in range(2):
            yield Decision(
                decision_id=f"{row}-{bot}-{tick}", experiment="main", unit=f"u{row}", bot=f"b{bot}", arm=arm,
                served_arm=CONTROL if is_away else arm, reason="assigned", binding="started_at",
                split_version=version, weights=weights, forced=False, eligible=True, split_stale=False,
                received_at_us=at_us + tick * 1_000_000, started_at_us=at_us, sent_started_at_us=at_us,
                as_of_us=None, action="hold", probs=(1.0, 0.0, 0.0), value=0.0, model="m", schema="s",
                state=b"", history_digest=b"", history_used=1, latency_us=900,
            )  # fmt: skip
        if settled_us:
            yield MarketOutcome(
                experiment="main", unit=f"u{row}", bot=f"b{bot}", pnl_micro=pnl_micro if bot == 0 else 0,
                fee_micro=0, stake_micro=1_000_000, trades=1, won=None, fill="live", closed_at_us=settled_us,
                received_at_us=settled_us,
            )  # fmt: skip


def fill(engine, book, found, until_us):
    """All that was received by then, as one shipment."""
    columns = controller.columns_of(book, found, len(found.start_day))
    begun = np.flatnonzero(columns.started_at_us <= until_us)
    records = [record for row in begun for record in records_of(book, found, columns, row)]
    known = sorted((r for r in records if r.received_at_us <= until_us), key=lambda r: r.received_at_us)
    data = b"".join(frame_bytes(msgspec.msgpack.encode(record)) for record in known)
    assert not ingest(engine, "main", [Shipment("proof", 0, data)], until_us).dead


@pytest.mark.parametrize(
    ("by", "world"),
    [
        ("market", World(effect=0.05, slow_losers=300.0, lost=0.01)),
        ("market", World(outage=(1.0, 0.5))),
        ("window", World(effect=-0.05, slow_losers=300.0, lost=0.01)),
    ],
)
def test_the_evidence_of_columns_is_that_of_a_database(engine, by, world):
    plan = plan_of(TEXTS[by])
    found = traffic.drawn(world, by, DAYS, np.random.default_rng(1))
    book = climbed(plan, found)
    now_us = moment_us(DAYS)
    rolled_as_in(engine, book, TEXTS[by])
    fill(engine, book, found, now_us)
    kept = rollout_steps.opened(engine, "main")
    stored = evidence_of(engine, kept, (), now_us)
    assert (stored.as_of_us, stored.failed) == (now_us - SETTLED_US, "")
    assert stored.primary.status == stored.money.status == "ok"
    simulated = evidence_from(controller.rows_at(book, found, stored.as_of_us), kept.plan, ())
    for name in stored.__struct_fields__:
        if name not in {"looked_at_us", "as_of_us"}:
            assert getattr(simulated, name) == getattr(stored, name), name
