"""What a caller can do to one connection: every request is answered once, in order, or not begun; and nothing
that a caller sends or leaves unread keeps a connection, or memory, for longer than the limits say."""

import asyncio
import gc
import itertools
import re
import socket
import threading
import time
from contextlib import closing, nullcontext

import pytest
import uvicorn
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from router.body import BEGAN, BODY
from router.connection import Limits, bounded
from router.together import Together

LIMITS = Limits(head_s=0.4, body_s=0.8, reply_s=0.5, head_bytes=4096, headers=20, pipelined=8)
KEEP_ALIVE_S = 1
WITHIN_S = 5.0
"""What must end has ended by then."""
HOST = b"Host: localhost\r\n"
TOGETHER_PATHS = frozenset({"/echo", "/slow"})
END = b"|"
"""Ends the body of an answer."""
LARGE = 48 << 10
"""Less than what an event loop holds before it asks for a pause."""


def get(path=b"/", more=b""):
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + more + b"\r\n"


def post(body, more=b""):
    return b"POST /echo HTTP/1.1\r\n" + HOST + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Serving:
    """A listener with an application that echoes; in a thread, with a loop of its own."""

    def __init__(self, loop_factory, limits=LIMITS, keep_alive_s=KEEP_ALIVE_S, together=None):
        self.asked, self.seen, self.answered, self.waited_s = [], [], [], []
        self.state = ServerState()
        config = uvicorn.Config(
            self.app,
            http=bounded(limits, together, TOGETHER_PATHS),
            ws="none",
            interface="asgi3",
            log_config=None,
            timeout_keep_alive=keep_alive_s,
        )
        config.load()
        self._make = lambda: config.http_protocol_class(config, self.state, {})
        self._factory = loop_factory
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._is_up.wait(10)

    def _run(self):
        with asyncio.Runner(loop_factory=self._factory) as runner:
            runner.run(self._serve())

    async def _serve(self):
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self.errors = []
        self._loop.set_exception_handler(lambda _, context: self.errors.append(context))
        server = await self._loop.create_server(self._make, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._is_up.set()
        await self._end.wait()
        server.close()
        for connection in list(self.state.connections):
            connection.transport.abort()
        await asyncio.sleep(0.05)

    def stop(self):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert self.errors == []

    async def app(self, scope, receive, send):
        """Path /slow waits before it answers, /large answers much, /blind reads no body, all others echo."""
        self.asked.append(scope["path"])
        body = scope.get(BODY, b"")
        while (
            scope["path"] != "/blind"
            and BODY not in scope
            and (message := await receive())["type"] == "http.request"
        ):
            body += message["body"]
            if not message.get("more_body"):
                break
        await asyncio.sleep(0.6 if scope["path"] == "/slow" else 0)
        self.seen.append(dict(scope["headers"]))
        self.waited_s.append(time.perf_counter() - scope[BEGAN])
        reply = b"x" * LARGE if scope["path"] == "/large" else scope["path"].encode() + b"=" + body + END
        length = (b"content-length", b"%d" % len(reply))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": reply})
        self.answered.append(scope["path"])

    def open_connections(self):
        return len(self.state.connections)

    def unread_bytes(self):
        """What the loop holds of answers, of all connections."""
        return sum(c.transport.get_write_buffer_size() for c in list(self.state.connections))


@pytest.fixture(params=["asyncio", "uvloop", "together"])
def serving(request):
    """together: small requests are begun when they are whole, and need no task if they need not wait."""
    factory = asyncio.SelectorEventLoop if request.param == "asyncio" else uvloop.new_event_loop
    server = Serving(factory, together=Together(nullcontext) if request.param == "together" else None)
    yield server
    server.stop()


def connected(server):
    return closing(socket.create_connection(("127.0.0.1", server.port), timeout=10))


def wait_until(holds):
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, "it has not come to hold"
        time.sleep(0.002)


def rest(line):
    """(what comes until the other side closes, after how many seconds)."""
    began, parts = time.monotonic(), []
    while part := line.recv(65536):
        parts.append(part)
    return b"".join(parts), time.monotonic() - began


def told(server, content, then=b""):
    """The whole answer to what is sent in one or two pieces."""
    with connected(server) as line:
        line.sendall(content)
        if then:
            time.sleep(0.1)
            line.sendall(then)
        return rest(line)[0]


def cut_while_sending(line, endless):
    """How many bytes of something without an end can be sent before the other side has had enough."""
    began, sent = time.monotonic(), 0
    try:
        while time.monotonic() - began < WITHIN_S:
            line.sendall(endless)
            sent += len(endless)
            time.sleep(0.005)
    except OSError:
        return sent
    return pytest.fail("nobody cut it")


def statuses(answer):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]


def next_status(line):
    """The status of the next answer, which is read to its end."""
    answer = b""
    while not answer.endswith(END):
        part = line.recv(65536)
        assert part, answer
        answer += part
    (status,) = statuses(answer)
    return status


class TestIdle:
    @pytest.mark.parametrize("blank", [b"\r\n", b"\r\n" * 50])
    def test_blank_lines_after_an_answer_keep_nothing(self, serving, blank):
        with connected(serving) as line:
            line.sendall(get())
            assert next_status(line) == 200
            line.sendall(blank)
            answer, took_s = rest(line)
        assert took_s < WITHIN_S
        assert statuses(answer) == [408]

    def test_blank_lines_that_never_end_keep_nothing(self, serving):
        with connected(serving) as line:
            line.sendall(get())
            assert cut_while_sending(line, b"\r\n") < 1000

    def test_a_request_answered_before_its_body_came_leaves_an_idle_connection(self, serving):
        head = b"POST /blind HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n"
        with connected(serving) as line:
            line.sendall(head)
            assert next_status(line) == 200
            line.sendall(b"hello")
            time.sleep(LIMITS.body_s - 0.1)  # the time of that body must not end the next request
            line.sendall(get())
            assert next_status(line) == 200
            answer, took_s = rest(line)
        assert (answer, took_s < WITHIN_S) == (b"", True)

    def test_half_closed_connections_end(self, serving):
        with connected(serving) as line:
            line.sendall(get(b"/slow"))
            line.shutdown(socket.SHUT_WR)
            rest(line)
        wait_until(lambda: not serving.open_connections())


class TestUnread:
    @pytest.mark.parametrize("last", [b"GET / HT", get(b"/", b"Connection: close\r\n"), b"JUNK\r\n\r\n"])
    def test_an_answer_that_nobody_reads_does_not_keep_a_closed_connection(self, serving, last):
        """Less is left than makes an event loop ask for a pause; nobody would ever cut it."""
        with closing(socket.socket()) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            line.connect(("127.0.0.1", serving.port))
            for sent in range(1, 2000):  # one at a time, however slow the machine
                line.sendall(get(b"/large"))
                wait_until(lambda sent=sent: len(serving.answered) == sent)
                if serving.unread_bytes():
                    break
            assert 0 < serving.unread_bytes() <= LARGE + 200
            line.sendall(last)
            wait_until(lambda: not serving.open_connections())


def test_an_answered_request_leaves_nothing_to_the_collector(serving):
    """It would find what waits for it once a second, and nobody is answered meanwhile."""
    gc.collect()
    gc.disable()
    try:
        with connected(serving) as line:
            for _ in range(20):
                line.sendall(get())
                assert next_status(line) == 200
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert [each for each in gc.garbage if isinstance(each, RequestResponseCycle)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


class TestOrder:
    def test_pipelined_requests_are_answered_in_order(self, serving):
        paths = [b"/slow", b"/a", b"/b"]
        last = get(b"/c", b"Connection: close\r\n")
        answer = told(serving, b"".join(get(path) for path in paths) + last)
        assert statuses(answer) == [200] * 4
        assert re.findall(rb"/\w+(?==)", answer) == [*paths, b"/c"]

    @pytest.mark.parametrize("junk", [b"JUNK\x00\r\n\r\n", get(b"/b", b"X: " + b"x" * 5000 + b"\r\n"),
        get(b"/b", b"X: y\r\n" * 30), b"CONNECT a:1 HTTP/1.1\r\n\r\n"])  # fmt: skip
    @pytest.mark.parametrize("between", [b"", get(b"/a")])
    def test_what_follows_a_request_is_not_its_answer(self, serving, between, junk):
        """A caller takes the first answer for that of its first request, whatever the second one was."""
        answer = told(serving, get(b"/slow") + between + junk)
        assert statuses(answer) == [200]
        assert answer.endswith(b"/slow=|")
        assert b"connection: close" in answer
        assert serving.asked == ["/slow"]

    def test_the_time_of_one_that_waits_in_line_begins_when_it_came(self, serving):
        """What its deadline is measured from, and its latency."""
        told(serving, get(b"/slow") + get(b"/a") + get(b"/b", b"Connection: close\r\n"))
        assert min(serving.waited_s) >= 0.55

    def test_who_pipelines_without_end_is_cut(self, serving):
        answer = told(serving, get(b"/slow") + get(b"/a") * 50)
        assert statuses(answer) == [200]
        assert serving.asked == ["/slow"]

    def test_as_many_as_may_wait_are_answered(self, serving):
        content = get(b"/slow") + get(b"/a") * (LIMITS.pipelined - 1) + get(b"/b", b"Connection: close\r\n")
        assert statuses(told(serving, content)) == [200] * (LIMITS.pipelined + 1)

    def test_a_body_behind_a_slow_answer_is_not_late(self, serving):
        """Nobody reads it meanwhile."""
        content = get(b"/slow") * 2 + post(b"hello", b"Connection: close\r\n")
        assert told(serving, content[:-3], content[-3:]).endswith(b"/echo=hello|")

    @pytest.mark.parametrize("cut", [5, 60])
    def test_each_request_has_a_time_of_its_own(self, serving, cut):
        """Of a caller that pipelines, a piece always ends within a head or a body."""
        whole, began = post(b"hello"), time.monotonic()
        with connected(serving) as line:
            line.sendall(whole[:cut])
            while time.monotonic() - began < 2 * LIMITS.body_s:
                line.sendall(whole[cut:] + whole[:cut])
                assert next_status(line) == 200
                time.sleep(0.05)


class TestTrailers:
    HEAD = b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"

    def test_they_are_no_headers(self, serving):
        """A proxy that takes headers away, or adds them, does not look at trailers."""
        last = get(b"/", b"Connection: close\r\n")
        answer = told(serving, self.HEAD + b"Authorization: Bearer x\r\nHost: evil\r\n\r\n" + last)
        assert statuses(answer) == [200, 200]
        assert serving.seen[0] == {b"host": b"localhost", b"transfer-encoding": b"chunked"}

    @pytest.mark.parametrize("start", [HEAD, HEAD.removesuffix(b"0\r\n") + b"5;"])
    @pytest.mark.parametrize("endless", [b"a: b\r\n" * 1000, b"a" * 6000])
    def test_they_are_bounded_and_so_are_extensions_of_chunks(self, serving, start, endless):
        with connected(serving) as line:
            line.sendall(start)
            assert cut_while_sending(line, endless) < 1 << 20


class TestOddRequests:
    @pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
    def test_another_protocol_is_not_spoken(self, serving, protocol, caplog):
        asked = get(b"/a", b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n")
        answer = told(serving, asked, b"PRI * HTTP/2.0")
        assert statuses(answer) == [200]
        assert b"connection: close" in answer
        assert caplog.records == [], "any stranger can fill the log"

    def test_a_body_before_another_protocol_is_refused_and_not_lost(self, serving):
        answer = told(serving, post(b"hello", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"))
        assert statuses(answer) == [400]
        assert b"leave the header Upgrade out" in answer
        assert serving.asked == []

    @pytest.mark.parametrize("target", [b"CONNECT a:1", b"CONNECT :", b"GET http://[", b"GET a"])
    def test_a_target_that_is_none_is_400(self, serving, target):
        assert statuses(told(serving, target + b" HTTP/1.1\r\n" + HOST + b"\r\n")) == [400]

    def test_http_1_0_ends_with_its_answer(self, serving):
        for more in (b"", b"Connection: keep-alive\r\n"):
            assert statuses(told(serving, b"GET / HTTP/1.0\r\n" + more + b"\r\n")) == [200]

    def test_who_waits_for_100_continue_gets_it_once(self, serving):
        whole = post(b"hello", b"Expect: 100-continue\r\nConnection: close\r\n")
        answer = told(serving, whole[:-5], b"hello")
        assert statuses(answer) == [100, 200]
        assert answer.endswith(b"=hello|")

    def test_who_waits_for_100_continue_in_vain_is_answered(self, serving):
        whole = b"POST /blind HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        assert statuses(told(serving, whole)) == [200]

    @pytest.mark.parametrize("head", [
        b"Transfer-Encoding : chunked", b"Transfer-Encoding: chunked, identity", b"X: a\r\n b", b"X: a\rb",
        b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: xchunked", b"X: a\x00b", b"X : a",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Content-Length: +5", b"Content-Length: 0x5", b"Content-Length: 5, 5", b"Content-Length: -1",
        b"Content-Length: 5\r\nContent-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 99999999999999999999999",
    ])  # fmt: skip
    def test_what_two_readers_could_understand_differently_is_refused(self, serving, head):
        """Request smuggling: a proxy in front must never see another request than we do."""
        asked = b"POST /echo HTTP/1.1\r\n" + HOST + head + b"\r\n\r\nhello" + get(b"/smuggled")
        assert statuses(told(serving, asked)) == [400]
        assert "/smuggled" not in serving.asked


@pytest.fixture(scope="module")
def hasty():
    """A service that waits for nobody, so that what it would wait for is seen to end."""
    limits = Limits(head_s=0.05, body_s=0.05, reply_s=0.05, head_bytes=1024, headers=8, pipelined=2)
    server = Serving(asyncio.SelectorEventLoop, limits, keep_alive_s=0.05)
    yield server
    server.stop()


LINES = st.sampled_from([
    b"Host: a", b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade", b"Upgrade: h2c",
    b"Expect: 100-continue", b"Transfer-Encoding: chunked", b"Content-Length: 5", b"Content-Length: 0",
    b"X: y", b"X: " + b"y" * 600, b"",
]) | st.binary(max_size=12)  # fmt: skip
STARTS = st.sampled_from([
    b"GET / HTTP/1.1", b"POST /echo HTTP/1.1", b"POST /blind HTTP/1.1", b"GET /large HTTP/1.1",
    b"GET / HTTP/1.0", b"CONNECT a:1 HTTP/1.1", b"OPTIONS * HTTP/1.1", b"PRI * HTTP/2.0",
]) | st.binary(max_size=12)  # fmt: skip
BODIES = st.sampled_from([
    b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nX: y\r\n\r\n", b"5;x=y\r\nhe",
    b"\r\n\r\n",
]) | st.binary(max_size=12)  # fmt: skip
REQUESTS = st.builds(
    lambda start, lines, body: b"\r\n".join([start, *lines, b"", body]),
    STARTS,
    st.lists(LINES, max_size=4),
    BODIES,
)


@settings(max_examples=250)
@given(st.lists(REQUESTS, min_size=1, max_size=5).map(b"".join), st.lists(st.integers(0, 400), max_size=3))
def test_whatever_is_sent_in_whatever_pieces_ends_and_gets_no_more_answers_than_it_asked(
    hasty, content, cuts
):
    began = len(hasty.asked)
    places = [0, *sorted(cuts), len(content)]
    with connected(hasty) as line:
        try:
            for start, end in itertools.pairwise(places):
                line.sendall(content[start:end])
                time.sleep(0.001)
            answer, took_s = rest(line)
        except OSError:  # closed before all of it came
            return
    assert took_s < WITHIN_S
    found = [status for status in statuses(answer) if status != 100]
    assert set(found) <= {200, 400, 408, 431}
    assert found.count(200) <= len(hasty.asked) - began
    assert sum(status != 200 for status in found) <= 1
    assert all(status == 200 for status in found[:-1])
