"""Reads request bodies and writes replies in bare ASGI, within limits."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from router.problems import Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_ENCODE = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", b"application/problem+json")


class Disconnected(Exception):
    """The caller went away before the body was whole."""


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """The whole body, or a 413 before more than the limit is held."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit_bytes:
            raise too_large(limit_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body") and message["type"] == "http.request":
        return _within(body, limit_bytes)
    parts = [body]
    while message["type"] == "http.request" and message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        _within(b"".join(parts), limit_bytes)
    if message["type"] != "http.request":
        raise Disconnected
    return b"".join(parts)


def _within(body: bytes, limit_bytes: int) -> bytes:
    if len(body) > limit_bytes:
        raise too_large(limit_bytes)
    return body


def too_large(limit_bytes: int) -> Problem:
    """413."""
    return Problem(413, "body_too_large", f"the body is larger than {limit_bytes:,} bytes: send less at once")


async def send_json(send: Send, status: int, body: bytes) -> None:
    """One JSON reply."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length]})
    await send({"type": "http.response.body", "body": body})


async def send_problem(send: Send, problem: Problem) -> None:
    """One application/problem+json reply."""
    body = _ENCODE(problem.body())
    headers = [_PROBLEM, (b"content-length", b"%d" % len(body))]
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % problem.retry_after_s))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
