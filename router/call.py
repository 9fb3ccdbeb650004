"""A request that a connection holds until it is answered straight (see router/straight.py), or not."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from router.body import JSON_LINE, Refusal

SMALL_BYTES = 64 << 10
"""Beyond, uvicorn stops reading until the application asks for the body."""


class Connection(Protocol):
    """What a call needs of its connection."""

    def holds(self, call: "Call") -> bool: ...
    def reply(self, status: int, lines: bytes, body: bytes) -> None: ...
    def begin_usual(self, call: "Call") -> None: ...


class Heads:
    """uvicorn's default headers as lines; there is a new list of them every second."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._count = -1
        self._found = (b"", False)

    def of(self, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bool]:
        """The lines, and whether they say that the connection ends."""
        if headers is not self._headers or len(headers) != self._count:
            self._headers, self._count = headers, len(headers)
            lines = b"".join(b"%b: %b\r\n" % line for line in headers)
            is_last = any(name == b"connection" for name, _ in headers)
            self._found = lines, is_last
        return self._found


HEADS = Heads()


class Call:
    """A request of a connection that may be answered straight. scope: as uvicorn has begun it."""

    __slots__ = ("_connection", "began_s", "body", "headers", "is_whole", "scope", "url")

    def __init__(
        self, connection: Connection, url: bytes, headers: Sequence[tuple[bytes, bytes]], scope: Any
    ) -> None:
        self._connection = connection
        self.url = url
        self.headers = headers
        self.scope = scope
        self.began_s = time.perf_counter()
        self.body = b""
        self.is_whole = False

    @property
    def is_open(self) -> bool:
        """Whether it still waits: not answered, not gone, not on the usual way."""
        return self._connection.holds(self)

    def reply(self, body: bytes) -> None:
        """Sends the reply with status 200."""
        self._connection.reply(200, JSON_LINE, body)

    def refuse(self, refusal: Refusal) -> None:
        """Sends a refusal."""
        self._connection.reply(refusal.status, refusal.lines, refusal.body)

    def go_usual_way(self) -> None:
        """Begins it as any other request."""
        self._connection.begin_usual(self)


def is_short(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request says once that its body is small."""
    lengths = [value for name, value in headers if name == b"content-length"]
    is_short = len(lengths) == 1 and len(lengths[0]) <= len(str(SMALL_BYTES))
    return is_short and int(lengths[0]) <= SMALL_BYTES
