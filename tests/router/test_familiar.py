"""A head that is taken for known says the same as when it is parsed, or is parsed."""

from types import SimpleNamespace

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.familiar import familiar_of

HEADS = st.lists(
    st.sampled_from(
        [
            b"host: a",
            b"Content-Type: application/json",
            b"x-a: b",
            b"authorization: Bearer x",
            b"accept:*/*",
            b"X-Content-Length: 7",
            b"user-agent: content-length:7",
            b"via: Content-Length: 7\tcontent-length:7",
        ]
    ),
    unique=True,
)
NAMES = st.sampled_from([b"content-length: ", b"Content-Length:", b"CONTENT-LENGTH:  "])
BODIES = st.binary(min_size=1, max_size=400)
URL = b"/v1/decide"


class Parsed:
    """What httptools says of bytes: headers and body of each request, or that they are broken."""

    def __init__(self, data):
        self.headers, self.body, self.ended, self.is_broken = [], b"", 0, False
        try:
            httptools.HttpRequestParser(self).feed_data(data)
        except httptools.HttpParserError:
            self.is_broken = True

    def on_header(self, name, value):
        self.headers.append((name.lower(), value))

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.ended += 1


def request(before, name, after, body):
    lines = [b"POST /v1/decide HTTP/1.1", *before, name + b"%d" % len(body), *after]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def known_by(data):
    parsed = Parsed(data)
    call = SimpleNamespace(body=parsed.body, url=URL, headers=parsed.headers, scope={})
    return familiar_of(data, call)


def without_length(headers):
    return [(name, value) for name, value in headers if name != b"content-length"]


@given(HEADS, NAMES, HEADS, BODIES, BODIES)
def test_the_same_head_with_another_body_is_known_as_it_would_be_parsed(before, name, after, first, second):
    familiar = known_by(request(before, name, after, first))
    assert familiar is not None
    again = request(before, name, after, second)
    assert familiar.body_of(again) == second == Parsed(again).body
    assert without_length(familiar.headers) == without_length(Parsed(again).headers)


@pytest.mark.parametrize(
    "foreign", [b"X-Content-Length: 7", b"User-Agent: content-length:7", b"a: content-length: 7"]
)
@pytest.mark.parametrize("is_first", [True, False])
def test_another_header_s_digits_are_never_the_length(foreign, is_first):
    """Request smuggling: digits that were the body's length once must not be it the next time."""
    around = ([foreign], []) if is_first else ([], [foreign])
    first = request(around[0], b"content-length: ", around[1], b"seven77")
    familiar = known_by(first)
    assert familiar.body_of(first) == b"seven77"
    part, more = foreign.replace(b"7", b"4"), b"four" + b"POST /v1/decide"
    smuggled = first.replace(foreign, part).replace(b"length: 7\r", b"length: 19\r").replace(b"seven77", more)
    assert Parsed(smuggled).body == more
    for stop in range(len(smuggled)):
        assert familiar.body_of(smuggled[:stop]) is None
    assert familiar.body_of(smuggled) in {None, more}


@given(HEADS, NAMES, HEADS, BODIES, BODIES, st.data())
def test_whatever_is_taken_for_known_is_one_whole_request(before, name, after, first, second, data):
    """Bytes changed, left out or added anywhere: what passes has the very body that a parser finds."""
    familiar = known_by(request(before, name, after, first))
    again = bytearray(request(before, name, after, second))
    start = data.draw(st.integers(0, len(again)))
    stop = data.draw(st.integers(start, min(len(again), start + 3)))
    again[start:stop] = data.draw(
        st.sampled_from([b"", b"0", b"+", b"-1", b" ", b"\r\n", b"9", b"_", b"\xb2"])
    )
    body = familiar.body_of(bytes(again))
    if body is not None:
        parsed = Parsed(bytes(again))
        assert (parsed.body, parsed.ended, parsed.is_broken) == (body, 1, False)
        assert without_length(parsed.headers) == without_length(familiar.headers)


def test_a_request_that_did_not_come_alone_and_whole_is_not_remembered():
    whole = request([b"host: a"], b"content-length: ", [], b"{}")
    call = SimpleNamespace(body=b"{}", url=URL, headers=[], scope={})
    for data in (
        whole[3:-2],
        whole + b"POST",
        whole.replace(b"content-length: 2", b"content-length: 02"),
        b"{}",
    ):
        assert familiar_of(data, call) is None, data
    assert familiar_of(whole, call) is not None
