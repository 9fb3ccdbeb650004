"""Outcomes: what is accepted, what is known already, and what becomes of money."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from router.outcomes import CLOSED_AHEAD_MAX_US, closed_us
from router.problems import Problem
from store.clock import wall_clock_us

NOW = {"closed_at": "2026-01-05T10:00:00Z", "fill": "live"}


def market(unit, pnl_usd=1.0, **more):
    return {"kind": "market", "unit": unit, "pnl_usd": pnl_usd, **NOW, **more}


def trade(decision_id, pnl_usd=1.0, **more):
    return {"kind": "trade", "decision_id": decision_id, "pnl_usd": pnl_usd, **NOW, **more}


def statuses(reply):
    assert reply.status == 200, reply.body
    return [r["status"] for r in reply.json["results"]]


def test_one_outcome_or_a_list(node):
    assert statuses(node.post("/v1/outcomes", market("one"))) == ["accepted"]
    assert statuses(node.post("/v1/outcomes", [market("two"), trade("t-two")])) == ["accepted"] * 2
    assert node.post("/v1/outcomes", b" \n [" + b" " * 100 + b"]").status == 422


def test_what_is_known_already(node):
    first = [market("known"), trade("t-known")]
    assert statuses(node.post("/v1/outcomes", first)) == ["accepted"] * 2
    assert statuses(node.post("/v1/outcomes", first)) == ["duplicate"] * 2
    other = [market("known", 2.0), trade("t-known", 2.0), market("known", bot="second")]
    assert statuses(node.post("/v1/outcomes", other)) == ["conflict", "conflict", "accepted"]
    assert statuses(node.post("/v1/outcomes", first)) == ["duplicate"] * 2, "the first one stays"


def test_a_list_that_repeats_itself(node):
    items = [market("twice"), market("twice"), market("twice", 3.0), {"kind": "market"}, market("twice")]
    expected = ["accepted", "duplicate", "conflict", "rejected", "duplicate"]
    assert statuses(node.post("/v1/outcomes", items)) == expected
    again = statuses(node.post("/v1/outcomes", items))
    assert again == ["duplicate", "duplicate", "conflict", "rejected", "duplicate"]


@pytest.mark.parametrize(
    ("usd", "micro"),
    [
        (0.1, 100_000),
        (0.1 + 0.2, 300_000),
        (-1e-7, 0),
        (0.0000014, 1),
        (-12.3456789, -12_345_679),
        (1e7, 10**13),
        (5, 5_000_000),
    ],
)
def test_money_is_rounded_to_the_nearest_millionth_and_echoed(node, usd, micro):
    reply = node.post("/v1/outcomes", market(f"money {usd}", usd))
    assert reply.json["results"][0] == {"status": "accepted", "pnl_micro": micro}


@pytest.mark.parametrize("field", ["pnl_usd", "fee_usd", "stake_usd"])
def test_more_than_ten_million_is_refused(node, field):
    found = node.refused("/v1/outcomes", market("too much", **{field: 10_000_000.01}))
    assert found["field"] == field
    assert "within +-10,000,000 USD" in found["detail"]


@pytest.mark.parametrize("made", [market, trade])
def test_what_closes_days_ahead_is_refused_and_a_wrong_clock_is_not(node, made):
    now_ms = wall_clock_us() // 1000
    items = [
        made(f"days {made.__name__}", closed_at=now_ms + 25 * 3_600_000),
        made(f"fast {made.__name__}", closed_at=now_ms + 600_000),
    ]
    refused = node.refused("/v1/outcomes", items[0])
    assert refused["field"] == "closed_at"
    assert "must be at most a day ahead of now, but is 25.0 hours ahead" in refused["detail"]
    assert statuses(node.post("/v1/outcomes", items)) == ["rejected", "accepted"]


@pytest.mark.parametrize("ahead_us", [-10 * 365 * 86_400_000_000, 0, CLOSED_AHEAD_MAX_US])
def test_long_ago_and_up_to_a_day_ahead_is_kept_as_it_was_sent(ahead_us):
    now_us = wall_clock_us() // 1000 * 1000
    assert closed_us((now_us + ahead_us) // 1000, now_us) == now_us + ahead_us
    with pytest.raises(Problem, match="at most a day ahead"):
        closed_us((now_us + CLOSED_AHEAD_MAX_US) // 1000 + 1, now_us)


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_what_was_answered_is_in_sql_and_the_rest_is_not(start_node, engine, request):
    sql_url = None if engine == "sqlite" else request.getfixturevalue("fresh_postgres_url")
    node = start_node("loop", sql_url=sql_url)
    ids = [node.decide(f"u{i}")["decision_id"] for i in range(3)]
    sent = [market(f"u{i}", i - 1, fee_usd=0.25, stake_usd=2, trades=1) for i in range(3)]
    parked = [trade("nobody-decided-this"), market("nobody-was-here")]
    node.post("/v1/outcomes", [*sent, *(trade(d) for d in ids), *parked, market("", 5)])
    node.post("/v1/outcomes", [market("u0", 99)])
    with node.carrying():
        pass
    found = node.ask("GET", f"/v1/decisions/{ids[0]}").json
    assert found["decision"]["unit"] == "u0"
    assert [o["kind"] for o in sorted(found["outcomes"], key=lambda o: o["kind"])] == ["market", "trade"]
    assert len(found["conflicts"]) == 1
    report = node.ask("GET", "/v1/experiments/main/report?days=1").json
    assert report["arms"]["base"]["units"] == 3
    assert report["excluded"]["parked_outcomes"] == 2
    verdict = node.ask("GET", "/v1/experiments/main/verdict").json
    assert verdict["verdict"] == report["verdict"]["verdict"]
    assert verdict["as_of"].endswith("Z")
    assert node.ask("PUT", "/v1/experiments/main", {"arms": ["a", "b"], "control": "a"}).json["status"] == 409
    planned = {
        "gate": "hybrid", "looks": [0.5, 1.0], "plan_units": 400, "until": "2099-01-01T00:00:00Z",
        "pnl_margin_usd": 0.05,
    }  # fmt: skip
    named = {"arms": ["base", "transformer"], "control": "base"} | planned
    assert node.ask("PUT", "/v1/experiments/named", named).status == 200
    assert node.ask("GET", "/v1/experiments/named").json.items() >= planned.items()
    refused = node.ask("PUT", "/v1/experiments/other", named | {"pnl_margin_usd": "much"})
    assert (refused.status, refused.json["field"]) == (422, "pnl_margin_usd")
    gates = node.ask("GET", "/v1/experiments/named/report").json["gates"]
    assert (gates["kind"], gates["may_promote"]) == ("hybrid", "no")
    assert [bound["limit"] for bound in gates["promote"]["bounds"]] == [0.0, -0.05]
    assert [one["answer"] for one in gates["conditions"]] == ["no", "cannot say", "yes"]
    for path in ("/v1/experiments/a%00b/split", "/v1/decisions/a%00b"):
        assert node.ask("GET", path).status == 422
    changes = [{"arm": "transformer", "share": s} for s in ("0.1", "0.2", "0.3", "0.4")]
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda c: node.ask("PUT", "/v1/experiments/main/split", c), changes))
    assert {r.status for r in replies} <= {200, 409}
    history = node.ask("GET", "/v1/experiments/main/split/history").json["splits"]
    assert len(history) == 1 + sum(r.status == 200 for r in replies)
