"""The client against a real server on the loopback: what it sends, what it reads, when it sends again."""

import asyncio
import re
import socket
from datetime import UTC, datetime

import numpy as np
import pytest
from abctl_client.client import Client
from abctl_client.errors import AbctlError
from abctl_client.messages import DecideRequest, MarketOutcome, Probs, Quote, TradeOutcome

DECISION = {
    "decision_id": "d", "experiment": "main", "unit": "u", "arm": "base", "served_arm": "base",
    "reason": "assigned",
    "binding": "started_at", "action": "buy", "probs": {"hold": 0.25, "buy": 0.5, "sell": 0.25}, "value": 0.5,
    "propensity": {"base": 0.9, "transformer": 0.1}, "split_version": 2, "split_stale": False, "model": "m",
    "history_used": 2, "latency_us": 300, "something_newer": [1],
}  # fmt: skip
BUSY = {"type": "urn:abctl:problem:journal_full", "title": "journal full", "status": 503, "detail": "later"}
HISTORY = [[0.0, 1.5], [2.0, 3.0]]


def echo(asked):
    return DECISION | {"decision_id": asked["decision_id"], "unit": asked["unit"]}


def test_a_decision(with_service, answers):
    async def play(service):
        async with Client(service.url + "/", api_key="k", experiment="main") as client:
            decision = await client.decide(
                "é🚀", HISTORY, started_at=datetime(2026, 1, 1, tzinfo=UTC), bot="b"
            )
            assert decision.unit == "é🚀"
            assert decision.probs == Probs(0.25, 0.5, 0.25)
            assert decision.decision_id == service.asked[0][2]["decision_id"]
            with pytest.raises(AttributeError):
                decision.arm = "transformer"

    service = with_service(play, answers.reply(echo))
    method, path, body = service.asked[0]
    assert (method, path) == ("POST", "/v1/decide")
    assert re.fullmatch("[0-9a-f]{32}", body.pop("decision_id"))
    assert body == {
        "unit": "é🚀", "history": HISTORY, "started_at": "2026-01-01T00:00:00Z",
        "experiment": "main", "bot": "b",
    }  # fmt: skip
    assert service.headers[0]["Authorization"] == "Bearer k"
    assert service.headers[0]["Content-Type"] == "application/json"


def test_all_options_travel(with_service, answers):
    options = {
        "started_at": 1767225600000, "experiment": "x", "bot": "b", "decision_id": "mine",
        "as_of": "2026-01-01T00:00:00Z",
        "deadline_ms": 20.0, "force_arm": "base", "explain": True,
    }  # fmt: skip

    async def play(service):
        async with Client(service.url, experiment="main") as client:
            await client.decide("u", HISTORY, quote=Quote(bid=0.5, ask=0.52), **options)

    body = with_service(play, answers.reply(echo)).asked[0][2]
    assert body == {"unit": "u", "history": HISTORY, "quote": {"bid": 0.5, "ask": 0.52}, **options}


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_numpy_history(with_service, answers, kind):
    async def play(service):
        async with Client(service.url) as client:
            await client.decide("u", np.asarray(HISTORY, kind))
            await client.decide("u", [np.asarray(row, kind) for row in HISTORY])
            with pytest.raises(TypeError, match="cannot send object: give lists, or an array"):
                await client.decide("u", object())

    assert [body["history"] for _, _, body in with_service(play, answers.reply(echo)).asked] == [
        HISTORY,
        HISTORY,
    ]


def test_one_connection_serves_many_requests(with_service, answers):
    async def play(service):
        async with Client(service.url) as client:
            for _ in range(20):
                await client.decide("u", HISTORY)

    assert len(with_service(play, answers.reply(echo)).connections) == 1


def test_many_tasks_share_a_client(with_service, answers):
    async def play(service):
        async with Client(service.url) as client:
            decisions = await asyncio.gather(*(client.decide(f"u{i}", HISTORY) for i in range(200)))
            assert [d.unit for d in decisions] == [f"u{i}" for i in range(200)]
            assert len({d.decision_id for d in decisions}) == 200

    with_service(play, answers.reply(echo))


@pytest.mark.parametrize("failure", ["drop", "half"])
def test_a_lost_connection_is_sent_once_more_with_the_same_id(with_service, answers, failure):
    async def play(service):
        async with Client(service.url) as client:
            await client.decide("u", HISTORY)

    service = with_service(play, getattr(answers, failure), answers.reply(echo))
    assert len(service.asked) == 2
    assert service.asked[0] == service.asked[1]


def test_without_patience_the_second_loss_is_an_error(with_service, answers):
    async def play(service):
        async with Client(service.url) as client:
            with pytest.raises(AbctlError, match=r"cannot be reached .*abctl serve") as caught:
                await client.decide("u", HISTORY)
            assert (caught.value.code, caught.value.status) == ("no_answer", 0)

    assert len(with_service(play, answers.drop).asked) == 2


def test_busy_is_sent_again_after_the_time_it_asked_for(with_service, answers):
    async def play(service):
        async with Client(service.url) as client:
            began = asyncio.get_running_loop().time()
            await client.outcomes([{"kind": "market"}])
            assert asyncio.get_running_loop().time() - began >= 1.0

    results = {"results": [{"status": "accepted"}]}
    service = with_service(play, answers.reply(BUSY, 503, **{"Retry-After": "1"}), answers.reply(results))
    assert len(service.asked) == 2


def test_patience_outlasts_a_restart(with_service, answers):
    async def play(service):
        async with Client(service.url, patience_s=20) as client:
            await client.decide("u", HISTORY)

    gateway = answers.reply({}, 502)
    service = with_service(
        play, answers.drop, gateway, answers.drop, answers.reply(BUSY, 503), answers.reply(echo)
    )
    assert len(service.asked) == 5
    assert len({body["decision_id"] for _, _, body in service.asked}) == 1


def test_patience_waits_for_a_service_that_is_not_up_yet(answers):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]

    async def scene():
        async with Client(f"http://127.0.0.1:{port}", patience_s=0.3) as client:
            with pytest.raises(AbctlError) as caught:
                await client.assign("u")
            assert caught.value.code == "no_answer"

    asyncio.run(scene())


def test_a_time_out_is_sent_again_only_with_patience(with_service, answers):
    async def hasty(service):
        async with Client(service.url, timeout_s=0.1) as client:
            with pytest.raises(AbctlError, match=r"did not answer within 0\.1 s") as caught:
                await client.decide("u", HISTORY)
            assert caught.value.code == "timed_out"

    async def patient(service):
        async with Client(service.url, timeout_s=0.1, patience_s=5) as client:
            await client.decide("u", HISTORY)

    assert len(with_service(hasty, answers.stall).asked) == 1
    assert len(with_service(patient, answers.stall, answers.reply(echo)).asked) == 2


def test_a_refusal_is_not_sent_again_and_says_what_was_wrong(with_service, answers):
    problem = {
        "type": "urn:abctl:problem:invalid_field", "title": "invalid field", "status": 422,
        "field": "history[0]",
        "detail": "history[0]: must have 18 values",
    }  # fmt: skip

    async def play(service):
        async with Client(service.url, patience_s=5) as client:
            with pytest.raises(AbctlError, match=r"^history\[0\]: must have 18 values$") as caught:
                await client.decide("u", HISTORY)
            error = caught.value
            assert (error.status, error.code, error.field) == (422, "invalid_field", "history[0]")
            assert (error.title, error.retry_after_s, error.problem) == ("invalid field", None, problem)

    assert len(with_service(play, answers.reply(problem, 422)).asked) == 1


@pytest.mark.parametrize("payload", [["no object"], {"decision_id": 7}, {}])
def test_an_answer_of_something_else_is_an_error(with_service, answers, payload):
    async def play(service):
        async with Client(service.url, patience_s=5) as client:
            with pytest.raises(AbctlError, match="is this the URL of abctl") as caught:
                await client.decide("u", HISTORY)
            assert caught.value.code == "bad_answer"

    assert len(with_service(play, answers.reply(payload)).asked) == 1


def test_a_refusal_without_a_problem_document(with_service, answers):
    async def play(service):
        async with Client(service.url) as client:
            with pytest.raises(AbctlError, match="HTTP 404 without a problem document") as caught:
                await client.assign("u")
            assert (caught.value.code, caught.value.status) == ("http_error", 404)

    with_service(play, answers.reply(["nothing here"], 404))


def test_a_batch(with_service, answers):
    refused = {
        "error": {
            "type": "urn:abctl:problem:invalid_field",
            "status": 422,
            "detail": "unit: must not be empty",
        }
    }

    def batch(asked):
        return {"decisions": [echo(asked["decisions"][0]), refused]}

    async def play(service):
        async with Client(service.url, experiment="main") as client:
            requests = [DecideRequest(unit="u", history=HISTORY), DecideRequest(unit="", history=HISTORY)]
            good, bad = await client.decide_batch(requests)
            assert good.unit == "u"
            assert isinstance(bad, AbctlError)
            assert (bad.status, str(bad)) == (422, "unit: must not be empty")

    _, path, body = with_service(play, answers.reply(batch)).asked[0]
    assert path == "/v1/decide/batch"
    assert len({item["decision_id"] for item in body["decisions"]}) == 2
    assert {item["experiment"] for item in body["decisions"]} == {"main"}


def test_an_assignment(with_service, answers):
    assigned = {
        "experiment": "main", "unit": "u", "arm": "base", "served_arm": "transformer", "reason": "killed",
        "binding": "redis", "propensity": {"base": 1.0}, "split_version": 1, "eligible": True,
        "started_at_ms": 1, "split_stale": False,
    }  # fmt: skip

    async def play(service):
        async with Client(service.url) as client:
            said = await client.assign("u", started_at=1)
            assert (said.arm, said.served_arm, said.reason) == ("base", "transformer", "killed")

    assert with_service(play, answers.reply(assigned)).asked == [
        ("POST", "/v1/assign", {"unit": "u", "started_at": 1})
    ]


def test_outcomes(with_service, answers):
    closed = datetime(2026, 1, 1, tzinfo=UTC)

    def results(asked):
        assert len(asked) == 3
        rejected = {"status": "rejected", "error": {"detail": "no"}}
        return {"results": [{"status": "accepted", "pnl_micro": 420000}, {"status": "duplicate"}, rejected]}

    async def play(service):
        async with Client(service.url, experiment="main") as client:
            got = await client.outcomes([
                TradeOutcome(decision_id="d", pnl_usd=0.42, fill="paper", closed_at=closed, side="up"),
                MarketOutcome(unit="u", bot="b", pnl_usd=0, fill="live", closed_at=closed, experiment="x"),
                {"kind": "market", "unit": "v"},
            ])  # fmt: skip
            assert [result.status for result in got] == ["accepted", "duplicate", "rejected"]
            assert (got[0].pnl_micro, got[2].error) == (420000, {"detail": "no"})

    _, path, body = with_service(play, answers.reply(results)).asked[0]
    assert path == "/v1/outcomes"
    at = "2026-01-01T00:00:00Z"
    assert body == [
        {"kind": "trade", "decision_id": "d", "pnl_usd": 0.42, "fill": "paper", "closed_at": at, "side": "up",
         "experiment": "main"},
        {"kind": "market", "unit": "u", "bot": "b", "pnl_usd": 0.0, "fill": "live", "closed_at": at,
         "experiment": "x"},
        {"experiment": "main", "kind": "market", "unit": "v"},
    ]  # fmt: skip


def test_the_verdict(with_service, answers):
    async def play(service):
        async with Client(service.url) as client:
            assert (await client.report_verdict())["verdict"] == "hold"
            await client.report_verdict("a/b")

    service = with_service(play, answers.reply({"verdict": "hold"}))
    assert [path for _, path, _ in service.asked] == [
        "/v1/experiments/main/verdict",
        "/v1/experiments/a%2Fb/verdict",
    ]


def test_a_closed_client_says_how_to_open_it():
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(Client("http://127.0.0.1:1").assign("u"))


def test_a_resend_after_a_lost_connection_never_uses_one_that_was_kept(with_service, answers):
    """A dying worker may hold all connections that are kept; every one of them would cost a resend."""

    async def play(service):
        async with Client(service.url) as client:
            await asyncio.gather(*(client.decide(f"u{i}", HISTORY) for i in range(8)))
            kept = set(service.connections)
            assert len(kept) == 8
            service.answers[:] = [answers.drop, answers.reply(echo)]
            service.connections.clear()
            await client.decide("u", HISTORY)
            assert len(service.connections & kept) == 1
            assert len(service.connections - kept) == 1

    with_service(play, answers.slow(echo))
