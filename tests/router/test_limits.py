"""Slow, silent, endless, deep and odd callers cost a bounded amount and are told why; the others go on."""

import json
import re
import socket
import time
from contextlib import ExitStack, closing
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.connection import Limits
from router.nesting import DEPTH_MAX, is_too_deep

SHORT = Limits(head_s=0.4, body_s=0.6, reply_s=0.6, head_bytes=4096, headers=20, connections=12)
HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
DECIDE = b"POST /v1/decide HTTP/1.1\r\n" + HOST + JSON
SPLIT = b"PUT /v1/experiments/main/split HTTP/1.1\r\n" + HOST + JSON


@pytest.fixture(scope="module")
def hurried(tmp_path_factory, artefacts, valkey_url, tools):
    """A worker with short limits."""
    with tools.standing(tmp_path_factory.mktemp("hurried"), artefacts, valkey_url, limits=SHORT) as node:
        yield node


def connected(node):
    return closing(socket.create_connection(("127.0.0.1", node.port), timeout=10))


def read_to_end(line):
    """What comes until the other side closes."""
    parts = []
    while part := line.recv(65536):
        parts.append(part)
    return b"".join(parts)


def problem_of(answer):
    """(status, problem) of a raw answer that closes its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert b"content-type: application/problem+json" in head.lower()
    found = json.loads(body)
    assert head.split()[1] == str(found["status"]).encode()
    return found["status"], found


class TestSlowness:
    def test_a_connection_that_says_nothing_is_closed_in_silence(self, hurried):
        with connected(hurried) as line:
            began = time.monotonic()
            assert read_to_end(line) == b""
            assert 0.3 < time.monotonic() - began < 3

    @pytest.mark.parametrize("start", [b"P", DECIDE[:30], DECIDE, b"\r\n\r\n"])
    def test_half_a_head_gets_408(self, hurried, start):
        with connected(hurried) as line:
            line.sendall(start)
            status, problem = problem_of(read_to_end(line))
        assert status == 408
        assert "head of the request did not arrive within 0.4 s" in problem["detail"]

    def test_a_head_that_drips_gets_408_though_something_always_comes(self, hurried):
        with connected(hurried) as line:
            began = time.monotonic()
            answer = drip(line, DECIDE + b"X-Long: " + b"a" * 1000)
            assert time.monotonic() - began < 3
        assert problem_of(answer)[0] == 408

    @pytest.mark.parametrize("head", [DECIDE, SPLIT])
    @pytest.mark.parametrize(
        "length", [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n64\r\n"]
    )
    def test_a_body_that_does_not_come_or_drips_gets_408(self, hurried, head, length):
        for more in (b"", b"a" * 900):
            with connected(hurried) as line:
                line.sendall(head + length)
                status, problem = problem_of(drip(line, more))
            assert status == 408
            assert "body of the request" in problem["detail"]

    def test_the_next_request_on_a_connection_has_the_same_limit(self, hurried):
        with connected(hurried) as line:
            line.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
            assert line.recv(1000).startswith(b"HTTP/1.1 200")
            line.sendall(DECIDE)
            assert problem_of(read_to_end(line))[0] == 408

    def test_who_does_not_read_an_answer_is_cut(self, hurried):
        with connected(hurried) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.settimeout(15)
            assert seconds_until_cut(line, b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n") < 10
        hurried.wait(lambda: hurried.ask("GET", "/healthz").status == 200)

    def test_quick_ones_go_on_beside_slow_ones(self, hurried, question):
        with ExitStack() as stack:
            for _ in range(SHORT.connections - 4):
                stack.enter_context(connected(hurried)).sendall(DECIDE)
            assert hurried.decide("beside")["arm"]

    def test_a_request_that_waits_behind_a_slow_answer_is_not_late(self, hurried):
        """Pipelined: its head stands half in the buffer while the first is worked on."""
        with connected(hurried) as line:
            line.sendall(b"GET /v1/experiments/main/report HTTP/1.1\r\n" + HOST + b"\r\nGET /hea")
            line.sendall(b"lthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            answers = read_to_end(line)
        assert answers.count(b"HTTP/1.1 200") == 2
        assert b"alive" in answers


def seconds_until_cut(line, asked):
    """How long a caller may ask and never read."""
    began = time.monotonic()
    try:
        for _ in range(100):
            line.sendall(asked * 100)
            time.sleep(0.1)
    except ConnectionError:
        return time.monotonic() - began
    pytest.fail("nobody cut it")


def drip(line, content):
    """Sends a byte every 20 ms until the other side has had enough; returns what it said."""
    line.settimeout(0.02)
    for byte in content:
        try:
            line.sendall(bytes([byte]))
            answer = line.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return b""
        return answer + read_rest(line)
    line.settimeout(10)
    return read_to_end(line)


def read_rest(line):
    line.settimeout(10)
    try:
        return read_to_end(line)
    except OSError:
        return b""


class TestSize:
    @pytest.mark.parametrize("head", [
        b"GET /healthz?" + b"q" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 30 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 50_000,
        DECIDE + b"X: " + b"a" * 5000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    ])  # fmt: skip
    def test_a_head_that_is_too_large_gets_431(self, hurried, head):
        with connected(hurried) as line:
            line.sendall(head)
            status, problem = problem_of(read_to_end(line))
        assert status == 431
        assert "20 headers of 4,096 bytes" in problem["detail"]

    def test_a_large_body_behind_a_small_head_is_none(self, node):
        body = json.dumps({"unit": "u", "history": [[0.5] * 18] * 64, "bot": "b"}).encode()
        with connected(node) as line:
            line.sendall(DECIDE + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            assert read_to_end(line).startswith(b"HTTP/1.1 200")

    @pytest.mark.parametrize("bytes_", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 50,
        b"G E T / HTTP/1.1\r\n\r\n",
        DECIDE + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        DECIDE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])  # fmt: skip
    def test_what_is_no_http_gets_400(self, hurried, bytes_):
        with connected(hurried) as line:
            line.sendall(bytes_)
            status, problem = problem_of(read_to_end(line))
        assert (status, problem["title"]) == (400, "broken http")
        assert 'abctl_requests_total{path="other",status="400"}' in metrics_of(hurried)

    def test_connections_are_bounded(self, hurried):
        with ExitStack() as stack:
            lines = [stack.enter_context(connected(hurried)) for _ in range(SHORT.connections + 5)]
            for line in lines:
                line.settimeout(0.2)
            sent_away = [answer for line in lines if (answer := said(line))]
        assert len(sent_away) >= 5
        assert {problem_of(answer)[0] for answer in sent_away} == {503}
        assert all(b"retry-after: 1" in answer for answer in sent_away)
        hurried.wait(lambda: hurried.ask("GET", "/healthz").status == 200)


def said(line):
    try:
        return line.recv(65536)
    except TimeoutError:
        return b""


def nested(depth, kind):
    return kind[0] * depth + b"1" * (kind[0] != b"[") + kind[1] * depth


LISTS, OBJECTS = (b"[", b"]"), (b'{"a":', b"}")
DEPTHS = (DEPTH_MAX - 2, DEPTH_MAX + 2, 100, 480, 700, 900, 990, 1100, 5000, 100_000)
FIELDS = {
    "/v1/decide": (b'{"unit":"u","history":', b"}"),
    "/v1/decide/batch": (b'{"decisions":[{"unit":"u","history":', b"}]}"),
    "/v1/assign": (b'{"unit":', b"}"),
    "/v1/outcomes": (
        b'{"kind":"market","unit":"u","pnl_usd":1,"fill":"paper","closed_at":1767225600000,"meta":{"m":',
        b"}}",
    ),
    "/v1/experiments/deep": (b'{"arms":["base","x"],"control":', b"}"),
    "/v1/experiments/deep2": (b'{"arms":["base","x"],"control":"base","unknown":', b"}"),
    "/v1/experiments/main/split": (b'{"arm":"transformer","share":', b"}"),
    "/v1/experiments/main/kill": (b'{"arm":"transformer","state":', b"}"),
}


@pytest.mark.parametrize("kind", [LISTS, OBJECTS], ids=["lists", "objects"])
@pytest.mark.parametrize("path", FIELDS)
def test_no_depth_whatever_makes_an_endpoint_fail(node, path, kind):
    method = "PUT" if "experiments" in path else "POST"
    before, after = FIELDS[path]
    for depth in DEPTHS:
        for body in (nested(depth, kind), before + nested(depth, kind) + after):
            if len(body) > 250_000 and path in {"/v1/decide", "/v1/assign"}:
                continue
            reply = node.ask(method, path, body)
            told = [reply.status]
            if reply.status == 200:
                told = [item.get("error", {}).get("status", 200) for item in items_of(reply)]
            assert all(status < 500 for status in told), (depth, reply.body[:300])
            if depth > DEPTH_MAX:
                assert all(400 <= status < 500 for status in told), (depth, reply.body[:300])


def items_of(reply):
    return reply.json.get("decisions") or reply.json.get("results") or [{}]


@pytest.mark.parametrize("path", ["/v1/experiments/main/archive", "/v1/experiments/main/split"])
def test_depth_where_no_body_is_read_is_refused_too(node, path):
    reply = node.ask("POST", path, b"[" * 100_000)
    assert reply.status == 400
    assert node.ask("GET", "/v1/experiments/main").json["archived_at_us"] is None


def test_depth_is_counted_without_a_stack():
    value = 1
    for _ in range(DEPTH_MAX):
        value = [value]
    assert not is_too_deep(value)
    for _ in range(100_000):
        value = {"a": [value]}
    assert is_too_deep(value)
    flatten(value)


def flatten(value):
    """Takes a deep value apart, for Python's own end of it is recursive."""
    while isinstance(value, (dict, list)) and value:
        inner = value.popitem()[1] if isinstance(value, dict) else value.pop()
        value = inner


@given(
    st.recursive(st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))
)
def test_what_is_shallow_passes(value):
    assert not is_too_deep(value)


def metrics_of(node):
    return node.ask("GET", "/metrics").body.decode()


def test_labels_are_bounded_whatever_is_asked(node):
    for i in range(50):
        for path in (f"/v1/x{i}", f"/v1/experiments/e{i}", f"/v1/experiments/e{i}/split", f"/{i}%0Aevil"):
            node.ask("GET", path)
            node.ask("POST", path, {"unit": str(i)})
    series = re.findall(
        r'^abctl_request(?:s_total|_seconds_count)\{path="([^"]*)"', metrics_of(node), re.MULTILINE
    )
    paths = set(series)
    known = set(node.ask("GET", "/openapi.json").json["paths"])
    assert paths <= known | {"other", "/openapi.json", "/docs"}
    assert {"other", "/v1/experiments/{key}", "/v1/experiments/{key}/split"} <= paths
    assert len(series) < 200


@pytest.mark.parametrize("path", ["../../etc/passwd", "..%2f..%2fKILL", "%2e%2e", "a/../../b", ".", "a%00"])
def test_no_name_becomes_a_path(node, path, tmp_path):
    before = sorted(p.name for p in node.data_dir.root.iterdir())
    fields = {"arms": ["base", "transformer"], "control": "base"}
    reply = node.ask("PUT", f"/v1/experiments/{path}", fields)
    assert 400 <= reply.status < 500
    assert node.post("/v1/decide", {"unit": "u", "history": [[0.1] * 18], "experiment": path}).status == 404
    assert sorted(p.name for p in node.data_dir.root.iterdir()) == before


SQL = ["' OR 1=1 --", "'; DROP TABLE decision; --", '"; DELETE FROM apikey', "%", "_", "\\", "$(id)", "`id`"]


@pytest.mark.parametrize("text", SQL)
def test_no_text_becomes_sql(node, text):
    """What looks like SQL is kept and found as text."""
    with node.carrying():
        asked = {"unit": f"sql {text}", "history": [[0.1] * 18], "decision_id": f"id {text}", "bot": text}
        assert node.post("/v1/decide", asked).status == 200
    reply = node.ask("GET", f"/v1/decisions/{quote(f'id {text}', safe='')}")
    assert (reply.status, reply.json["decision"]["unit"], reply.json["decision"]["bot"]) == (
        200,
        f"sql {text}",
        text,
    )


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_no_bytes_whatever_on_a_connection_break_the_worker(hurried, content):
    with connected(hurried) as line:
        line.sendall(content)
        line.shutdown(socket.SHUT_WR)
        try:
            answer = read_to_end(line)
        except ConnectionError:
            answer = b""
    assert not answer.startswith(b"HTTP/1.1 5")
    assert hurried.ask("GET", "/healthz").status == 200
