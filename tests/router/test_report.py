"""The report's counts against hand-written SQL, who is mature when, and what the report may read."""

import random
import re

import msgspec
import pytest
from sqlalchemy import event

from router import change
from router.definition import experiment_of
from router.report import build_report
from router.snapshot import first_split
from store import experiments, schema
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision, MarketOutcome, TradeOutcome
from store.sql import open_engine

START_US = 1_767_225_600_000_000
SPAN_US = 1800 * 1_000_000
DAY_US = 86_400_000_000
LATER_US = START_US + 20 * DAY_US
PACK = msgspec.msgpack.encode


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request, tmp_path):
    url = (
        f"sqlite:///{tmp_path}/abctl.db"
        if request.param == "sqlite"
        else request.getfixturevalue("fresh_postgres_url")
    )
    engine = open_engine(url)
    schema.upgrade(engine)
    made = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, START_US)
    experiments.ensure(engine, made, first_split(made, "test"), "test")
    by = change.By("test", "test")
    change.set_share(engine, "main", "transformer", "0.1", by, lambda: START_US + DAY_US, 0)
    change.set_share(engine, "main", "transformer", "0.5", by, lambda: START_US + 5 * DAY_US, 0)
    yield engine
    engine.dispose()


def decision(number, unit, **more):
    fields = {
        "arm": "base",
        "split_version": 3,
        "weights": {"base": 0.5, "transformer": 0.5},
        "bot": "b",
        "started_at_us": START_US,
        "received_at_us": START_US + number,
        "sent_started_at_us": None,
        "reason": "assigned",
        "forced": False,
        "eligible": True,
        "split_stale": False,
    } | more
    return Decision(
        decision_id=f"d{number}", experiment="main", unit=unit, binding="started_at", as_of_us=None,
        action="hold", probs=(1.0, 0.0, 0.0), value=0.0, model="m", schema="s", state=b"",
        history_digest=b"", history_used=1, latency_us=1, **{"served_arm": fields["arm"], **fields},
    )  # fmt: skip


def market(unit, pnl_micro, **more):
    fields = {
        "bot": "b",
        "fill": "live",
        "received_at_us": START_US + 900_000_000,
        "trades": 1,
        "stake_micro": 10,
    } | more
    return MarketOutcome(
        experiment="main", unit=unit, pnl_micro=pnl_micro, fee_micro=1, won=None, closed_at_us=START_US,
        **fields,
    )  # fmt: skip


def trade(decision_id, pnl_micro, **more):
    fields = {"fill": "live", "received_at_us": START_US + 1} | more
    return TradeOutcome(
        experiment="main", decision_id=decision_id, pnl_micro=pnl_micro, fee_micro=1, stake_micro=10,
        entry_price=None, exit_price=None, side=None, won=None, closed_at_us=START_US, **fields
    )  # fmt: skip


def store_all(engine, records, journal="j"):
    data = b"".join(frame_bytes(PACK(r)) for r in records)
    stored = ingest(engine, "main", [Shipment(journal, 0, data)], START_US)
    assert not stored.dead
    assert not stored.gaps


def random_history(seed):
    rng = random.Random(seed)
    number = 0
    for u in range(300):
        unit, arm = f"unit-{u}", rng.choice(["base", "base", "transformer"])
        version = rng.choice([2, 3])
        weights = {2: {"base": 0.9, "transformer": 0.1}, 3: {"base": 0.5, "transformer": 0.5}}[version]
        start = START_US + rng.randrange(0, 19) * DAY_US
        kind = rng.choice(["plain"] * 8 + ["forced", "killed", "ineligible", "contaminated"])
        facts = {
            "arm": arm, "split_version": version, "weights": weights, "started_at_us": start,
            "forced": kind in {"forced", "killed"}, "reason": kind, "eligible": kind != "ineligible",
        }  # fmt: skip
        fill = rng.choice(["live", "live", "live", "paper"])
        for i in range(rng.randrange(1, 6)):
            number += 1
            served = rng.choice([arm, arm, "base"])
            moved = (
                {"arm": "base" if arm == "transformer" else "transformer"}
                if kind == "contaminated" and i
                else {}
            )
            at = {"received_at_us": start + number, "served_arm": served}
            yield decision(number, unit, **{**facts, **at, **moved})
            if rng.random() < 0.3:
                yield trade(f"d{number}", rng.randrange(-5, 6), fill=fill)
        if rng.random() < 0.85:
            amount = rng.choice([-1_500_000, 0, 700_000, 3])
            yield market(unit, amount, trades=rng.randrange(3), fill=fill, received_at_us=start + 900_000_000)


COUNTS = """
SELECT arm, count(*) AS units,
  sum(CASE WHEN excluded IS NULL AND closed AND reported THEN 1 ELSE 0 END) AS mature_any,
  sum(CASE WHEN excluded IS NULL AND closed AND reported AND live THEN 1 ELSE 0 END) AS mature,
  sum(CASE WHEN excluded IS NULL AND NOT closed THEN 1 ELSE 0 END) AS pending,
  sum(CASE WHEN excluded IS NULL AND closed AND NOT reported THEN 1 ELSE 0 END) AS missing,
  sum(CASE WHEN excluded IS NOT NULL THEN 1 ELSE 0 END) AS excluded,
  sum(CASE WHEN excluded IS NULL AND closed AND reported AND live AND pnl > 0 AND traded
    THEN 1 ELSE 0 END) AS wins,
  sum(CASE WHEN excluded IS NULL AND closed AND reported AND live THEN pnl ELSE 0 END) AS pnl,
  sum(decisions) AS decisions
FROM (
  SELECT first.arm, first.started_at_us + 1800000000 <= {now} AS closed,
    CASE WHEN NOT first.eligible THEN 'ineligible' WHEN first.forced THEN first.reason END AS excluded,
    m.unit IS NOT NULL AS reported, m.pnl_micro AS pnl,
    NOT EXISTS (SELECT 1 FROM outcome o WHERE o.unit = first.unit AND o.fill <> 'live') AS live,
    coalesce(m.trades, 0) + coalesce(m.stake_micro, 0)
      + (SELECT count(*) FROM outcome t WHERE t.unit = first.unit AND t.kind = 'trade') > 0 AS traded,
    (SELECT count(*) FROM decision d WHERE d.unit = first.unit) AS decisions
  FROM decision first
  LEFT JOIN outcome m ON m.unit = first.unit AND m.kind = 'market'
  WHERE first.received_at_us = (SELECT min(received_at_us) FROM decision d WHERE d.unit = first.unit)
) AS unit_facts GROUP BY arm
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_the_counts_are_those_of_sql_written_by_hand(engine, seed):
    store_all(engine, random_history(seed))
    now_us = START_US + 15 * DAY_US
    report = build_report(engine, "main", 7, now_us)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(COUNTS.format(now=now_us)).mappings().all()
    assert {r["arm"] for r in rows} == {"base", "transformer"}
    for row in rows:
        arm = report["arms"][row["arm"]]
        for name in ("units", "mature", "pending", "missing", "excluded", "wins", "decisions"):
            assert arm[name] == row[name], name
        assert arm["pnl_usd"] == pytest.approx(int(row["pnl"]) / 1e6)
    other_fill = sum(r["mature_any"] - r["mature"] for r in rows)
    assert report["excluded"]["other_fill"] == other_fill > 0
    total = sum(
        sum(a[n] for n in ("mature", "pending", "missing", "excluded")) for a in report["arms"].values()
    )
    assert total + other_fill == 300


def arm_counts(engine, now_us, arm="base"):
    row = build_report(engine, "main", 7, now_us)["arms"][arm]
    return {n: row[n] for n in ("mature", "pending", "missing", "excluded") if row[n]}


def test_a_live_unit_matures_when_its_attribution_window_closes(engine):
    store_all(engine, [decision(1, "u"), market("u", 5)])
    assert arm_counts(engine, START_US + SPAN_US - 1) == {"pending": 1}
    assert arm_counts(engine, START_US + SPAN_US) == {"mature": 1}


def test_a_unit_without_a_report_is_missing_until_a_late_one_comes(engine):
    store_all(engine, [decision(1, "u"), decision(2, "u", bot="second"), market("u", 5)])
    assert arm_counts(engine, START_US + SPAN_US) == {"missing": 1}
    store_all(engine, [market("u", 5, bot="second", received_at_us=START_US + SPAN_US + 1)], "later")
    report = build_report(engine, "main", 7, LATER_US)
    assert report["excluded"]["late"] == 1
    assert any("after their attribution window" in w for w in report["warnings"])
    assert arm_counts(engine, LATER_US) == {"mature": 1}


def test_a_unit_that_is_asked_about_after_its_maturity_is_counted_as_reused_and_gets_no_new_coin(engine):
    store_all(engine, [decision(1, "u"), market("u", 5), decision(2, "kept"), market("kept", 5)])
    again = decision(3, "u", received_at_us=START_US + SPAN_US + 1)
    store_all(engine, [again], "later")
    report = build_report(engine, "main", 7, LATER_US)
    assert report["excluded"]["reused"] == 1
    assert report["arms"]["base"]["units"] == 2
    assert any("asked about again after their maturity" in w for w in report["warnings"])


def test_a_replay_matures_when_its_bots_have_reported(engine):
    store_all(engine, [decision(1, "u@1"), market("u@1", 5, fill="replay")])
    assert arm_counts(engine, START_US + 1) == {"mature": 1}
    assert build_report(engine, "main", 7, START_US + 1)["fill"] == "replay"


def test_fills_are_never_pooled(engine):
    mixed = [decision(3, "mixed"), market("mixed", 7), trade("d3", 7, fill="paper")]
    store_all(engine, mixed)
    report = build_report(engine, "main", 7, LATER_US)
    assert (report["arms"]["base"]["mature"], report["excluded"]["other_fill"]) == (0, 1)
    assert any("mixed fills are left out" in w for w in report["warnings"])
    live = [decision(1, "live"), market("live", 5), decision(2, "paper"), market("paper", 6, fill="paper")]
    store_all(engine, live, "k")
    report = build_report(engine, "main", 7, LATER_US)
    assert report["fill"] == "live"
    assert (report["arms"]["base"]["pnl_usd"], report["excluded"]["other_fill"]) == (5e-06, 2)


def test_exclusion_is_settled_by_the_first_decision_alone(engine):
    late_force = decision(2, "late", forced=True, reason="forced")
    early = decision(3, "early", forced=True, reason="forced")
    store_all(engine, [decision(1, "late"), late_force, early, decision(4, "early")])
    store_all(engine, [market("late", 1), market("early", 1)], "k")
    assert arm_counts(engine, LATER_US) == {"mature": 1, "excluded": 1}


def test_contaminated_units_are_counted_and_named(engine):
    store_all(engine, [decision(1, "u"), decision(2, "u", arm="transformer"), market("u", 1)])
    report = build_report(engine, "main", 7, LATER_US)
    assert report["excluded"]["contaminated"] == report["arms"]["base"]["contaminated"] == 1
    assert any("two arms" in w for w in report["warnings"])


def test_days_limit_the_window_and_nothing_else(engine):
    old, new = decision(1, "old"), decision(2, "new", started_at_us=START_US + 10 * DAY_US)
    store_all(engine, [old, market("old", 5), new, market("new", 7, received_at_us=START_US + 10 * DAY_US)])
    now_us = START_US + 12 * DAY_US
    week, all_days = (build_report(engine, "main", days, now_us) for days in (7, 30))
    assert week["window"]["arms"]["base"]["mature"] == 1
    assert week["window"]["covers_all"] is False
    assert all_days["window"]["arms"]["base"]["mature"] == 2
    assert all_days["window"]["covers_all"] is True
    changed = {k for k in week if week[k] != all_days[k]}
    assert changed == {"days", "window"}


def test_an_experiment_without_units(engine):
    report = build_report(engine, "main", 7, LATER_US)
    assert report["effect"]["status"] == "not_ready"
    assert report["arms"]["transformer"]["units"] == 0


def test_the_report_reads_unit_totals_and_never_the_decisions(engine):
    store_all(engine, random_history(3))
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    build_report(engine, "main", 7, LATER_US)
    assert len(statements) > 3
    assert not [s for s in statements if re.search(r'\b(from|join)\s+"?decision"?\b', s, re.IGNORECASE)]
