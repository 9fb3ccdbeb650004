"""Whatever comes in whatever pieces: who is answered straight hears, and leaves, what the usual way says.

The reference is the same request under the same path with an empty query, which never goes straight.
"""

import json
import socket
import time

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.straight import Straight
from store.journal import frames
from store.records import Decision, Record

OWN = ("decision_id", "latency_us")
OF_THE_RECORD = (*OWN, "received_at_us")
STRAIGHT, USUAL = "/v1/decide", "/v1/decide?"
NOW_MS = int(time.time() * 1000)
LAW = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def no_unit_is_known(fresh_valkey_url):
    """Names are used again and again."""


@pytest.fixture
def some_go_straight(monkeypatch):
    """A law of what goes straight must have seen it go."""
    went, answered = [0], Straight.answered

    def counted(self, calls):
        answered(self, calls)
        went[0] += sum(not call.is_open for call in calls)

    monkeypatch.setattr(Straight, "answered", counted)
    yield
    assert went[0] > 0


NUMBERS = st.sampled_from([0, 1, -1, 0.5, 1e-9, 1.0000000001, 1.1, -1.5, 1e39, 1e400, 2**63, True, None, "1"])
ROWS = st.lists(st.floats(0, 0.875, width=32), min_size=18, max_size=18)
ODD_ROWS = st.lists(NUMBERS | st.floats(0, 0.9), min_size=17, max_size=19)
HISTORIES = st.lists(ROWS, min_size=1, max_size=3) | st.lists(ROWS | ODD_ROWS, max_size=3)
UNITS = st.sampled_from([f"law-{n}" for n in range(8)]) | st.sampled_from(
    ["", " ", "a\x00b", "é" * 128, "é" * 129, "x" * 256, "x" * 257, "\ud800", 7, None]
)
STARTS = st.sampled_from([NOW_MS, NOW_MS - 1, "soon", 1, 1.5, True, 2**70, None])
BOTS = st.sampled_from(["b", "", " ", "x" * 128, "x" * 129, "é" * 65, "a\nb", 5])
RARE = {
    "experiment": st.sampled_from(["main", "none", "", 5, None]),
    "as_of": st.sampled_from([NOW_MS, "2026-01-05T09:57:29Z", 5, "x"]),
    "deadline_ms": st.sampled_from([60_000, 0, -1, "5", None]),
    "force_arm": st.sampled_from(["base", "transformer", "none", 5, None]),
    "explain": st.sampled_from([False, None, "yes"]),
    "quote": st.sampled_from([None, {}, {"bid": 0.4, "ask": 0.5}]),
    "colour": st.just("red"),
}


@st.composite
def questions(draw):
    """Mostly sound."""
    asked = {"unit": draw(st.sampled_from([f"law-{n}" for n in range(8)])), "history": draw(HISTORIES)}
    asked |= {"started_at": NOW_MS, "bot": "b"}
    for name, values in {"unit": UNITS, "started_at": STARTS, "bot": BOTS}.items():
        if draw(st.integers(0, 9)) == 0:
            asked[name] = draw(values)
    for name, values in RARE.items():
        if draw(st.integers(0, 14)) == 0:
            asked[name] = draw(values)
    for name in ("unit", "history", "bot"):
        if draw(st.integers(0, 29)) == 0:
            del asked[name]
    return json.dumps(asked).encode()


def broken(body):
    ways = [body[:-1], body + b"}", body + b"  ", b"\xef\xbb\xbf" + body, body.replace(b'"', b"'", 1), b""]
    ways += [b"[" * 5000, b"null", b"[]", body.replace(b"0.", b"0,", 1), body[:20] + b"\xff" + body[20:]]
    ways += [body.replace(b'{"unit"', b'{"unit": "law-1", "unit"', 1), b"NaN"]
    return st.sampled_from(ways)


BODIES = questions() | questions() | questions().flatmap(broken)
TYPES = st.sampled_from(["application/json"] * 9 + ["text/plain", "application/json; charset=utf-8", ""])
MORE = st.sampled_from(
    [""] * 9 + ["x-more: 1\r\n", "Content-Encoding: gzip\r\n", "authorization: Bearer x\r\n"]
)


@st.composite
def requests(draw):
    """(head without its length and its path, body)."""
    type_ = draw(TYPES)
    line = f"content-type: {type_}\r\n" if type_ else ""
    return f"host: 127.0.0.1\r\n{draw(MORE)}{line}", draw(BODIES)


def bytes_of(request, path):
    lines, body = request
    return f"POST {path} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


class Wire:
    def __init__(self, node):
        self.sock = socket.create_connection(("127.0.0.1", node.port), timeout=20)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")

    def read(self):
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = json.loads(self.file.read(int(headers.pop("content-length"))))
        headers.pop("date")
        if status == 200:
            body = {name: value for name, value in body.items() if name not in OWN}
        return status, headers, body

    def close(self):
        self.file.close()
        self.sock.close()


def kept(node, since):
    """The decisions journaled after the first `since`, and how many there are."""
    decoder = msgspec.msgpack.Decoder(Record)
    found = []
    for path in sorted(node.data_dir.journals.glob("*/*/*.seg")):
        found += [decoder.decode(frame.payload) for frame in frames(path.read_bytes(), 0)]
    fields = [
        {name: value for name, value in msgspec.structs.asdict(record).items() if name not in OF_THE_RECORD}
        for record in found
        if isinstance(record, Decision)
    ]
    return fields[since:], len(fields)


@pytest.fixture
def node(start_node):
    """One that knows no unit yet, as its Redis does."""
    return start_node("law")


@LAW
@given(st.lists(requests(), min_size=1, max_size=5))
def test_one_after_the_other(node, some_go_straight, asked):
    """On one connection, whose head is known from the second on."""
    one, other = Wire(node), Wire(node)
    try:
        _, before = kept(node, 0)
        usual = []
        for request in asked:
            other.sock.sendall(bytes_of(request, USUAL))
            usual.append(other.read())
        expected, between = kept(node, before)
        for request, answer in zip(asked, usual, strict=True):
            one.sock.sendall(bytes_of(request, STRAIGHT))
            assert one.read() == answer
        assert kept(node, between)[0] == expected
    finally:
        one.close()
        other.close()


@LAW
@given(st.lists(st.tuples(requests(), st.booleans()), min_size=1, max_size=5), st.data())
def test_in_any_pieces(node, some_go_straight, asked, data):
    """Each request is cut anywhere. Its answer is waited for, or the next one follows: then it may be told
    to go the usual way while it waits for its turn.
    """
    one, other = Wire(node), Wire(node)
    try:
        owed = []
        for request, is_waited_for in asked:
            other.sock.sendall(bytes_of(request, USUAL))
            owed.append(other.read())
            in_pieces(one, bytes_of(request, STRAIGHT), data)
            if is_waited_for:
                assert [one.read() for _ in owed] == owed
                owed = []
        assert [one.read() for _ in owed] == owed
    finally:
        one.close()
        other.close()


@LAW
@given(st.lists(requests(), min_size=2, max_size=5), st.data())
def test_many_at_once(node, asked, data):
    """All are sent without waiting, some of them on the usual path: the answers keep their order."""
    one, other = Wire(node), Wire(node)
    try:
        usual = []
        for request in asked:
            other.sock.sendall(bytes_of(request, USUAL))
            usual.append(other.read())
        paths = [data.draw(st.sampled_from([STRAIGHT, STRAIGHT, USUAL])) for _ in asked]
        in_pieces(one, b"".join(map(bytes_of, asked, paths)), data)
        assert [one.read() for _ in asked] == usual
    finally:
        one.close()
        other.close()


def in_pieces(wire, sent, data):
    """Sent with pauses at drawn places."""
    cuts = sorted(data.draw(st.lists(st.integers(1, len(sent) - 1), max_size=3)))
    for start, stop in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        wire.sock.sendall(sent[start:stop])
        time.sleep(0.0005)
