"""Bad input gets a problem that names the field and the rule: never a 500, never a silent default."""

import http.client
import json
import socket
import urllib.error
import urllib.request

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROW = [0.1] * 18
NOW_FIELDS = {"pnl_usd": 1.0, "closed_at": "2026-01-05T10:00:00Z", "fill": "live"}
MARKET = {"kind": "market", "unit": "u", **NOW_FIELDS}
TRADE = {"kind": "trade", "decision_id": "d", **NOW_FIELDS}


def asked(**fields):
    return {"unit": "u", "history": [ROW], **fields}


POST_HEAD = b"POST /v1/decide HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
COLD_NAMES = ("arm", "share", "restore", "reason", "state", "arms", "control", "alpha", "unit_pattern")
FUZZED = ("unit", "history", "started_at", "bot", "kind", "decision_id", "pnl_usd", "decisions", "meta")
BAD_DECISIONS = {
    "short row": (asked(history=[[0.1] * 17]), "history", "18"),
    "ragged rows": (asked(history=[ROW, [0.1]]), "history[1]", "18"),
    "out of range": (asked(history=[ROW, [2.0, *ROW[1:]]]), "history[1][0]", "[-1, 1]"),
    "float32 overflow": (asked(history=[[1e39, *ROW[1:]]]), "history[0][0]", "finite"),
    "no rows": (asked(history=[]), "history", "1 to 64"),
    "too many rows": (asked(history=[ROW] * 65), "history", "64"),
    "history no list": (asked(history="x"), "history", "array"),
    "a boolean feature": (asked(history=[[True, *ROW[1:]]]), "history[0][0]", "float"),
    "empty unit": (asked(unit=""), "unit", "empty"),
    "blank unit": (asked(unit="  "), "unit", "empty"),
    "long unit": (asked(unit="x" * 257), "unit", "256"),
    "control character": (asked(unit="a\nb"), "unit", "control"),
    "NUL in unit": (asked(unit="a\x00b"), "unit", "control"),
    "unit is a number": (asked(unit=5), "unit", "str"),
    "no unit": ({"history": [ROW]}, "unit", "missing"),
    "unknown field": (asked(histori=1), "histori", "unknown field"),
    "blank bot": (asked(bot=" "), "bot", "1 to 128"),
    "bot with a line break": (asked(bot="a\nb"), "bot", "printable"),
    "long decision id": (asked(decision_id="x" * 129), "decision_id", "128"),
    "empty decision id": (asked(decision_id=""), "decision_id", "1 to 128"),
    "time without offset": (asked(started_at="2026-01-05T09:57:29"), "started_at", "RFC 3339"),
    "time is a word": (asked(started_at="now"), "started_at", "RFC 3339"),
    "time is a float": (asked(started_at=1.5), "started_at", "int | str"),
    "time in seconds": (asked(started_at=1_767_225_600), "started_at", "2000"),
    "start ahead": (asked(started_at="2090-01-01T00:00:00Z"), "started_at", "future"),
    "start too old": (asked(started_at="2020-01-01T00:00:00Z"), "started_at", "lifetime"),
    "bad as_of": (asked(as_of="yesterday"), "as_of", "RFC 3339"),
    "unknown force_arm": (asked(force_arm="gpt"), "force_arm", "base, transformer"),
    "deadline of nothing": (asked(deadline_ms=0), "deadline_ms", "above 0"),
    "deadline of an hour": (asked(deadline_ms=3_600_000), "deadline_ms", "at most 60,000"),
    "quote without ask": (asked(quote={"bid": 0.4}), "quote.ask", "missing"),
    "price above 1": (asked(quote={"bid": 0.4, "ask": 1.5}), "quote.ask", "from 0 to 1"),
    "price below 0": (
        asked(quote={"bid": 0.4, "ask": 0.5, "down_bid": -0.1}),
        "quote.down_bid",
        "from 0 to 1",
    ),
    "negative size": (asked(quote={"bid": 0.4, "ask": 0.5, "bid_size": -1}), "quote.bid_size", "shares"),
    "fee in percent": (asked(quote={"bid": 0.4, "ask": 0.5, "fee_rate": 7}), "quote.fee_rate", "7% as 0.07"),
}


@pytest.mark.parametrize("case", BAD_DECISIONS)
def test_a_bad_decision_names_field_and_rule(node, case):
    body, field, rule = BAD_DECISIONS[case]
    problem = node.refused("/v1/decide", body)
    assert problem["field"] == field
    assert rule in problem["detail"]
    assert len(problem["detail"]) < 400


RAW = {
    "empty body": (b"", 400, "broken_json"),
    "broken JSON": (b"{", 400, "broken_json"),
    "truncated": (b'{"unit":"u","history":[[0.1', 400, "broken_json"),
    "invalid UTF-8": (b'{"unit":"\xff","history":[]}', 400, "broken_json"),
    "lone surrogate": (b'{"unit":"\\ud800","history":[]}', 400, "broken_json"),
    "binary": (bytes(range(256)), 400, "broken_json"),
    "deep nesting": (b'{"unit":"u","history":' + b"[" * 100_000, 422, "invalid_field"),
    "a list": (b"[]", 422, "invalid_field"),
    "1e999": (b'{"unit":"u","history":[[1e999]]}', 422, "invalid_field"),
    "NaN": (b'{"unit":"u","history":[[0,NaN]]}', 422, "invalid_field"),
    "-Infinity": (b'{"unit":"u","history":[[-Infinity]]}', 422, "invalid_field"),
    "a huge integer": (
        b'{"unit":"u","history":[[1]],"started_at":' + b"9" * 5000 + b"}",
        422,
        "invalid_field",
    ),
    "a large integer": (
        b'{"unit":"u","history":[[' + b"0," * 17 + b'0]],"started_at":' + b"9" * 60 + b"}",
        422,
        "invalid_field",
    ),
}


@pytest.mark.parametrize("case", RAW)
def test_bytes_that_are_no_request(node, case):
    body, status, code = RAW[case]
    problem = node.refused("/v1/decide", body, status)
    assert problem["type"].endswith(code)


def test_nan_and_infinity_are_named_by_their_place(node):
    assert node.refused("/v1/decide", RAW["NaN"][0])["field"] == "history[0][1]"
    assert node.refused("/v1/decide", RAW["-Infinity"][0])["field"] == "history[0][0]"
    assert node.refused("/v1/decide", RAW["1e999"][0])["field"] == "history[0][0]"


def test_a_refused_decision_binds_and_journals_nothing(node):
    before = sum(f.stat().st_size for f in node.data_dir.journals.glob("*/*/*.seg"))
    node.refused("/v1/decide", asked(unit="never-bound", bot=""))
    after = sum(f.stat().st_size for f in node.data_dir.journals.glob("*/*/*.seg"))
    assert after == before
    assert ("main", "never-bound") not in node.service.desk.binder._starts._entries


def test_unknown_experiments(node):
    for path, body in (
        ("/v1/decide", asked(experiment="nope")),
        ("/v1/assign", {"unit": "u", "experiment": "x"}),
    ):
        problem = node.refused(path, body, 404)
        assert problem["field"] == "experiment"
        assert "main" in problem["detail"]
    results = node.post("/v1/outcomes", [{**MARKET, "experiment": "nope"}]).json["results"]
    assert results[0]["error"]["status"] == 404
    for path in ("", "/split", "/split/history", "/report", "/verdict"):
        assert node.refused(f"/v1/experiments/nope{path}", None, 404, "GET")["title"] == "unknown experiment"
    assert node.refused("/v1/decisions/nope", None, 404, "GET")["title"] == "unknown decision"


def test_an_archived_experiment_takes_no_decisions_but_late_outcomes(node):
    node.create("old")
    assert node.ask("POST", "/v1/experiments/old/archive").status == 200
    node.wait(lambda: node.service.desk.snapshot.views["old"].experiment.archived_at_us is not None)
    assert node.refused("/v1/decide", asked(experiment="old"), 409)["field"] == "experiment"
    assert node.refused("/v1/assign", {"unit": "u", "experiment": "old"}, 409)["field"] == "experiment"
    results = node.post("/v1/outcomes", [{**MARKET, "experiment": "old"}]).json["results"]
    assert results[0]["status"] == "accepted"


def test_the_split_of_an_archived_experiment_stays(node):
    node.create("closed")
    path = "/v1/experiments/closed"
    assert node.ask("PUT", f"{path}/split", {"arm": "transformer", "share": 0.1}).status == 200
    assert node.ask("POST", f"{path}/archive").status == 200
    before = node.ask("GET", f"{path}/split/history").json
    for body in ({"arm": "transformer", "share": 0.5}, {"arm": "transformer", "share": 0.1}, {"restore": 1}):
        problem = node.refused(f"{path}/split", body, 409, "PUT")
        assert (problem["title"], problem["field"]) == ("archived experiment", "experiment")
    assert node.ask("GET", f"{path}/split/history").json == before


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_hot_paths_take_post_only(node, method):
    for path in ("/v1/decide", "/v1/decide/batch", "/v1/assign", "/v1/outcomes"):
        reply = node.ask(method, path)
        assert reply.status == 405
        assert reply.headers["allow"] == "POST"


def test_cold_paths_say_which_methods_they_take(node):
    reply = node.ask("DELETE", "/v1/experiments/main/split")
    assert reply.status == 405
    assert "GET" in reply.headers["allow"] or "PUT" in reply.headers["allow"]
    assert node.refused("/v1/nothing", None, 404, "GET")["title"] == "not found"


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/v1/decide", 256 << 10), ("/v1/outcomes", 16 << 20), ("/v1/experiments/main", 1 << 20)],
)
def test_a_body_that_is_too_large(node, path, limit):
    method = "PUT" if "experiments" in path else "POST"
    problem = node.refused(path, b"x" * (limit + 1), 413, method)
    assert f"{limit:,}" in problem["detail"]


def test_a_chunked_body_that_is_too_large(node):
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=20)
    try:
        connection.request(
            "POST",
            "/v1/decide",
            iter([b"x" * 65536] * 5),
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked", "Content-Type": "application/json"},
        )
        reply = connection.getresponse()
        assert reply.status == 413
        assert json.loads(reply.read())["title"] == "body too large"
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/v1/decide", "/v1/experiments/main/split"])
def test_who_sends_all_before_reading_anything_and_closes_gets_the_reply_and_no_reset(node, path):
    """As urllib does: it would see a reset where the service closes with bytes that it has not taken."""
    for _ in range(8):
        method = "POST" if path == "/v1/decide" else "PUT"
        headers = {"content-type": "application/json"}
        url = f"http://127.0.0.1:{node.port}{path}"
        request = urllib.request.Request(url, b"x" * (5 << 20), headers, method=method)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        with refused.value as reply:
            assert (reply.status, json.load(reply)["title"]) == (413, "body too large")


def test_a_promise_of_a_body_that_is_too_large_is_refused_at_once(node):
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as line:
        line.sendall(POST_HEAD + b"Content-Length: 999999999999\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 413")


def test_callers_that_hang_up_are_no_fault(node):
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", node.port), timeout=10) as line:
            line.sendall(POST_HEAD + b"Content-Length: 100\r\n\r\n{")
    assert node.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize("path", ["/v1/decide", "/v1/decide/batch", "/v1/assign", "/v1/outcomes",
    "/v1/experiments/main/archive"])  # fmt: skip
@pytest.mark.parametrize("sent", [
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "text/plain; application/json", "application/jsonx", "",
])  # fmt: skip
def test_a_post_that_any_web_page_could_send_is_refused(node, path, sent):
    for headers in ({"content-type": sent}, {"accept": "*/*"}):
        reply = node.ask("POST", path, json.dumps(asked()).encode(), headers)
        assert (reply.status, reply.json["title"]) == (415, "not json")
        assert "content-type: application/json" in reply.json["detail"]
    assert node.ask("GET", "/v1/experiments/main").json["archived_at_us"] is None


@pytest.mark.parametrize("sent", ["application/json; charset=utf-8", "Application/JSON ;charset=utf-8"])
def test_json_may_have_parameters(node, sent):
    assert node.ask("POST", "/v1/assign", {"unit": "typed"}, {"content-type": sent}).status == 200


@pytest.mark.parametrize("share", [True, [], {}, "0" * 41])
def test_a_share_of_another_type_is_named_by_its_field(node, share):
    body = {"arm": "transformer", "share": share}
    assert node.refused("/v1/experiments/main/split", body, 422, "PUT")["field"] == "share"


def test_a_chunked_body_is_read_whole(node):
    body = json.dumps(asked(unit="chunked")).encode()
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=20)
    try:
        connection.request(
            "POST",
            "/v1/decide",
            iter([body[:20], body[20:]]),
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked", "Content-Type": "application/json"},
        )
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 200
    finally:
        connection.close()


BAD_OUTCOMES = {
    "1e300": ({**MARKET, "pnl_usd": 1e300}, "pnl_usd", "finite"),
    "beyond ten million": ({**MARKET, "pnl_usd": -1.1e7}, "pnl_usd", "10,000,000"),
    "pnl is text": ({**MARKET, "pnl_usd": "1"}, "pnl_usd", "float"),
    "no pnl": ({k: v for k, v in MARKET.items() if k != "pnl_usd"}, "pnl_usd", "missing"),
    "no fill": ({k: v for k, v in MARKET.items() if k != "fill"}, "fill", "missing"),
    "unknown fill": ({**MARKET, "fill": "dream"}, "fill", "dream"),
    "unknown kind": ({**MARKET, "kind": "luck"}, "kind", "luck"),
    "no kind": (NOW_FIELDS, "kind", "missing"),
    "negative trades": ({**MARKET, "trades": -1}, "trades", "between 0"),
    "negative stake": ({**MARKET, "stake_usd": -0.01}, "stake_usd", "0 or more"),
    "negative price": ({**TRADE, "entry_price": -0.5}, "entry_price", "between 0"),
    "bad side": ({**TRADE, "side": "sideways"}, "side", "sideways"),
    "bad id": ({**TRADE, "decision_id": "a\x00"}, "decision_id", "printable"),
    "bad unit": ({**MARKET, "unit": " "}, "unit", "empty"),
    "bad time": ({**MARKET, "closed_at": "soon"}, "closed_at", "RFC 3339"),
    "seconds for milliseconds": ({**TRADE, "closed_at": 1_767_225_600}, "closed_at", "epoch milliseconds"),
    "large meta": ({**MARKET, "meta": {"x": "y" * 5000}}, "meta", "4096"),
    "NUL in meta": ({**MARKET, "meta": {"x": "a\x00"}}, "meta", "NUL"),
    "unknown field": ({**MARKET, "pnl": 1}, "pnl", "unknown field"),
}


@pytest.mark.parametrize("case", BAD_OUTCOMES)
def test_a_bad_outcome_is_refused_alone_and_rejected_in_a_list(node, case):
    item, field, rule = BAD_OUTCOMES[case]
    problem = node.refused("/v1/outcomes", item)
    good = {**MARKET, "unit": f"beside {case}"}
    listed = node.post("/v1/outcomes", [item, good])
    assert listed.status == 200
    first, second = listed.json["results"]
    assert first["status"] == "rejected"
    assert first["error"] == problem
    assert problem["field"] == field
    assert rule in problem["detail"]
    assert second == {"status": "accepted", "pnl_micro": 1_000_000}


def test_lists_that_are_no_lists_of_outcomes(node):
    assert node.refused("/v1/outcomes", b"garbage", 400)["title"] == "broken json"
    assert node.refused("/v1/outcomes", b"", 400)["title"] == "broken json"
    assert node.refused("/v1/outcomes", b"[1,2", 400)["title"] == "broken json"
    assert node.refused("/v1/outcomes", b"[" * 100_000, 400)["title"] == "broken json"
    deep = (
        json.dumps({**MARKET, "meta": {}})
        .encode()
        .replace(b"{}", b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}")
    )
    assert node.refused("/v1/outcomes", deep, 400)["title"] == "broken json"
    assert "empty" in node.refused("/v1/outcomes", [])["detail"]
    assert node.refused("/v1/outcomes", [1] * 10_001, 413)["title"] == "too many items"


def test_batches_fail_item_by_item(node):
    items = [
        asked(unit="batch-1"),
        asked(unit=""),
        5,
        asked(unit="batch-2", experiment="nope"),
        asked(unit="batch-3"),
    ]
    reply = node.post("/v1/decide/batch", {"decisions": items})
    assert reply.status == 200
    found = reply.json["decisions"]
    assert [f.get("unit") for f in found] == ["batch-1", None, None, None, "batch-3"]
    assert [f["error"]["status"] for f in found if "error" in f] == [422, 422, 404]
    assert "empty" in node.refused("/v1/decide/batch", {"decisions": []})["detail"]
    assert node.refused("/v1/decide/batch", {"decisions": [0] * 1025}, 413)["title"] == "too many items"
    assert node.refused("/v1/decide/batch", {})["field"] == "decisions"


BAD_SPLITS = [
    ({"arm": "transformer", "share": 1.5}, 422, "share"),
    ({"arm": "transformer", "share": -0.1}, 422, "share"),
    ({"arm": "transformer", "share": "0.0000001"}, 422, "share"),
    ({"arm": "transformer", "share": "ten"}, 422, "share"),
    ({"arm": "transformer", "share": True}, 422, "share"),
    ({"arm": "transformer"}, 422, "body"),
    ({"arm": "transformer", "share": 0.1, "restore": 1}, 422, "body"),
    ({}, 422, "body"),
    ({"arm": "base", "share": 0.1}, 422, "arm"),
    ({"arm": "gpt", "share": 0.1}, 404, "arm"),
    ({"restore": 99}, 404, "version"),
    ({"restore": True}, 422, "restore"),
    ({"arm": "transformer", "share": 0.1, "reason": "a\x00"}, 422, "reason"),
    ({"arm": "transformer", "share": 0.1, "who": "me"}, 422, "who"),
]


@pytest.mark.parametrize(("body", "status", "field"), BAD_SPLITS)
def test_a_bad_change_of_the_split(node, body, status, field):
    before = node.ask("GET", "/v1/experiments/main/split").json
    problem = node.refused("/v1/experiments/main/split", body, status, "PUT")
    assert problem["field"].startswith(field)
    assert node.ask("GET", "/v1/experiments/main/split").json == before


def test_a_bad_change_of_the_split_as_bytes(node):
    path = "/v1/experiments/main/split"
    for body in (
        b"{",
        b"\xff",
        b'{"arm":"transformer","share":"\\ud800"}',
        b"[" * 50_000,
        b'{"share":NaN}',
        b"",
    ):
        reply = node.ask("PUT", path, body, {"content-type": "application/json"})
        assert reply.status in {400, 422}
        assert reply.headers["content-type"] == "application/problem+json"


GOOD = {"arms": ["base", "transformer"], "control": "base"}
BAD_EXPERIMENTS = [
    ({**GOOD, "key": "other"}, "key"),
    ({**GOOD, "arms": ["base"]}, "arms"),
    ({**GOOD, "arms": ["base", "base"]}, "arms"),
    ({**GOOD, "arms": ["base", "B A D"]}, "arms"),
    ({**GOOD, "control": "x"}, "control"),
    ({"control": "base"}, "arms"),
    ({**GOOD, "alpha": 0}, "alpha"),
    ({**GOOD, "alpha": float("nan")}, "alpha"),
    ({**GOOD, "eligible_share": float("nan")}, "eligible_share"),
    ({**GOOD, "eligible_share": float("inf")}, "eligible_share"),
    ({**GOOD, "eligible_share": 0.12345678}, "eligible_share"),
    ({**GOOD, "unit_duration_s": 0}, "unit_duration_s"),
    ({**GOOD, "unit_duration_s": 10**30}, "unit_duration_s"),
    ({**GOOD, "unit_kind": "a\x00"}, "unit_kind"),
    ({**GOOD, "unit_kind": "\ud800"}, "unit_kind"),
    ({**GOOD, "unit_pattern": "("}, "unit_pattern"),
    ({**GOOD, "unit_pattern": "x"}, "unit_pattern"),
    ({**GOOD, "metric": "luck"}, "metric"),
    ({**GOOD, "salt": "mine"}, "'salt'"),
]


@pytest.mark.parametrize(("body", "field"), BAD_EXPERIMENTS)
def test_a_bad_experiment(node, body, field):
    assert node.refused("/v1/experiments/fresh", body, 422, "PUT")["field"] == field
    assert node.ask("GET", "/v1/experiments/fresh").status == 404


def test_a_bad_type_in_a_definition_names_what_shows_a_good_one(node):
    problem = node.refused("/v1/experiments/fresh", {**GOOD, "arms": "base"}, 422, "PUT")
    assert problem["detail"].startswith("arms: expected `array`, got `str`; `abctl experiment show main`")


@pytest.mark.parametrize(
    "path", ["/v1/experiments/a%00b", "/v1/decisions/a%00b", "/v1/experiments/" + "x" * 64]
)
def test_paths_that_no_store_can_hold(node, path):
    assert node.ask("GET", path).status == 422
    assert node.ask("GET", "/v1/decisions/d?experiment=a%00b").status == 422


@pytest.mark.parametrize("days", ["0", "-1", "4000", "x", "1e9", "7.5"])
def test_days_out_of_range(node, days):
    assert node.refused(f"/v1/experiments/main/report?days={days}", None, 422, "GET")["field"] == "days"


def test_a_bad_kill(node):
    path = "/v1/experiments/main/kill"
    assert node.refused(path, {"arm": "gpt", "state": "killed"}, 404, "PUT")["field"] == "arm"
    assert node.refused(path, {"arm": "base", "state": "dead"}, 422, "PUT")["field"] == "state"
    assert node.refused("/v1/experiments/nope/kill", {"arm": "base", "state": "killed"}, 404, "PUT")


@pytest.mark.parametrize("path", ["/v1/decide", "/v1/decide/batch", "/v1/assign", "/v1/outcomes"])
@settings(max_examples=40)
@given(data=st.data())
def test_no_bytes_whatever_make_a_hot_path_fail(node, path, data):
    """Random bytes, random JSON, and good requests with bytes changed."""
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=10,
    )
    fields = st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(FUZZED, json_values),
    )
    good = json.dumps(
        {"/v1/decide/batch": {"decisions": [asked()]}, "/v1/outcomes": [MARKET]}.get(path, asked())
    ).encode()
    mutated = st.tuples(st.integers(0, len(good) - 1), st.binary(max_size=4), st.integers(0, 6)).map(
        lambda cut: good[: cut[0]] + cut[1] + good[cut[0] + cut[2] :]
    )
    body = data.draw(
        st.binary(max_size=200) | mutated | (fields | json_values).map(lambda v: json.dumps(v).encode())
    )
    reply = node.post(path, body)
    assert reply.status < 500, (body, reply.body)
    if reply.status != 200:
        assert {"type", "title", "status", "detail"} <= set(reply.json)


@pytest.mark.parametrize(
    "path", ["/v1/experiments/fuzzed", "/v1/experiments/main/split", "/v1/experiments/main/kill"]
)
@settings(max_examples=25)
@given(data=st.data())
def test_no_json_whatever_makes_a_cold_path_fail(node, path, data):
    """Values of any type under the names that the paths know."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    values = scalars | st.lists(scalars | st.sampled_from(["base", "x"]), max_size=3)
    names = (
        "arm",
        "share",
        "restore",
        "reason",
        "state",
        "arms",
        "control",
        "alpha",
        "eligible_share",
        "unit_pattern",
    )
    body = data.draw(
        st.dictionaries(st.sampled_from(names) | st.text(max_size=4), values, max_size=5) | values
    )
    reply = node.ask("PUT", path, json.dumps(body).encode())
    assert reply.status < 500, (body, reply.body)
