"""The report and the strata of `abctl db moments`: two ways from the same unit totals to the same numbers.

And what the report says of latencies, guardrails and outcomes at equal age, from the database on.
"""

import json
import random

import msgspec
import pytest

from router import change
from router.definition import experiment_of
from router.question import Question
from router.report import report_of
from router.report_html import page
from router.report_markdown import markdown
from router.snapshot import first_split
from router.strata import merged
from store import experiments, schema
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision, MarketOutcome, TradeOutcome, Unserved
from store.sql import open_engine
from store.unit_moments import unit_moments

START_US = 1_767_225_600_000_000
DAY_US = 86_400_000_000
SPAN_US = 1_800_000_000
NOW_US = START_US + 20 * DAY_US
UNITS = 400
WHOLE = ("units", "pending", "missing", "excluded", "contaminated", "unserved", "decisions")
SUMMED = ("mature", "traded", "trades", "wins")


def asked(number, rng, arm):
    start_us = START_US + number * 19 * DAY_US // UNITS + rng.randrange(1_000_000)
    if number > UNITS - 6:
        start_us = NOW_US - 60_000_000  # pending
    return {
        "experiment": "main", "unit": f"u{number:04d}", "bot": "b", "arm": arm, "split_version": 2,
        "weights": {"base": 0.5, "transformer": 0.5}, "started_at_us": start_us,
        "sent_started_at_us": start_us, "forced": number % 41 == 0, "eligible": True, "split_stale": False,
    }  # fmt: skip


def records(slower_us=0, took_us=None):
    """Units of two arms: live and replayed, late and missing, forced, refused, contaminated, fallen back."""
    rng = random.Random(3)
    for number in range(UNITS):
        arm = rng.choice(("base", "transformer"))
        other = "base" if arm == "transformer" else "transformer"
        own = asked(number, rng, arm)
        start_us = own["started_at_us"]
        asks = rng.randrange(1, 5)
        for tick in range(asks):
            strays = {"arm": other} if tick and rng.random() < 0.02 else {}
            latency_us = rng.choice((400, 1_500, 30_000)) if took_us is None else took_us[arm]
            yield Decision(
                **own | strays, decision_id=f"d{number}-{tick}", reason="assigned", binding="started_at",
                served_arm="base" if rng.random() < 0.1 else arm, received_at_us=start_us + 1 + tick,
                as_of_us=None, action="buy", probs=(0.0, 1.0, 0.0), value=0.0, model="m", schema="s",
                state=b"", history_digest=b"", history_used=1, latency_us=latency_us,
            )  # fmt: skip
        if rng.random() < 0.1:
            yield Unserved(**own, reason="overloaded", received_at_us=start_us + 9)
        late_us = 901_000_000 + round(rng.expovariate(1 / 60e6)) + (slower_us if arm == "transformer" else 0)
        if rng.random() < 0.05 or start_us + late_us > NOW_US:
            continue
        came_us = start_us + late_us
        said = {"experiment": "main", "fee_micro": 7, "stake_micro": 10**6, "won": None,
                "fill": "replay" if number % 10 == 0 else "live", "closed_at_us": came_us,
                "received_at_us": came_us}  # fmt: skip
        trades = rng.randrange(min(asks, 2) + 1)
        for tick in range(trades):
            price = {"entry_price": 0.5, "exit_price": None, "side": None}
            yield TradeOutcome(decision_id=f"d{number}-{tick}", pnl_micro=5 - 10 * tick, **price, **said)
        pnl_micro = rng.randrange(-(10**6), 10**6 + 10**5) if trades else 0
        yield MarketOutcome(unit=own["unit"], bot="b", pnl_micro=pnl_micro, trades=trades, **said)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    url = (
        f"sqlite:///{tmp_path}/abctl.db"
        if request.param == "sqlite"
        else request.getfixturevalue("fresh_postgres_url")
    )
    engine = opened(url)
    yield engine
    engine.dispose()


def opened(url):
    engine = open_engine(url)
    schema.upgrade(engine)
    made = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, START_US)
    experiments.ensure(engine, made, first_split(made, "test"), "test")
    by = change.By("test", "test")
    change.set_share(engine, "main", "transformer", "0.5", by, lambda: START_US, 0)
    return engine


def filled(engine, **more):
    data = b"".join(frame_bytes(msgspec.msgpack.encode(record)) for record in records(**more))
    assert not ingest(engine, "main", [Shipment("j", 0, data)], NOW_US).dead
    return report_of(engine, Question(key="main", days=400), NOW_US)


def test_counts_and_sums_of_arms_are_those_of_the_strata_to_the_last_digit(database):
    report = filled(database)
    with database.connect() as connection:
        strata = unit_moments(connection, experiments.get(connection, "main"), NOW_US)
    assert len(strata) > 60
    assert report["fill"] == "live"
    for arm, row in report["arms"].items():
        own = [s for s in strata if s.arm == arm]
        judged = [s for s in own if s.fill == "live"]
        assert {name: row[name] for name in WHOLE} == {n: sum(getattr(s, n) for s in own) for n in WHOLE}
        assert {name: row[name] for name in SUMMED} == {n: sum(getattr(s, n) for s in judged) for n in SUMMED}
        assert all(row[name] for name in (*WHOLE, *SUMMED)), row
        money = {n: sum(getattr(s, f"{n}_micro") for s in judged) for n in ("pnl", "fee", "stake")}
        assert {n: row[f"{n}_usd"] for n in money} == {n: micro / 1_000_000 for n, micro in money.items()}
        assert row["fallback_rate"] == sum(s.fallbacks for s in own) / sum(s.decisions for s in own)
        assert row["win_rate"] == row["wins"] / row["traded"]
        assert row["trade_win_rate"] == sum(s.trade_wins for s in judged) / row["trades"]
        together = merged(judged)
        assert row["pnl_per_unit_usd"] == pytest.approx(together["pnl_micro"].ratio / 1e6, rel=1e-12)
        assert row["profit_rate"] == pytest.approx(together["profit_rate"].ratio, rel=1e-12)


def test_latencies_of_the_window_are_by_assigned_arm(database):
    """Base answers within 1 ms, the transformer in 30: a bucket's edge above each."""
    report = filled(database, took_us={"base": 700, "transformer": 30_000})
    arms = report["window"]["arms"]
    told = {arm: (row["latency_p50_ms"], row["latency_p99_ms"]) for arm, row in arms.items()}
    assert told == {"base": (1.0, 1.0), "transformer": (50.0, 50.0)}
    assert all(row["timed"] == row["decisions"] > 100 for row in arms.values())
    assert [sum(counts) for counts in report["window"]["latency"]["counts"].values()] == [
        row["timed"] for row in arms.values()
    ]
    slow = next(row for row in report["guardrails"] if row["name"] == "slow_rate")
    assert (slow["status"], slow["difference"], slow["low"]) == ("worse", 1.0, None)


def test_a_latency_that_nobody_knows_is_not_told(database):
    report = filled(database, took_us={"base": 0, "transformer": 0})
    for row in report["window"]["arms"].values():
        assert (row["timed"], row["latency_p50_ms"], row["latency_p99_ms"]) == (0, None, None)
    slow = next(row for row in report["guardrails"] if row["name"] == "slow_rate")
    assert (slow["status"], slow["p"]) == ("cannot say", None)


def test_a_slow_arm_is_warned_of_and_changes_no_verdict(database, tmp_path):
    report = filled(database, slower_us=300_000_000)
    beside = opened(f"sqlite:///{tmp_path}/prompt.db")
    prompt = filled(beside)
    beside.dispose()
    found = report["resolution"]
    assert found["later"] == "transformer"
    assert found["p"] < 0.001
    assert report["warnings"].count(found["sentence"]) == 1
    assert found["units"] <= sum(row["mature"] + row["missing"] for row in report["arms"].values())
    delay = next(row for row in report["guardrails"] if row["name"] == "delay_s")
    assert delay["status"] == "worse"
    assert 200 < delay["difference"] < 320
    assert {name: report[name] for name in ("verdict", "effect", "arms")} == {
        name: prompt[name] for name in ("verdict", "effect", "arms")
    }


def test_equal_arms_are_not_warned_of(database):
    report = filled(database)
    assert report["resolution"]["later"] is None
    assert not any("outcomes come later" in warning for warning in report["warnings"])
    assert all(row["status"] != "worse" for row in report["guardrails"] if row["evidence"] == "any look")


def test_of_replays_no_age_is_judged(database):
    data = b"".join(frame_bytes(msgspec.msgpack.encode(record)) for record in records())
    ingest(database, "main", [Shipment("j", 0, data)], NOW_US)
    report = report_of(database, Question(key="main", days=400, fill="replay"), NOW_US)
    assert (report["resolution"]["status"], report["resolution"]["p"]) == ("not_ready", None)
    assert "replayed" in report["resolution"]["reason"]


def test_tables_tell_of_guardrails_latency_and_age_and_are_silent_on_older_reports(database):
    report = json.loads(msgspec.json.encode(filled(database, took_us={"base": 700, "transformer": 900_000})))
    for drawn in (markdown(report), page(report)):
        assert "Guardrails: what must not get worse beside the metric" in drawn
        assert "Outcomes that had come, at equal age, of closed windows" in drawn
        assert "over 500 ms" in drawn
        assert "Do outcomes come as fast in both arms? No difference shown" in drawn
    for name in ("guardrails", "resolution"):
        del report[name]
    for row in report["window"]["arms"].values():
        del row["timed"]
    assert "Guardrails:" not in markdown(report)
