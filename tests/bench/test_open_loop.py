"""The generator of open-loop load, against a real socket whose behaviour is known."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest
from speed.bodies import Load
from speed.open_loop import opened, poisson, request_bytes, status_of
from speed.servers import Server

GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
BODY = b'{"unit":"u"}'

Answer = Callable[[int], bytes]
"""What the server says to its n-th request, counted over all connections; nothing: it hangs up."""


def serving(answer: Answer) -> AbstractContextManager[Server]:
    """As `serving_what`, for who looks at the number of a request alone."""
    numbers = iter(range(1_000_000))
    return serving_what(lambda _request: answer(next(numbers)))


@contextmanager
def serving_what(answer: Callable[[bytes], bytes]) -> Iterator[Server]:
    """One answer at a time over all connections, as one busy worker gives them."""
    lock = threading.Lock()

    def talk(sock: socket.socket) -> None:
        with sock:
            while request := sock.recv(1 << 16):
                with lock:
                    said = answer(request)
                if not said:
                    return
                sock.sendall(said)

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(sock,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield Server("known", f"http://127.0.0.1:{listener.getsockname()[1]}", {})
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def load(tmp_path) -> Load:
    return Load("/v1/decide", (BODY,), tmp_path / "unused")


def test_a_steady_server_answers_everything_soon(load: Load) -> None:
    with serving(lambda _n: GOOD) as server:
        run = opened(server, load, poisson(200, 0.5, seed=1), connections=8)
    assert (run.asked, len(run.answered_ms), run.refused, run.lost) == (100, 100, {}, 0)
    assert np.median(run.answered_ms) < 50


def test_a_stall_is_paid_for_by_all_that_were_due_in_it(load: Load) -> None:
    """A closed loop would see one slow request for each connection: coordinated omission."""

    def stalls_once(n: int) -> bytes:
        if n == 20:
            time.sleep(0.4)
        return GOOD

    with serving(stalls_once) as server:
        run = opened(server, load, np.arange(200) / 200, connections=2)
    assert run.lost == 0
    assert run.answered_ms.max() >= 390
    assert (run.answered_ms > 200).sum() >= 30  # those due in the first half of the stall


def test_units_begin_as_seldom_as_in_life(tmp_path) -> None:
    """Of 20 units 2 begin within 2,000 decisions; the others have had their first one before."""
    bodies = tuple(f'{{"unit":"u{i}"}}'.encode() for i in range(20))
    load = Load("/v1/decide", bodies, tmp_path / "unused")
    seen: list[bytes] = []

    def told(request: bytes) -> bytes:
        seen.append(request.split(b"\r\n\r\n", 1)[1])
        return GOOD

    with serving_what(told) as server:
        run = opened(server, load, np.arange(2000) / 20_000, connections=1)
    assert (len(seen), run.asked, run.lost) == (2018, 2000, 0)
    assert seen[:18] == list(bodies[:18])
    assert (seen.index(bodies[18]), seen.index(bodies[19])) == (18 + 18, 18 + 1019)
    assert set(seen[1100:]) == set(bodies)


def test_a_server_that_hangs_up_before_the_clock_runs_is_told(tmp_path) -> None:
    load = Load("/v1/decide", (BODY, BODY), tmp_path / "unused")
    with serving(lambda _n: b"") as server, pytest.raises(ConnectionError, match="before the clock"):
        opened(server, load, np.arange(10) / 1000, connections=1)


def test_refusals_are_no_answers_and_say_when_to_come_back(load: Load) -> None:
    with serving(lambda n: BUSY if n % 4 == 0 else GOOD) as server:
        run = opened(server, load, np.arange(100) / 1000, connections=4)
    assert (len(run.answered_ms), run.refused, run.told_when, run.lost) == (75, {503: 25}, 25, 0)


def test_a_connection_that_closes_is_a_loss_and_is_replaced(load: Load) -> None:
    with serving(lambda n: b"" if n == 10 else GOOD) as server:
        run = opened(server, load, np.arange(50) / 500, connections=1)
    assert (run.asked, run.lost, len(run.answered_ms)) == (50, 1, 49)


def test_requests_are_whole_and_carry_the_key() -> None:
    server = Server("x", "http://127.0.0.1:81", {}, "secret")
    head, body = request_bytes(server, "/v1/decide", BODY).split(b"\r\n\r\n")
    assert body == BODY
    assert b"\r\nauthorization: Bearer secret" in head
    assert b"\r\ncontent-length: 12" in head


@pytest.mark.parametrize(
    ("data", "status"),
    [(GOOD, 200), (BUSY, 503), (GOOD[:-1], 0), (GOOD[:20], 0), (b"", 0)],
    ids=["whole", "empty body", "body short", "head short", "nothing"],
)
def test_an_answer_counts_when_it_is_whole(data: bytes, status: int) -> None:
    assert status_of(data) == status


def test_the_schedule_has_the_rate_asked_for() -> None:
    due_s = poisson(1000, 20, seed=3)
    assert len(due_s) == 20_000
    assert due_s[-1] == pytest.approx(20, rel=0.05)
    assert np.array_equal(due_s, poisson(1000, 20, seed=3))
