"""Open-loop load: requests are due by a schedule, whatever the answers do. A request's time begins when it
was due, so that a server that stalls pays for all that it kept waiting.

One thread, sockets and epoll, timeouts in microseconds: event loops round theirs to milliseconds.
"""

import ctypes
import gc
import select
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from speed import machine
from speed.bodies import Load
from speed.servers import Server

_PR_SET_TIMERSLACK = 29
_DRAIN_S = 10.0
DECISIONS_A_UNIT = 1800
"""Of a market of 15 minutes that is asked about every half second."""
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True, slots=True)
class Open:
    """One run. Times in milliseconds since a request was due; late_ms: when it left.

    refused: answers that are not 200; told_when: those that say Retry-After. lost: no answer at all.
    """

    answered_ms: NDArray[np.float64]
    late_ms: NDArray[np.float64]
    refused: dict[int, int]
    told_when: int
    lost: int
    elapsed_s: float

    @property
    def asked(self) -> int:
        """All requests of the schedule."""
        return len(self.answered_ms) + sum(self.refused.values()) + self.lost

    @property
    def per_s(self) -> float:
        """Good answers a second."""
        return len(self.answered_ms) / self.elapsed_s


def poisson(rate_per_s: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """When requests of many bots that know nothing of each other are due, in seconds."""
    gaps = np.random.default_rng(seed).exponential(1 / rate_per_s, round(rate_per_s * seconds))
    return np.cumsum(gaps)


def opened(server: Server, load: Load, due_s: NDArray[np.float64], connections: int) -> Open:
    """Sends the load's bodies as they are due, on whichever of the connections is free.

    A unit's first decision may ask Redis, so first ones come as often as they do in life: once in
    DECISIONS_A_UNIT, spread over the run. The other units have had theirs before it.
    """
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1000, 0, 0, 0)  # nanoseconds; the default is 50,000
    sender = _Sender(server, load, connections)
    gc.collect()
    gc.disable()
    try:
        with machine.punctual():
            return sender.run(due_s.tolist())
    finally:
        gc.enable()
        sender.close()


def request_bytes(server: Server, path: str, body: bytes) -> bytes:
    """One request as it goes over the wire."""
    key = f"authorization: Bearer {server.token}\r\n" if server.token else ""
    host = urlsplit(server.url).netloc
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{key}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def status_of(data: bytes) -> int:
    """The status of a whole answer; 0 while it is not whole."""
    end = data.find(_HEAD_END)
    if end < 0:
        return 0
    head = data[:end].lower()
    at = head.find(_LENGTH)
    length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return int(head[9:12]) if len(data) >= end + len(_HEAD_END) + length else 0


@dataclass(slots=True, eq=False)
class _Talk:
    """A connection and the request on it. due_s: on the clock of the run."""

    sock: socket.socket
    is_busy: bool = False
    due_s: float = 0.0
    got: bytes = b""


@dataclass(slots=True)
class _Tally:
    answered_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    told_when: int = 0
    lost: int = 0

    def count(self, talk: _Talk, status: int, now_s: float) -> None:
        """One whole answer."""
        if status == 200:
            self.answered_s.append(now_s - talk.due_s)
            return
        self.refused[status] = self.refused.get(status, 0) + 1
        self.told_when += b"\r\nretry-after:" in talk.got.lower()


class _Sender:
    """The connections, the free ones among them, and what is due and still here."""

    def __init__(self, server: Server, load: Load, connections: int) -> None:
        parts = urlsplit(server.url)
        self._address = (parts.hostname, parts.port)
        self._requests = [request_bytes(server, load.path, body) for body in load.bodies]
        self._epoll = select.epoll()
        self._talks: dict[int, _Talk] = {}
        self._free: list[_Talk] = []
        self._waiting: deque[float] = deque()
        self._tally = _Tally()
        self._sent = self._asked = self._begin = 0
        for _ in range(connections):
            self._connect()

    def run(self, due_s: list[float]) -> Open:
        """The whole schedule, and a while for the answers."""
        self._asked = len(due_s)
        self._begin = min(-(-self._asked // DECISIONS_A_UNIT), len(self._requests))
        self._acquaint(self._requests[: -self._begin])
        began = time.perf_counter()
        coming = deque(due_s)
        give_up_s = due_s[-1] + _DRAIN_S
        now_s = 0.0
        while coming or self._waiting or len(self._free) < len(self._talks):
            now_s = time.perf_counter() - began
            if now_s > give_up_s:
                break
            while coming and coming[0] <= now_s:
                self._waiting.append(coming.popleft())
            while self._waiting and self._free:
                self._send(self._waiting.popleft(), now_s)
            wait_s = max(coming[0] - (time.perf_counter() - began), 0.0) if coming else 0.1
            if select.select([self._epoll], [], [], wait_s)[0]:
                for fd, _ in self._epoll.poll(0):
                    self._receive(self._talks[fd], began)
        self._tally.lost += len(coming) + len(self._waiting) + len(self._talks) - len(self._free)
        return self._found(max(now_s, due_s[-1]))

    def close(self) -> None:
        """All connections."""
        for talk in self._talks.values():
            talk.sock.close()
        self._epoll.close()

    def _found(self, elapsed_s: float) -> Open:
        t = self._tally
        answered, late = np.array(t.answered_s) * 1e3, np.array(t.late_s) * 1e3
        return Open(answered, late, t.refused, t.told_when, t.lost, elapsed_s)

    def _connect(self) -> None:
        sock = socket.create_connection(self._address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talk = _Talk(sock)
        self._talks[sock.fileno()] = talk
        self._free.append(talk)
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _send(self, due_s: float, now_s: float) -> None:
        talk = self._free.pop()
        talk.due_s, talk.is_busy = due_s, True
        self._tally.late_s.append(now_s - due_s)
        try:
            talk.sock.sendall(self._next())
        except OSError:
            self._replace(talk)

    def _acquaint(self, requests: list[bytes]) -> None:
        """One decision of each, one after another, before the clock runs."""
        sock = next(iter(self._talks.values())).sock
        for request in requests:
            sock.sendall(request)
            got = b""
            while not status_of(got):
                more = sock.recv(1 << 16)
                if not more:
                    raise ConnectionError("the server hung up before the clock ran")
                got += more

    def _next(self) -> bytes:
        units = len(self._requests)
        begun = units - self._begin + 1 + self._sent * self._begin // self._asked
        at, self._sent = self._sent % begun, self._sent + 1
        return self._requests[at]

    def _receive(self, talk: _Talk, began: float) -> None:
        got = _received(talk.sock)
        if not got:
            self._replace(talk)
            return
        talk.got += got
        status = status_of(talk.got)
        if status:
            self._tally.count(talk, status, time.perf_counter() - began)
            talk.got, talk.is_busy = b"", False
            self._free.append(talk)

    def _replace(self, talk: _Talk) -> None:
        """The server closed the connection: what was on it is lost, and a new one takes its place."""
        if talk.is_busy:
            self._tally.lost += 1
        else:
            self._free.remove(talk)
        self._epoll.unregister(talk.sock.fileno())
        del self._talks[talk.sock.fileno()]
        talk.sock.close()
        self._connect()


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 16)
    except OSError:
        return b""
