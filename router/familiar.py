"""Heads that a connection has parsed before: a bot sends the same one each time, but for the length.

What was compared byte by byte need not be parsed again. Only the head of a request that went straight is kept
(see router/call.py), so that a repetition asks for nothing but the same once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from router.call import Call

_LENGTH = b"\r\ncontent-length:"
"""With the end of the line before it, which no name or value holds: X-Content-Length is another header."""
_END = b"\r\n\r\n"
_DIGITS_MAX = 5


@dataclass(frozen=True, slots=True)
class Familiar:
    """before, after: all bytes of a head around the digits of its length; the rest: as it was parsed."""

    before: bytes
    after: bytes
    url: bytes
    headers: Sequence[tuple[bytes, bytes]]
    scope: dict[str, Any]

    def body_of(self, data: bytes) -> bytes | None:
        """The body of data that is this head, with any length, and the whole body; else None."""
        if not data.startswith(self.before):
            return None
        start = len(self.before)
        stop = data.find(b"\r", start, start + _DIGITS_MAX + 1)
        if stop < 0 or not data.startswith(self.after, stop):
            return None
        digits, body = data[start:stop], data[stop + len(self.after) :]
        return body if digits.isdigit() and len(body) == int(digits) else None


def familiar_of(data: bytes, call: Call) -> Familiar | None:
    """What to know a request again by that came alone and whole in `data`; None where it did not."""
    body = call.body
    head = data[: len(data) - len(body)]
    if not head.endswith(_END) or head.count(_END) != 1 or data[len(head) :] != body:
        return None
    lines = head.lower()
    name = lines.find(_LENGTH)
    start = name + len(_LENGTH)
    while head[start : start + 1] == b" ":
        start += 1
    stop = head.find(b"\r", start)
    is_known = lines.count(_LENGTH) == 1 and head[start:stop] == b"%d" % len(body)
    if not is_known:
        return None
    return Familiar(head[:start], head[stop:], call.url, call.headers, dict(call.scope))
