"""One HTTP connection within limits: callers that are slow, silent or endless are cut before they cost much.

uvicorn bounds neither the head of a request, nor the time that head or body take, nor an answer that nobody
reads. Here each has a limit; what breaks it gets a problem document and a closed connection. A request that
arrives in one piece, as a bot's does, costs two comparisons more.
"""

import asyncio
from dataclasses import dataclass

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from router import metrics
from router.problems import Problem

_ENCODE = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """head_s: from the first byte (or the connection) to the end of the headers. body_s: from there to the
    end of the body. reply_s: until a caller takes more of an answer. connections: of one worker."""

    head_s: float = 10.0
    body_s: float = 30.0
    reply_s: float = 30.0
    head_bytes: int = 16 << 10
    headers: int = 64
    connections: int = 4096


def bounded(limits: Limits) -> type[HttpToolsProtocol]:
    """The protocol class for uvicorn, with these limits."""
    return type("Bounded", (BoundedConnection,), {"limits": limits})


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection with limits."""

    limits = Limits()
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _phase = ""
    _head_bytes = 0
    _was_asked = False
    _has_head = False
    _is_large = False
    _refusal: Problem | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Counts it in, or sends it away."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            detail = f"the worker has its {self.limits.connections:,} connections: close idle ones"
            self._end_with(Problem(503, "too_many_connections", detail, retry_after_s=1))
        else:
            self._enter("head")

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, then looks how far the request is."""
        if self.transport.is_closing():
            return
        self._is_large = self._head_bytes + len(data) > self.limits.head_bytes
        super().data_received(data)
        if self._has_head:
            self._head_bytes = 0
            phase = "body" if self.cycle.more_body else ""
        else:
            self._head_bytes += len(data)
            phase = "head"
            if self._is_large:
                self._end_with(_head_too_large(self.limits))
                return
        if phase != self._phase:
            self._enter(phase)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._has_head = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Lets the head of a request pass, or makes the parser stop."""
        if len(self.headers) > self.limits.headers or (self._is_large and self._is_head_too_large()):
            self._refusal = _head_too_large(self.limits)
            raise ValueError("the head of the request is too large")
        self._has_head = self._was_asked = True
        super().on_headers_complete()

    def _is_head_too_large(self) -> bool:
        held = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        return held > self.limits.head_bytes

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read, or was told to refuse."""
        detail = f"{msg} Send HTTP/1.1, well-formed"
        self._end_with(self._refusal or Problem(400, "broken_http", detail))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the timers."""
        self._enter("")
        self.resume_writing()
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

    def _enter(self, phase: str) -> None:
        """Starts the time of a phase: "head", "body", or "" where nothing is awaited."""
        self._phase = phase
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if phase:
            seconds = self.limits.head_s if phase == "head" else self.limits.body_s
            self._timer = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        """Silence is closed in silence; half a request gets 408."""
        self._timer = None
        if self._phase == "head" and self._is_answering():  # the next request waits behind a slow answer
            self._enter("head")
            return
        is_silent = self._phase == "head" and not self._head_bytes
        if is_silent or (self._phase == "body" and self.cycle.response_started):
            self.transport.close()
            return
        seconds = self.limits.head_s if self._phase == "head" else self.limits.body_s
        detail = f"the {self._phase} of the request did not arrive within {seconds:g} s: send it faster"
        self._end_with(Problem(408, "request_timeout", detail))

    def _is_answering(self) -> bool:
        return self._was_asked and not self.cycle.response_complete

    def _end_with(self, problem: Problem) -> None:
        """Writes a problem past the application, unless half an answer stands there, and closes."""
        self._enter("")
        if self._is_answering() and self.cycle.response_started:
            self.transport.close()
        if self.transport.is_closing():
            return
        metrics.count_refused(problem.status)
        body = _ENCODE(problem.body())
        headers = problem.headers() | {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "connection": "close",
        }
        lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
        self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body]))
        self.transport.close()


def _head_too_large(limits: Limits) -> Problem:
    most = f"{limits.headers} headers of {limits.head_bytes:,} bytes in all"
    return Problem(431, "head_too_large", f"a request has at most {most}: send fewer")
