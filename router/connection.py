"""One HTTP connection within limits: callers that are slow, silent or endless are cut before they cost much.

uvicorn bounds neither the head of a request, nor the time that head or body take, nor an answer that nobody
reads. Here each has a limit; what breaks it gets a problem document and a closed connection. A request that
arrives in one piece, as a bot's does, costs a few comparisons more.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from weakref import ref

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from router import metrics
from router.body import BEGAN, BODY, REPLY
from router.call import HEADS, Call, is_short
from router.familiar import Familiar, familiar_of
from router.one_piece import replied
from router.problems import Problem
from router.together import Together

_ENCODE = msgspec.json.Encoder().encode
_BODY_HEADERS = {b"content-length", b"transfer-encoding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """head_s: from the first byte (or the connection) to the end of the headers. body_s: from there to the
    end of the body. reply_s: until a caller takes more of an answer, or all of the last one.
    head_bytes, headers: of a request's head, and of what follows a chunked body. connections: of one worker.
    pipelined: requests of one connection that wait for their turn."""

    head_s: float = 10.0
    body_s: float = 30.0
    reply_s: float = 30.0
    head_bytes: int = 16 << 10
    headers: int = 64
    connections: int = 4096
    pipelined: int = 64


def bounded(
    limits: Limits, together: Together | None = None, paths: frozenset[str] = frozenset()
) -> type[HttpToolsProtocol]:
    """The protocol class for uvicorn, with these limits. Small requests to the paths are begun together."""
    urls = frozenset(path.encode() for path in paths) if together is not None else frozenset[bytes]()
    members = {"limits": limits, "together": together, "paths": paths, "straight_urls": urls}
    return type("Bounded", (BoundedConnection,), members)


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection with limits."""

    limits = Limits()
    together: Together | None = None
    paths: frozenset[str] = frozenset()
    straight_urls: frozenset[bytes] = frozenset()
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _closing: asyncio.TimerHandle | None = None
    _timed = ""
    """What the timer is for: "head", "body", or "" where nothing is awaited."""
    _reading = ""
    """What the parser is in: "head", "body" (with what follows it), or "" between two requests."""
    _loose_bytes = 0
    """Received since the last whole head or part of a body: of a head, blank lines, trailers, chunk sizes."""
    _has_progressed = False
    _may_be_large = False
    _is_ending = False
    _running: RequestResponseCycle | None = None
    _incomplete: RequestResponseCycle | None = None
    """The request that will be begun when its body is whole."""
    _refusal: Problem | None = None
    _alone = b""
    """What came last, if nothing was unfinished before it."""
    _familiar: Familiar | None = None
    _call: "Call | None" = None
    """The request that may be answered straight, as long as it is neither answered nor on the usual way."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Counts it in, or sends it away."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            detail = f"the worker has its {self.limits.connections:,} connections: close idle ones"
            self._end_with(Problem(503, "too_many_connections", detail, retry_after_s=1))
        else:
            self._time("head")

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, then looks how far the request is. What is known need not be parsed again."""
        if self._is_over():
            return
        self._alone = b"" if self._reading or self._loose_bytes or self._is_owing() else data
        if self._familiar is not None and (body := self._familiar.body_of(self._alone)) is not None:
            self._begin_again(self._familiar, body)
            return
        self._has_progressed = False
        beyond = self._loose_bytes + len(data) > self.limits.head_bytes
        self._may_be_large = self._may_be_large or beyond
        super().data_received(data)
        if self._is_over():
            return
        self._loose_bytes = 0 if self._has_progressed else self._loose_bytes + len(data)
        if self._may_be_large:
            if self._loose_bytes > self.limits.head_bytes or self._is_head_too_large():
                self._end_with(_head_too_large(self.limits))
                return
            self._may_be_large = self._reading == "head"
        awaited = self._reading or ("head" if self._is_idle_untimed() else "")
        if awaited != self._timed:
            self._time(awaited)

    def _is_owing(self) -> bool:
        """Whether somebody waits for an answer, or has not read the last one."""
        before = cast("RequestResponseCycle | None", self.cycle)
        is_answered = before is None or before.response_complete
        return self._call is not None or not is_answered or self.flow.write_paused

    def _begin_again(self, familiar: Familiar, body: bytes) -> None:
        """A request like one before."""
        self._unset_keepalive_if_required()
        if self._timed:
            self._time("")
        self._call = Call(self, familiar.url, familiar.headers, familiar.scope)
        self._call.body, self._call.is_whole = body, True
        if self.together is not None:
            self.together.put_call(self._call)

    def _is_over(self) -> bool:
        """Whether nothing more is taken from the caller."""
        return self._is_ending or self.transport.is_closing()

    def on_message_begin(self) -> None:
        """The first byte of a request. One that waits to be answered straight is answered in its turn."""
        if self._call is not None:
            self._call.go_usual_way()
        self._reading = "head"
        self._unset_keepalive_if_required()
        if self._timed:
            self._time("")  # each request has its own time, whatever was awaited before
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Lets the head of a request pass, or makes the parser stop."""
        self._refusal = self._why_not()
        if self._refusal is not None:
            raise ValueError(self._refusal.detail)
        scope: Any = self.scope
        scope[BEGAN] = time.perf_counter()
        if self._may_go_straight():
            self._call = Call(self, self.url, self.headers, self.scope)
        else:
            super().on_headers_complete()
        self._reading, self._has_progressed = "body", True
        self.headers = []  # trailers come here, and not among the headers that the application sees
        if self._asks_for_another_protocol():
            self.cycle.keep_alive = False  # what follows would be of another protocol

    def _why_not(self) -> Problem | None:
        if len(self.headers) > self.limits.headers or (self._may_be_large and self._is_head_too_large()):
            return _head_too_large(self.limits)
        if len(self.pipeline) >= self.limits.pipelined:
            detail = f"{self.limits.pipelined} requests wait already: send the next after an answer"
            return Problem(503, "too_many_pipelined", detail, retry_after_s=1)
        if self._asks_for_another_protocol() and any(name in _BODY_HEADERS for name, _ in self.headers):
            rule = "a request with a body cannot ask for another protocol: leave the header Upgrade out"
            return Problem(400, "broken_http", rule)
        return None

    def _asks_for_another_protocol(self) -> bool:
        parser: Any = self.parser
        return bool(parser.should_upgrade())

    def _is_head_too_large(self) -> bool:
        held = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        return held > self.limits.head_bytes or len(self.headers) > self.limits.headers

    def _may_go_straight(self) -> bool:
        """Whether it is as nearly all are: a small one to such a path, alone on a connection that stays."""
        if self.url not in self.straight_urls or self._is_owing():
            return False
        if self.expect_100_continue or self._asks_for_another_protocol():
            return False
        parser: Any = self.parser
        is_usual = parser.get_method() == b"POST" and parser.get_http_version() == "1.1"
        return is_usual and parser.should_keep_alive() and is_short(self.headers)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._has_progressed = True
        if self._call is not None:
            self._call.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request. One that was answered before it was whole leaves the connection idle."""
        self._reading = ""
        if self._call is not None and self.together is not None:
            self._call.is_whole = True
            if self._familiar is None and self._alone:
                call = self._call
                self._familiar = familiar_of(self._alone, call)
            self.together.put_call(self._call)
            return
        super().on_message_complete()
        if self._incomplete is not None and self.together is not None:
            self._begin_whole(self._incomplete, self.together)
        if self.cycle.response_complete and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """The next request's turn, or the end of the connection."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read, or was told to refuse."""
        detail = f"{msg} Send HTTP/1.1, well-formed"
        self._end_with(self._refusal or Problem(400, "broken_http", detail))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the timers, and tells the request that is being answered: uvicorn tells the last read."""
        self._time("")
        self._call = None
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.resume_writing()
        if self._closing is not None:
            self._closing.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """An answer waits for its reader, but not for ever."""
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(self.limits.reply_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It is being read."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """An idle connection is closed; one whose last answer nobody has read is cut."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def reply(self, status: int, lines: bytes, body: bytes) -> None:
        """Answers the call, and leaves the connection idle. lines: of the head, besides those of all."""
        self._call = None
        more, is_last = HEADS.of(self.server_state.default_headers)
        length = b"content-length: %d\r\n\r\n" % len(body)
        self.transport.write(b"".join((STATUS_LINE[status], lines, more, length, body)))
        if is_last:
            self.transport.close()
        self.on_response_complete()

    def holds(self, call: "Call") -> bool:
        """Whether a call still waits for its answer here."""
        return self._call is call

    def begin_usual(self, call: "Call") -> None:
        """Begins a request that was kept for a straight answer, as uvicorn would have."""
        self._call = None
        more = {"method": "POST", "headers": list(call.headers), "state": self.app_state.copy()}
        path = {"path": call.url.decode(), "raw_path": call.url, "query_string": b""}
        scope: Any = {**call.scope, **path, **more, BEGAN: call.began_s}
        self.cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self.on_response_complete,
        )
        self.cycle.body, self.cycle.more_body = bytearray(call.body), not call.is_whole
        self.cycle.message_event.set()  # as uvicorn does with each part of a body and at its end
        self._start_asgi_task(self.cycle, self.app)

    def shutdown(self) -> None:
        """What waits to be answered straight is answered first."""
        if self._call is not None:
            self._call.go_usual_way()
        super().shutdown()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        scope: Any = cycle.scope
        scope[REPLY] = partial(replied, ref(cycle))  # a strong one would leave each request to the collector
        if self.together is None or not self._is_small(cycle):
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._incomplete = cycle
        else:
            self._begin_whole(cycle, self.together)

    def _is_small(self, cycle: RequestResponseCycle) -> bool:
        """Whether it can be begun with its whole body: there is little of it, and it comes unasked."""
        is_asked = cycle.scope["path"] in self.paths and not cycle.waiting_for_100_continue
        return is_asked and is_short(cycle.scope["headers"])

    def _begin_whole(self, cycle: RequestResponseCycle, together: Together) -> None:
        self._incomplete = None
        scope: Any = cycle.scope
        scope[BODY], cycle.body = bytes(cycle.body), bytearray()
        app: Any = self.app
        together.put(cycle.run_asgi(app), self.tasks)

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: any stranger can ask for another protocol, and would fill the log."""

    def _time(self, awaited: str) -> None:
        """Starts the time of what is awaited; ends the time of what was."""
        self._timed = awaited
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if awaited:
            seconds = self.limits.head_s if awaited == "head" else self.limits.body_s
            self._timer = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        """Silence is closed in silence; half a request gets 408."""
        self._timer = None
        if self._call is not None:
            self._call.go_usual_way()
        if self._is_answering() and (self._timed == "head" or self._running is not self.cycle):
            self._time(self._timed)  # it waits behind a slow answer, and may not even be read
            return
        is_silent = not self._reading and not self._loose_bytes
        if is_silent or (self._timed == "body" and self.cycle.response_started):
            self._close()
            return
        seconds = self.limits.head_s if self._timed == "head" else self.limits.body_s
        detail = f"the {self._timed} of the request did not arrive within {seconds:g} s: send it faster"
        self._end_with(Problem(408, "request_timeout", detail))

    def _is_answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _is_idle_untimed(self) -> bool:
        """Whether blank lines, say, have ended the time of an idle connection and begun no request."""
        return self.timeout_keep_alive_task is None and self._call is None and not self._is_answering()

    def _end_with(self, problem: Problem) -> None:
        """Writes a problem past the application and closes. Where an earlier request is owed its answer, that
        one is the last, and says so; where half an answer stands there, nothing can be added."""
        self._time("")
        metrics.count_refused(problem.status)
        if self._call is not None and self._call.is_whole:
            self._call.go_usual_way()
        self._call = None
        if self._is_answering():
            if self._reading != "body" or self._running is not self.cycle:
                self._end_after_running()
                return
            if self.cycle.response_started:
                self._close()
                return
        body = _ENCODE(problem.body())
        headers = problem.headers() | {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "connection": "close",
        }
        lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
        self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body]))
        self._close()

    def _end_after_running(self) -> None:
        """Takes nothing more; those that wait for their turn were not begun, and can be sent again."""
        self._is_ending = True
        self.pipeline.clear()
        if self._running is not None:
            self._running.keep_alive = False

    def _close(self) -> None:
        """Closes when what was written is read, and cuts it where nobody does."""
        self.transport.close()
        if self._closing is None and self.transport.get_write_buffer_size():
            self._closing = self.loop.call_later(self.limits.reply_s, self.transport.abort)


def _head_too_large(limits: Limits) -> Problem:
    most = f"{limits.headers} headers of {limits.head_bytes:,} bytes in all"
    return Problem(431, "head_too_large", f"a request has at most {most}: send fewer")
