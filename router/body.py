"""Reads request bodies and writes replies in bare ASGI, within limits."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple

import msgspec

from router.problems import Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_ENCODE = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", b"application/problem+json")
_LENGTH_DIGITS_MAX = 18
_WHOLE = "abctl.body_is_whole"
DRAINED_BYTES_MAX = 256 << 20
Reply = Callable[[int, bytes, bytes], bool]
"""Sends a whole reply in one piece: status, header lines, body. Says whether it did; if not, ASGI must."""
BEGAN = "abctl.began"
"""Key in the ASGI scope: when the head of the request was whole, in seconds of time.perf_counter."""
BODY = "abctl.body"
"""Key in the ASGI scope of a request whose body came before it was begun."""
REPLY = "abctl.reply"
"""Its key in the ASGI scope of a connection that offers it."""
JSON_LINE = b"content-type: application/json\r\n"


class Disconnected(Exception):
    """The caller went away before the body was whole."""


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """The whole body, or a 413 before more than the limit is held."""
    whole: bytes | None = scope.get(BODY)
    if whole is not None:
        scope[_WHOLE] = True
        if len(whole) > limit_bytes:
            raise too_large(limit_bytes)
        return whole
    for name, value in scope["headers"]:
        if name == b"content-length" and _is_beyond(value, limit_bytes):
            raise too_large(limit_bytes)
    parts: list[bytes] = []
    held_bytes = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        part: bytes = message.get("body", b"")
        held_bytes += len(part)
        if held_bytes > limit_bytes:
            raise too_large(limit_bytes)
        parts.append(part)
        if not message.get("more_body"):
            scope[_WHOLE] = True
            return b"".join(parts) if len(parts) > 1 else part


def check_json(content_type: bytes) -> None:
    """415 unless JSON is declared: what a web page can send to a local service unasked never is."""
    if content_type.split(b";", 1)[0].strip().lower() != b"application/json":
        detail = "the request must say that it is JSON: send the header content-type: application/json"
        raise Problem(415, "not_json", detail)


def content_type_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The Content-Type as sent, or nothing."""
    sent = [value for name, value in headers if name == b"content-type"]
    return sent[0] if len(sent) == 1 else b""


def _is_beyond(content_length: bytes, limit_bytes: int) -> bool:
    if len(content_length) > _LENGTH_DIGITS_MAX:
        return True
    return content_length.isdigit() and int(content_length) > limit_bytes


def too_large(limit_bytes: int) -> Problem:
    """413."""
    return Problem(413, "body_too_large", f"the body is larger than {limit_bytes:,} bytes: send less at once")


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was already read, then whatever follows."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


async def send_json(scope: Scope, send: Send, body: bytes) -> None:
    """One JSON reply with status 200."""
    reply: Reply | None = scope.get(REPLY)
    if reply is not None and reply(200, JSON_LINE, body):
        return
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [_JSON, length]})
    await send({"type": "http.response.body", "body": body})


async def send_problem(scope: Scope, receive: Receive, send: Send, problem: Problem) -> None:
    """One application/problem+json reply.

    Where the body is not read yet it is taken and dropped after that: a caller that still sends would see its
    connection reset, and not the reply.
    """
    body = _ENCODE(problem.body())
    is_whole = scope.get(_WHOLE, False)
    reply: Reply | None = scope.get(REPLY)
    if is_whole and reply is not None and reply(problem.status, lines_of(problem), body):
        return
    headers = [_PROBLEM, (b"content-length", b"%d" % len(body))]
    headers += [(name.encode(), value.encode()) for name, value in problem.headers().items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": not is_whole})
    if not is_whole:
        await _drain(receive)
        await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    """Drops the rest of a body, of which DRAINED_BYTES_MAX are waited for."""
    left_bytes = DRAINED_BYTES_MAX
    while left_bytes > 0:
        message = await receive()
        left_bytes -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return


def lines_of(problem: Problem) -> bytes:
    """A problem's header lines, besides its length."""
    more = "".join(f"{name}: {value}\r\n" for name, value in problem.headers().items())
    return b"content-type: application/problem+json\r\n" + more.encode()


class Refusal(NamedTuple):
    """A problem as it is sent, for one that is sent often. lines: of the head, besides the length."""

    status: int
    lines: bytes
    body: bytes


def refusal_of(problem: Problem) -> Refusal:
    """What every such problem says."""
    return Refusal(problem.status, lines_of(problem), _ENCODE(problem.body()))
