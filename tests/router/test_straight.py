"""Plain decisions go straight, and say and leave what they would on the usual way; all others go that way."""

import json
import socket
import time
from contextlib import contextmanager

import msgspec
import numpy as np
import pytest

from arms.artefact import read_artefact
from arms.onnx_runtime import load, window_of
from arms.presets import preset_of
from arms.schema import MARKET_V1
from router.overload import Overload
from router.straight import Straight
from store.journal import frames
from store.records import Decision, Record, Unserved

OWN = {"decision_id", "latency_us"}
OF_THE_RECORD = {"decision_id", "latency_us", "received_at_us"}


@pytest.fixture(autouse=True)
def no_unit_is_known(fresh_valkey_url):
    """Tests of this file use the same names."""


class Turns(list):
    """How many calls of each turn went straight. An answer may be read before its turn is over."""

    def are(self, *expected):
        deadline = time.monotonic() + 5
        while self != list(expected):
            assert time.monotonic() < deadline, (self, expected)
            time.sleep(0.01)
        return True

    def total(self, expected):
        deadline = time.monotonic() + 5
        while sum(self) != expected:
            assert time.monotonic() < deadline, (self, expected)
            time.sleep(0.01)
        return True


@pytest.fixture
def straight(monkeypatch):
    turns, answered = Turns(), Straight.answered

    def counted(self, calls):
        answered(self, calls)
        turns.append(sum(not call.is_open for call in calls))

    monkeypatch.setattr(Straight, "answered", counted)
    return turns


class Wire:
    """One connection that sends what it is told in one piece."""

    def __init__(self, node):
        self.sock = socket.create_connection(("127.0.0.1", node.port), timeout=20)
        self.file = self.sock.makefile("rb")

    def send(self, body, *lines, path="/v1/decide", version="1.1"):
        self.sock.sendall(request(body, *lines, path=path, version=version))

    def read(self):
        """(status, headers, body) of the next answer."""
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, self.file.read(int(headers["content-length"]))

    def ask(self, body, *lines):
        self.send(body, *lines)
        return self.read()

    def decide(self, body):
        status, _, content = self.ask(body)
        assert status == 200, content
        return json.loads(content)

    def is_closed(self):
        return self.file.read(1) == b""


def request(body, *lines, path="/v1/decide", version="1.1"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"POST {path} HTTP/{version}", "host: 127.0.0.1", *lines]
    if not any(line.startswith("content-type") for line in lines):
        head.append("content-type: application/json")
    head.append(f"content-length: {len(content)}")
    return "\r\n".join([*head, "", ""]).encode() + content


@contextmanager
def wires(node, count):
    opened = [Wire(node) for _ in range(count)]
    try:
        yield opened
    finally:
        for wire in opened:
            wire.file.close()
            wire.sock.close()


def journaled(node, kind=Decision):
    decoder = msgspec.msgpack.Decoder(Record)
    found = []
    for path in sorted(node.data_dir.journals.glob("*/*/*.seg")):
        found += [decoder.decode(f.payload) for f in frames(path.read_bytes(), 0)]
    return [record for record in found if isinstance(record, kind)]


def fields_of(record):
    return {k: v for k, v in msgspec.structs.asdict(record).items() if k not in OF_THE_RECORD}


def without(reply, names):
    return {name: value for name, value in reply.items() if name not in names}


def test_a_plain_decision_goes_straight_and_is_what_the_usual_way_makes_of_it(node, question, row, straight):
    asked = question("same", bot="b", history=[row(0.3), row(0.4)])
    with wires(node, 1) as (wire,):
        first = wire.decide(asked)
        assert straight.are(1)
        usual = wire.decide({**asked, "deadline_ms": 60_000})
        assert straight.are(1, 0), "a deadline is not plain"
        again = wire.decide(asked)
        assert straight.are(1, 0, 1), "the head is known by now"
    assert without(first, OWN) == without(usual, OWN) == without(again, OWN)
    records = journaled(node)[-3:]
    assert [record.decision_id for record in records] == [
        said["decision_id"] for said in (first, usual, again)
    ]
    assert fields_of(records[0]) == fields_of(records[1]) == fields_of(records[2])


def test_many_in_one_turn_get_each_their_own_answer(node, question, row, straight):
    asked = [question(f"u{i}", history=[row(0.01 * (i % 7))] * (1 + i % 30)) for i in range(40)]
    with wires(node, 40) as opened:
        usual = [wire.decide({**a, "deadline_ms": 60_000}) for wire, a in zip(opened, asked, strict=True)]
        for wire, body in zip(opened, asked, strict=True):
            wire.send(body)
        found = [json.loads(wire.read()[2]) for wire in opened]
    assert straight.total(40)
    for said, expected in zip(found, usual, strict=True):
        assert said["probs"] == pytest.approx(expected["probs"], abs=1e-5)
        assert said["value"] == pytest.approx(expected["value"], abs=1e-4)
        left = {"probs", "value", *OWN}
        assert without(said, left) == without(expected, left)
    ids = {record.decision_id for record in journaled(node)}
    assert ids >= {said["decision_id"] for said in found}


@pytest.mark.parametrize("size", [1, 5, 64])
def test_a_short_history_after_a_long_one_sees_nothing_of_it(node, question, row, size):
    with wires(node, 2) as (one, other):
        short = question("short", history=[row(0.2)] * size)
        alone = other.decide(short)
        one.decide(question("long", history=[row(0.9)] * 64))
        assert one.decide(short)["probs"] == alone["probs"]


NOT_PLAIN = {
    "deadline": {"deadline_ms": 60_000},
    "force": {"force_arm": "base"},
    "explain": {"explain": True},
    "quote": {"quote": {"bid": 0.4, "ask": 0.5}},
    "short history": {"history": []},
    "unknown field": {"colour": "red"},
    "unknown experiment": {"experiment": "none"},
    "bad unit": {"unit": " "},
    "bad start": {"started_at": 1},
    "first sight": {"started_at": None},
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_is_not_plain_goes_the_usual_way_with_the_same_answer(node, question, straight, name):
    body = {k: v for k, v in (question(f"n-{name}") | NOT_PLAIN[name]).items() if v is not None}
    with wires(node, 1) as (wire,):
        status, headers, content = wire.ask(body)
    assert straight.are(0)
    usual = node.post("/v1/decide", body)  # head and body apart
    assert (status, headers["content-type"]) == (usual.status, usual.headers["content-type"])
    left = {*OWN, "explain"}
    assert without(json.loads(content), left) == without(usual.json, left)


def test_an_id_that_was_answered_gets_the_same_bytes(node, question, straight):
    asked = question("known", decision_id="k1")
    with wires(node, 3) as opened:
        first = opened[0].ask(asked)[2]
        for wire in opened:
            wire.send(asked)
        assert {wire.read()[2] for wire in opened} == {first}
        other = opened[0].ask({**asked, "unit": "another"})
    assert other[0] == 409
    assert straight.total(1)
    assert [r.decision_id for r in journaled(node)].count("k1") == 1


def test_an_id_that_comes_twice_in_one_turn_is_one_decision(node, question):
    asked = question("twins", decision_id="t1")
    with wires(node, 8) as opened:
        for wire in opened:
            wire.send(asked)
        assert len({wire.read()[2] for wire in opened}) == 1
    assert [r.decision_id for r in journaled(node)].count("t1") == 1


def test_a_killed_arm_stays_killed(start_node, question, straight):
    node = start_node("killed")
    assert node.ask("PUT", "/v1/experiments/main/kill", {"arm": "base", "state": "killed"}).status == 200
    with wires(node, 1) as (wire,):
        said = wire.decide(question("killed"))
    assert (said["arm"], said["served_arm"], said["reason"]) == ("base", "transformer", "killed")
    assert straight.are(1)


def test_of_those_for_whom_there_is_no_room_each_is_told_and_kept(start_node, question, straight):
    node = start_node("full", overload=Overload(2, "refuse"))
    with wires(node, 12) as opened:
        for wire in opened:
            assert wire.ask(question("warm"))[0] == 200
        straight.clear()
        for i, wire in enumerate(opened):
            wire.send(question(f"u{i}"))
        found = [wire.read() for wire in opened]
    refused = [(i, headers) for i, (status, headers, _) in enumerate(found) if status == 503]
    assert {status for status, _, _ in found} <= {200, 503}
    assert all(headers["retry-after"] == "1" for _, headers in refused)
    kept = {record.unit for record in journaled(node, Unserved)}
    assert kept == {f"u{i}" for i, _ in refused}
    answered = {record.unit for record in journaled(node)} - {"warm"}
    assert answered == {f"u{i}" for i, (status, _, _) in enumerate(found) if status == 200}
    with wires(node, 1) as (wire,):
        assert wire.ask(question("later"))[0] == 200


def test_a_full_journal_takes_no_decision(start_node, question):
    node = start_node("quota", journal_quota_bytes=2000)
    with wires(node, 1) as (wire,):
        said = [wire.ask(question(f"u{i}")) for i in range(12)]
    answered = [json.loads(content) for status, _, content in said if status == 200]
    assert {status for status, _, _ in said} == {200, 503}
    assert [r.decision_id for r in journaled(node)] == [each["decision_id"] for each in answered]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("content-type: text/plain",), 415),
        (("authorization: Bearer x",), 401),
        (("expect: 100-continue",), 200),
    ],
)
def test_heads_that_are_not_as_usual(start_node, question, straight, lines, status):
    node = start_node("heads")
    token = node.give("bot", "decide")
    key = () if status == 401 else (f"authorization: Bearer {token}",)
    with wires(node, 1) as (wire,):
        wire.send(question("head"), *lines, *key)
        if "100" in lines[0]:
            assert b"100" in wire.file.readline()
            assert wire.file.readline().strip() == b""
        assert wire.read()[0] == status
        assert wire.ask(question("head"), f"authorization: Bearer {token}")[0] == 200
    assert straight.total(1)


def test_broken_json_is_said_to_be_that(node, straight):
    with wires(node, 1) as (wire,):
        status, _, content = wire.ask(b'{"unit": "u", "history": [[NaN]]}')
        assert (status, json.loads(content)["title"]) == (422, "invalid field")
        assert wire.ask(b"{")[0] == 400
    assert straight.are(0, 0)


@pytest.mark.parametrize("lines", [("connection: close",)])
def test_a_last_request_is_answered_and_the_connection_closed(node, question, straight, lines):
    with wires(node, 1) as (wire,):
        assert wire.ask(question("last"), *lines)[0] == 200
        assert wire.is_closed()
    assert straight.are()


def test_a_body_may_come_in_parts(node, question, straight):
    data = request(question("parts"))
    with wires(node, 1) as (wire,):
        for cut in (20, len(data) - 30, len(data) - 1):
            wire.sock.sendall(data[:cut])
            node.wait(lambda: True)
            wire.sock.sendall(data[cut:])
            assert wire.read()[0] == 200
    assert straight.total(3)


def test_requests_in_one_piece_are_answered_in_their_order(node, question):
    asked = [question(f"pipe-{i}", decision_id=f"p{i}") for i in range(5)]
    with wires(node, 1) as (wire,):
        for _ in range(2):
            wire.sock.sendall(b"".join(map(request, asked)))
            found = [json.loads(wire.read()[2])["unit"] for _ in asked]
            assert found == [f"pipe-{i}" for i in range(5)]


def test_what_follows_a_request_and_is_none_is_refused_after_its_answer(node, question):
    with wires(node, 1) as (wire,):
        wire.sock.sendall(request(question("before")) + b"\x00garbage\r\n\r\n")
        assert wire.read()[0] == 200
        rest = wire.file.read()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400")


def test_a_caller_that_goes_away_leaves_the_others_alone(node, question):
    with wires(node, 4) as opened:
        for i, wire in enumerate(opened):
            wire.send(question(f"gone-{i}"))
        opened[0].file.close()
        opened[0].sock.close()
        assert [wire.read()[0] for wire in opened[1:]] == [200] * 3


def test_a_known_head_may_be_followed_by_another(start_node, question, straight):
    node = start_node("known")
    tokens = [node.give(name, "decide") for name in ("one", "two")]
    with wires(node, 1) as (wire,):
        for turn, token in enumerate((*tokens, *tokens)):
            assert wire.ask(question(f"t{turn}" * (1 + turn)), f"authorization: Bearer {token}")[0] == 200
        assert wire.ask(question("t"), "authorization: Bearer wrong")[0] == 401
    assert straight.are(1, 1, 1, 1, 0)


@pytest.mark.parametrize("arm", ["base", "transformer"])
def test_one_history_alone_is_answered_bit_by_bit_as_in_a_batch_of_one(artefacts, arm):
    model = load(read_artefact(artefacts / arm), MARKET_V1)
    window = (
        preset_of(arm, "fast").window if model.window != preset_of(arm, "default").window else model.window
    )
    assert model.window == window
    draw = np.random.default_rng(5)
    for length in (64, 1, window, 2, 63, window + 1):
        history = draw.uniform(0, 0.9, (length, MARKET_V1.width)).astype(np.float32)
        acted = model.act(*window_of(history, model.window))
        assert model.act_one(history) == (*acted.probs[0].tolist(), float(acted.value[0]))
