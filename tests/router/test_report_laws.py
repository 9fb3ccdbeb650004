"""Laws of a report, on both databases: what is not mature, and how rows came in, changes nothing it says."""

import random

import msgspec
import pytest

from router import change
from router.definition import experiment_of
from router.report import build_report
from router.snapshot import first_split
from store import experiments, schema
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision, MarketOutcome
from store.sql import open_engine

START_US = 1_767_225_600_000_000
MINUTE_US = 60_000_000
DAY_US = 24 * 60 * MINUTE_US
LIFE_US = 30 * MINUTE_US
NOW_US = START_US + 20 * DAY_US
EVEN = {"base": 0.5, "transformer": 0.5}
JUDGED = (
    "effect",
    "pnl_effect",
    "gates",
    "verdict",
    "naive",
    "history",
    "guardrails",
    "dependence",
    "served",
)


@pytest.fixture(params=["sqlite", "postgres"])
def engines(request, tmp_path):
    """Two bases with the same experiment and no units."""
    urls = [f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/two.db"]
    if request.param == "postgres":
        urls[0] = request.getfixturevalue("fresh_postgres_url")
    opened = [open_engine(url) for url in urls]
    for engine in opened:
        schema.upgrade(engine)
        made = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, START_US)
        experiments.ensure(engine, made, first_split(made, "test"), "test")
        change.set_share(engine, "main", "transformer", "0.5", change.By("t", "t"), lambda: START_US, 0)
    yield opened
    for engine in opened:
        engine.dispose()


def records_of(number, rng, start_us):
    """One unit: a decision, and what it brought."""
    unit, arm = f"unit-{number}", rng.choice(["base", "transformer"])
    decision = Decision(
        decision_id=f"d{number}", experiment="main", unit=unit, bot="b", arm=arm, served_arm=arm,
        reason="assigned", binding="started_at", split_version=2, weights=EVEN, forced=False, eligible=True,
        split_stale=False, received_at_us=start_us, started_at_us=start_us, sent_started_at_us=None,
        as_of_us=None, action="hold", probs=(1.0, 0.0, 0.0), value=0.0, model="m", schema="s", state=b"",
        history_digest=b"", history_used=1, latency_us=rng.choice([900, 90_000]),
    )  # fmt: skip
    outcome = MarketOutcome(
        experiment="main", unit=unit, bot="b", pnl_micro=rng.randrange(-900_000, 1_000_000), fee_micro=1,
        stake_micro=10, trades=1, won=None, fill="live", closed_at_us=start_us + 1,
        received_at_us=start_us + rng.randrange(1, 20) * MINUTE_US,
    )  # fmt: skip
    return [decision, outcome]


def units_of(seed, count=400):
    """Matured in the 19 days before."""
    rng = random.Random(seed)
    return [records_of(n, rng, START_US + 1 + rng.randrange(19 * 24 * 60) * MINUTE_US) for n in range(count)]


def store_all(engine, units, journal):
    frames = (frame_bytes(msgspec.msgpack.encode(record)) for unit in units for record in unit)
    stored = ingest(engine, "main", [Shipment(journal, 0, b"".join(frames))], NOW_US)
    assert not stored.dead and not stored.gaps


@pytest.mark.parametrize("seed", [1, 2])
def test_units_that_are_not_mature_change_nothing_that_is_judged(engines, seed):
    engine, rng = engines[0], random.Random(seed + 100)
    store_all(engine, units_of(seed), "j1")
    before = build_report(engine, "main", 7, NOW_US)
    young = [records_of(1000 + n, rng, NOW_US - rng.randrange(1, LIFE_US)) for n in range(150)]
    store_all(engine, [unit[: rng.choice([1, 2])] for unit in young], "j2")
    after = build_report(engine, "main", 7, NOW_US)
    assert sum(arm["pending"] for arm in after["arms"].values()) == 150
    assert sum(arm["pending"] for arm in before["arms"].values()) == 0
    assert before["effect"]["status"] == "ok"
    for part in JUDGED:
        assert after[part] == before[part], part


@pytest.mark.parametrize("seed", [3, 4])
def test_the_order_in_which_rows_came_changes_no_byte(engines, seed):
    """The same units in another order, in another base."""
    units = units_of(seed)
    store_all(engines[0], units, "j1")
    random.Random(seed).shuffle(units)
    store_all(engines[1], units[:150], "j1")
    store_all(engines[1], units[150:], "j2")
    first, second = (build_report(engine, "main", 7, NOW_US) for engine in engines)
    for split in (first["split"], second["split"]):
        split.pop("created_at")
    assert first["effect"]["status"] == "ok"
    assert msgspec.json.encode(first) == msgspec.json.encode(second)
