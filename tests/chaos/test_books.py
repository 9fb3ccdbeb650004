"""The reconciliation itself: every law is broken once, and it says so."""

import json
from dataclasses import replace

import pytest
from harness.books import DecisionRow, OutcomeRow, RefusalRow, SqlBooks, UnitRow, reconcile
from harness.diary import diaries_of
from harness.faults import ON_POSTGRES, SHORT, plan

TOLD = {"arm": "base", "action": "hold", "binding": "started_at", "stale": False}
MARKET = json.dumps(["u1", "b"], separators=(",", ":"))
LINES = [
    ["ask", "d1", "u1", "b", True],
    ["told", "d1", TOLD, 0.1],
    ["ask", "d2", "u2", "b", False],
    ["told", "d2", {**TOLD, "binding": "redis"}, 0.1],
    ["ask", "d3", "u2", "b", False],
    ["no", "timed_out", 3.0],
    ["say", "trade", "d1", 5],
    ["taken", "trade", "d1", 5, "accepted"],
    ["say", "trade", "d1", 7],
    ["taken", "trade", "d1", 7, "conflict"],
    ["say", "market", MARKET, 9],
]
D1 = DecisionRow("d1", "u1", "b", "base", "hold", "started_at", stale=False)
D2 = DecisionRow("d2", "u2", "b", "base", "hold", "redis", stale=False)
D3 = D2._replace(decision_id="d3")
TRADE = OutcomeRow("trade", "d1", "u1", 5, holder=True)
CONFLICT = OutcomeRow("trade", "d1", None, 7, holder=False)
U1, U2 = UnitRow("u1", "base", 1, contaminated=False), UnitRow("u2", "base", 1, contaminated=False)
SQL = SqlBooks((D1, D2), (TRADE, CONFLICT), (U1, U2))


def wrong(sql, *more):
    return reconcile(diaries_of([*LINES, *more]), sql).wrong


def test_right_books():
    found = reconcile(diaries_of(LINES), SQL)
    assert found.wrong == {}
    assert found.counts["decisions_answered"] == 2
    assert found.counts["outcomes_taken"] == 2


def test_what_was_never_acknowledged_may_be_there_or_not():
    two = UnitRow("u2", "base", 2, contaminated=False)
    market = OutcomeRow("market", MARKET, "u1", 9, holder=True)
    assert wrong(SqlBooks((D1, D2, D3), (TRADE, CONFLICT, market), (U1, two))) == {}


def test_a_unit_that_was_only_refused_is_right():
    unit = UnitRow("u3", "base", 0, contaminated=False, unserved=1)
    assert wrong(replace(SQL, units=(U1, U2, unit), refusals=(RefusalRow("u3", "base"),))) == {}


def test_a_torn_record_is_all_that_a_kill_may_leave():
    assert wrong(replace(SQL, dead=["unfinished or damaged record"])) == {}


@pytest.mark.parametrize(
    ("law", "sql"),
    [
        ("an answered decision is lost", replace(SQL, decisions=(D1,), units=(U1,))),
        ("a decision is there twice", replace(SQL, decisions=(D1, D1, D2))),
        ("a decision was never sent", replace(SQL, decisions=(D1, D2, D1._replace(decision_id="x")))),
        ("a decision was never sent", replace(SQL, decisions=(D1, D2._replace(bot="other")))),
        ("one decision id got two answers", replace(SQL, decisions=(D1._replace(action="buy"), D2))),
        ("a unit has two arms", replace(SQL, decisions=(D1, D2, D3._replace(arm="transformer")))),
        ("a unit's totals are wrong", replace(SQL, units=(U1, U2._replace(decisions=2)))),
        ("a unit's totals are wrong", replace(SQL, units=(U1, U2._replace(contaminated=True)))),
        ("a unit's totals are wrong", replace(SQL, units=(U1,))),
        ("a unit's totals are wrong", replace(SQL, units=(U1, U2._replace(unserved=1)))),
        ("a unit's totals are wrong", replace(SQL, refusals=(RefusalRow("u2", "base"),))),
        ("a unit's totals are wrong", replace(SQL, refusals=(RefusalRow("u3", "base"),))),
        ("an acknowledged outcome is lost", replace(SQL, outcomes=(TRADE,))),
        ("an acknowledged outcome is lost", replace(SQL, outcomes=(CONFLICT,))),
        ("an outcome is there twice", replace(SQL, outcomes=(TRADE, TRADE, CONFLICT))),
        ("an outcome was never sent", replace(SQL, outcomes=(TRADE, CONFLICT._replace(pnl_micro=8)))),
        (
            "the first outcome did not stay",
            replace(SQL, outcomes=(TRADE._replace(pnl_micro=7), CONFLICT._replace(pnl_micro=5))),
        ),
        ("a trade is in the wrong unit", replace(SQL, outcomes=(TRADE._replace(unit=None), CONFLICT))),
        ("a dead letter is no torn record", replace(SQL, dead=["damaged bytes"])),
    ],
)
def test_every_law_can_be_broken(law, sql):
    assert law in wrong(sql)


@pytest.mark.parametrize("mark", [{"binding": "local"}, {"stale": True}])
def test_two_arms_are_marked_by_the_decisions_themselves(mark):
    rows = (D1, D2, D3._replace(arm="transformer", **mark))
    unit = UnitRow("u2", "base", 2, contaminated=True)
    found = reconcile(diaries_of(LINES), SqlBooks(rows, (TRADE, CONFLICT), (U1, unit)))
    assert found.wrong == {}
    assert found.marked == {"u2"}


def test_an_answer_counts_as_an_arm_also_where_sql_keeps_another():
    other = ["told", "d2", {**TOLD, "arm": "transformer", "binding": "redis"}, 0.1]
    assert {"a unit has two arms", "one decision id got two answers"} <= wrong(SQL, other).keys()


def test_a_plan_is_fixed_by_its_seed_and_leaves_nothing_out():
    one, same, other = (plan(ON_POSTGRES, 50, seed, SHORT) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert sum(1 + bool(fault.meanwhile) for fault in one) == 50
    assert {fault.kind for fault in one[: len(ON_POSTGRES)]} == set(ON_POSTGRES)
    assert {fault.kind for fault in one if fault.meanwhile} & {"freeze shipper", "freeze postgres"}
