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
from store import experiments, models
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.prune import Rule, prune
from store.records import Decision, MarketOutcome, TradeOutcome, Unserved

START_US = 1_767_225_600_000_000
SPAN_US = 1800 * 1_000_000
DAY_US = 86_400_000_000
LATER_US = START_US + 20 * DAY_US
PACK = msgspec.msgpack.encode


@pytest.fixture
def engine(migrated):
    made = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, START_US)
    experiments.ensure(migrated, made, first_split(made, "test"), "test")
    by = change.By("test", "test")
    change.set_share(migrated, "main", "transformer", "0.1", by, lambda: START_US + DAY_US, 0)
    change.set_share(migrated, "main", "transformer", "0.5", by, lambda: START_US + 5 * DAY_US, 0)
    return migrated


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


def unserved(number, unit, **more):
    fields = {
        "arm": "base",
        "reason": "overloaded",
        "split_version": 3,
        "weights": {"base": 0.5, "transformer": 0.5},
        "bot": "b",
        "started_at_us": START_US,
        "received_at_us": START_US + number,
        "sent_started_at_us": None,
        "forced": False,
        "eligible": True,
        "split_stale": False,
    } | more
    return Unserved(experiment="main", unit=unit, **fields)


def market(unit, pnl_micro, **more):
    fields = {
        "bot": "b",
        "fill": "live",
        "received_at_us": START_US + 900_000_000,
        "trades": 1,
        "stake_micro": 10,
        "fee_micro": 1,
    } | more
    return MarketOutcome(
        experiment="main", unit=unit, pnl_micro=pnl_micro, won=None, closed_at_us=START_US,
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
            at = {"received_at_us": start + number}
            if rng.random() < 0.2:
                why = {"reason": "overloaded", "killed": kind == "killed"}
                yield unserved(number, unit, **{**facts, **at, **moved, **why})
                continue
            yield decision(number, unit, **{**facts, **at, "served_arm": served, **moved})
            if rng.random() < 0.3:
                yield trade(f"d{number}", rng.randrange(-5, 6), fill=fill)
        if rng.random() < 0.85:
            amount = rng.choice([-1_500_000, 0, 700_000, 3])
            yield market(unit, amount, trades=rng.randrange(3), fill=fill, received_at_us=start + 900_000_000)


COUNTS = """
WITH asked AS (
  SELECT unit, arm, started_at_us, received_at_us, eligible, forced, reason, 1 AS answered FROM decision
  UNION ALL
  SELECT unit, arm, started_at_us, received_at_us, eligible, forced, 'refused', 0 FROM unserved
)
SELECT arm, count(*) AS units,
  sum(CASE WHEN excluded IS NULL AND closed AND reported THEN 1 ELSE 0 END) AS mature_any,
  sum(CASE WHEN excluded IS NULL AND closed AND reported AND live THEN 1 ELSE 0 END) AS mature,
  sum(CASE WHEN excluded IS NULL AND NOT closed THEN 1 ELSE 0 END) AS pending,
  sum(CASE WHEN excluded IS NULL AND closed AND NOT reported THEN 1 ELSE 0 END) AS missing,
  sum(CASE WHEN excluded IS NOT NULL THEN 1 ELSE 0 END) AS excluded,
  sum(CASE WHEN excluded IS NULL AND closed AND reported AND live AND pnl > 0 AND traded
    THEN 1 ELSE 0 END) AS wins,
  sum(CASE WHEN excluded IS NULL AND closed AND reported AND live THEN pnl ELSE 0 END) AS pnl,
  sum(decisions) AS decisions,
  sum(CASE WHEN refusals > 0 THEN 1 ELSE 0 END) AS unserved
FROM (
  SELECT first.arm, first.started_at_us + 1800000000 <= {now} AS closed,
    CASE WHEN NOT first.eligible THEN 'ineligible' WHEN first.forced THEN first.reason END AS excluded,
    m.unit IS NOT NULL AS reported, m.pnl_micro AS pnl,
    m.fill = 'live' AS live, m.trades > 0 AS traded,
    (SELECT sum(answered) FROM asked a WHERE a.unit = first.unit) AS decisions,
    (SELECT sum(1 - answered) FROM asked a WHERE a.unit = first.unit) AS refusals
  FROM asked first
  LEFT JOIN outcome m ON m.unit = first.unit AND m.kind = 'market'
  WHERE first.received_at_us = (SELECT min(received_at_us) FROM asked a WHERE a.unit = first.unit)
) AS unit_facts GROUP BY arm
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_the_counts_are_those_of_sql_written_by_hand(engine, seed):
    store_all(engine, random_history(seed))
    now_us = START_US + 15 * DAY_US
    report = build_report(engine, "main", 7, now_us, "live")
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(COUNTS.format(now=now_us)).mappings().all()
    assert {r["arm"] for r in rows} == {"base", "transformer"}
    for row in rows:
        arm = report["arms"][row["arm"]]
        for name in ("units", "mature", "pending", "missing", "excluded", "wins", "decisions", "unserved"):
            assert arm[name] == row[name], name
        assert arm["pnl_usd"] == pytest.approx(int(row["pnl"]) / 1e6)
    other_fill = sum(r["mature_any"] - r["mature"] for r in rows)
    assert report["excluded"]["other_fill"] == other_fill > 0
    assert report["excluded"]["unserved"] == sum(r["unserved"] for r in rows) > 20
    total = sum(
        sum(a[n] for n in ("mature", "pending", "missing", "excluded")) for a in report["arms"].values()
    )
    assert total + other_fill == 300


def test_a_unit_that_was_only_refused_is_in_the_report_like_any_other(engine):
    """Intention to treat: whom an arm did not serve it did not help."""
    reported = [market("none", 0, trades=0, stake_micro=0, fee_micro=0), market("some", 8)]
    asked = [unserved(1, "none"), unserved(2, "silent"), decision(3, "some"), unserved(4, "some")]
    store_all(engine, [*asked, *reported])
    assert arm_counts(engine, START_US + SPAN_US - 1) == {"pending": 3}
    report = build_report(engine, "main", 7, LATER_US)
    base = report["arms"]["base"]
    assert {n: base[n] for n in ("units", "mature", "missing", "traded", "decisions", "unserved")} == {
        "units": 3,
        "mature": 2,
        "missing": 1,
        "traded": 1,
        "decisions": 1,
        "unserved": 3,
    }
    assert base["pnl_per_unit_usd"] == 4e-06
    assert (base["profit_rate"], report["excluded"]["unserved"]) == (0.5, 3)
    assert any("refused in 0 of transformer's 0 and 3 of base's 3" in w for w in report["warnings"])
    assert report["stages"][-1]["counts"] == {"base": 3, "transformer": 0}


def test_a_report_says_the_same_once_decisions_and_refusals_are_gone(engine):
    store_all(engine, random_history(4))
    before = build_report(engine, "main", 7, LATER_US)
    steps = list(prune(engine, Rule("main", LATER_US, LATER_US, None), "test"))
    assert min(sum(s.decisions for s in steps), sum(s.unserved for s in steps)) > 20
    with engine.connect() as connection:
        left = connection.exec_driver_sql(
            "SELECT (SELECT count(*) FROM decision), (SELECT count(*) FROM unserved)"
        )
        assert left.one() == (0, 0)
    assert build_report(engine, "main", 7, LATER_US) == before


def arm_counts(engine, now_us, arm="base"):
    row = build_report(engine, "main", 7, now_us)["arms"][arm]
    return {n: row[n] for n in ("mature", "pending", "missing", "excluded") if row[n]}


def test_a_live_unit_matures_when_its_attribution_window_closes(engine):
    store_all(engine, [decision(1, "u"), market("u", 5)])
    assert arm_counts(engine, START_US + SPAN_US - 1) == {"pending": 1}
    assert arm_counts(engine, START_US + SPAN_US) == {"mature": 1}


def test_a_unit_that_is_complete_only_after_its_window_stays_missing_and_is_counted(engine):
    store_all(engine, [decision(1, "u"), decision(2, "u", bot="second"), market("u", 5)])
    assert arm_counts(engine, START_US + SPAN_US) == {"missing": 1}
    store_all(engine, [market("u", 5, bot="second", received_at_us=START_US + SPAN_US + 1)], "later")
    report = build_report(engine, "main", 7, LATER_US)
    assert report["excluded"]["late"] == 1
    assert any("1 unit reported after the attribution window" in w for w in report["warnings"])
    assert arm_counts(engine, LATER_US) == {"missing": 1}


def test_the_last_moment_of_the_window_is_in_time(engine):
    store_all(engine, [decision(1, "u"), market("u", 5, received_at_us=START_US + SPAN_US)])
    assert arm_counts(engine, START_US + SPAN_US) == {"mature": 1}


def test_a_unit_that_is_asked_about_after_its_maturity_is_counted_as_reused_and_gets_no_new_coin(engine):
    store_all(engine, [decision(1, "u"), market("u", 5), decision(2, "kept"), market("kept", 5)])
    again = decision(3, "u", received_at_us=START_US + SPAN_US + 1)
    store_all(engine, [again], "later")
    report = build_report(engine, "main", 7, LATER_US)
    assert report["excluded"]["reused"] == 1
    assert report["arms"]["base"]["units"] == 2
    assert any("asked about again after maturity" in w for w in report["warnings"])


@pytest.mark.parametrize("fill", ["live", "replay"])
def test_a_bot_that_first_decides_after_maturity_does_not_undo_it(engine, fill):
    store_all(engine, [decision(1, "u"), market("u", 5, fill=fill)])
    stray = decision(2, "u", bot="stray", received_at_us=START_US + SPAN_US + 1)
    store_all(engine, [stray], "later")
    report = build_report(engine, "main", 7, LATER_US)
    assert arm_counts(engine, LATER_US) == {"mature": 1}
    assert (report["excluded"]["late_bots"], report["excluded"]["reused"]) == (1, 1)


def test_a_replay_matures_when_its_bots_have_reported(engine):
    store_all(engine, [decision(1, "u@1"), market("u@1", 5, fill="replay")])
    assert arm_counts(engine, START_US + 1) == {"mature": 1}
    assert build_report(engine, "main", 7, START_US + 1)["fill"] == "replay"


def test_a_late_replay_counts(engine):
    late = market("u@1", 5, fill="replay", received_at_us=START_US + SPAN_US + 1)
    store_all(engine, [decision(1, "u@1"), late])
    assert arm_counts(engine, LATER_US) == {"mature": 1}


def test_trade_rows_of_another_fill_do_not_touch_the_unit(engine):
    trades = [trade("d1", 7, fill="paper"), trade("d2", 7)]
    store_all(engine, [decision(1, "u"), decision(2, "u"), market("u", 7), *trades])
    report = build_report(engine, "main", 7, LATER_US)
    assert (report["fill"], report["arms"]["base"]["mature"], report["arms"]["base"]["trades"]) == (
        "live",
        1,
        1,
    )
    assert report["excluded"]["other_fill_trades"] == 1


def test_a_unit_with_outcomes_of_two_fills_is_missing_once_its_window_has_closed(engine):
    both = [decision(1, "u"), decision(2, "u", bot="second")]
    store_all(engine, [*both, market("u", 7), market("u", 7, bot="second", fill="paper")])
    assert arm_counts(engine, START_US + SPAN_US - 1) == {"pending": 1}
    report = build_report(engine, "main", 7, LATER_US)
    assert (report["arms"]["base"]["missing"], report["excluded"]["mixed_fill"]) == (1, 1)
    assert any("different fills" in w for w in report["warnings"])


def test_the_fill_of_the_first_mature_unit_is_judged_until_another_is_asked_for(engine):
    store_all(engine, [decision(1, "p"), market("p", 6, fill="paper")])
    later = [decision(n, f"l{n}", started_at_us=START_US + n) for n in (2, 3)]
    store_all(engine, [*later, market("l2", 5), market("l3", 5)], "k")
    report = build_report(engine, "main", 7, LATER_US)
    assert (report["fill"], report["excluded"]["other_fill"]) == ("paper", 2)
    assert report["arms"]["base"]["pnl_usd"] == 6e-06
    assert any(w.startswith("2 units with live fills") and "--fill live" in w for w in report["warnings"])
    asked = build_report(engine, "main", 7, LATER_US, "live")
    assert (asked["fill"], asked["arms"]["base"]["pnl_usd"], asked["excluded"]["other_fill"]) == (
        "live",
        1e-05,
        1,
    )
    none = build_report(engine, "main", 7, LATER_US, "replay")
    assert (none["arms"]["base"]["mature"], none["excluded"]["other_fill"]) == (0, 3)


def test_money_of_a_bot_that_did_not_decide_is_kept_and_not_counted(engine):
    stranger = market("u", 10**9, bot="typo", fill="paper", received_at_us=START_US + SPAN_US + 1)
    store_all(engine, [decision(1, "u"), market("u", 5), stranger])
    report = build_report(engine, "main", 7, LATER_US)
    assert (report["arms"]["base"]["mature"], report["arms"]["base"]["pnl_usd"]) == (1, 5e-06)
    assert (report["fill"], report["excluded"]["stranger_outcomes"]) == ("live", 1)
    assert any("the bot made no decision in the unit" in w for w in report["warnings"])
    store_all(engine, [decision(2, "u", bot="typo")], "k")
    assert build_report(engine, "main", 7, LATER_US)["excluded"]["stranger_outcomes"] == 0


@pytest.mark.parametrize(
    ("said", "traded"),
    [
        ({"trades": 0, "stake_micro": 10}, 0),
        ({"trades": 2, "stake_micro": 0}, 1),
        ({"trades": None, "stake_micro": 10}, 1),
        ({"trades": None, "stake_micro": 0, "fee_micro": 1}, 1),
        ({"trades": None, "stake_micro": 0, "pnl_micro": -5}, 1),
        ({"trades": None, "stake_micro": 0}, 0),
        ({"trades": None, "stake_micro": 0, "with_trade_row": True}, 1),
        ({"trades": 0, "stake_micro": 0, "with_trade_row": True}, 0),
    ],
)
def test_what_counts_as_traded(engine, said, traded):
    said = {"pnl_micro": 0, "fee_micro": 0, **said}
    rows = [trade("d1", 0)] if said.pop("with_trade_row", False) else []
    store_all(engine, [decision(1, "u"), market("u", **said), *rows])
    assert build_report(engine, "main", 7, LATER_US)["arms"]["base"]["traded"] == traded


def test_money_that_no_report_can_add_is_left_out_and_counted(engine):
    bots = [f"b{n}" for n in range(300)]
    huge = [decision(n, "huge", bot=bot) for n, bot in enumerate(bots)]
    paid = [market("huge", 2**53, bot=bot) for bot in bots]
    store_all(engine, [*huge, *paid, decision(1000, "fine"), market("fine", 5)])
    report = build_report(engine, "main", 7, LATER_US)
    assert (report["excluded"]["beyond_range"], report["arms"]["base"]["excluded"]) == (1, 1)
    assert (report["arms"]["base"]["mature"], report["arms"]["base"]["pnl_usd"]) == (1, 5e-06)
    assert any("no possible amount" in w for w in report["warnings"])


def test_many_large_units_add_up_exactly(engine):
    bots = [f"b{n}" for n in range(256)]
    for u in range(5):
        asked = [decision(1000 * u + n, f"u{u}", bot=bot) for n, bot in enumerate(bots)]
        store_all(engine, [*asked, *(market(f"u{u}", 2**53, bot=bot) for bot in bots)], f"j{u}")
    report = build_report(engine, "main", 30, LATER_US)
    assert report["arms"]["base"]["pnl_usd"] == report["window"]["arms"]["base"]["pnl_usd"] == 5 * 2**61 / 1e6


def test_conflicts_are_counted_and_named(engine):
    store_all(
        engine, [decision(1, "u"), market("u", 5), market("u", 6, received_at_us=START_US + 950_000_000)]
    )
    report = build_report(engine, "main", 7, LATER_US)
    assert report["excluded"]["conflicts"] == 1
    assert any("contradicting an earlier one" in w for w in report["warnings"])
    assert report["arms"]["base"]["pnl_usd"] == 5e-06


def promoted(engine, arm, model, at_us):
    entry = models.ModelEntry(model, arm, "{}", at_us, "test")
    models.register(engine, entry, {"config.json": b"{}"})
    models.set_alias(engine, models.AliasChange(arm, "champion", model, at_us, "test", "test"))


def test_a_model_that_changes_after_the_first_unit_is_named(engine):
    promoted(engine, "base", "m0", START_US - 2)
    promoted(engine, "base", "m1", START_US - 1)
    promoted(engine, "another-arm", "n1", START_US - 1)
    store_all(engine, [decision(1, "u"), market("u", 5)])
    promoted(engine, "base", "m1", START_US + DAY_US)
    promoted(engine, "transformer", "t1", START_US + DAY_US)
    promoted(engine, "another-arm", "n2", START_US + DAY_US)
    assert not any("model of arm" in w for w in build_report(engine, "main", 7, LATER_US)["warnings"])
    promoted(engine, "base", "m2", START_US + 2 * DAY_US)
    warnings = build_report(engine, "main", 7, LATER_US)["warnings"]
    (found,) = [w for w in warnings if "model of arm" in w]
    assert found.startswith("the model of arm base changed at 2026-01-03T00:00:00")
    experiments.archive(engine, "main", START_US + DAY_US, "test")
    assert not any("model of arm" in w for w in build_report(engine, "main", 7, LATER_US)["warnings"])


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
