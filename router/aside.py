"""Serves an arm that is somebody else's code from a process of its own, with a hard limit on time.

A run that takes longer is ended with its process; the control answers meanwhile, and a fresh process starts.
"""

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from arms.aside import LENGTH, OK, SHAPE, Facts, Hello, framed, unpacked
from arms.errors import ArmError
from arms.protocol import Acted
from router.serving import Answer, Silence
from router.station import EJECTED, MOVED, TOO_LATE, Station, Waiting, answers_of, failed, padded, tell

LOAD_S = 60.0
_PAUSE_FIRST_S = 0.5
_PAUSE_MAX_S = 30.0
_LIVED_S = 10.0
_RESERVE_S = 0.002
"""What is left of a deadline for the control, when the arm did not make it."""
_PROGRAM = "from arms.aside import main; main()"
_LOG = logging.getLogger("abctl.router")


class Ended(Exception):
    """The process is gone, or talks nonsense."""


@dataclass(slots=True)
class AsideProcess:
    """A started process whose arm has loaded."""

    process: "subprocess.Popen[bytes]"
    link: socket.socket
    facts: Facts

    async def act(self, histories: NDArray[np.float32], lengths: NDArray[np.int64]) -> Acted:
        """One run. Raises ArmError with what the arm says, Ended where nothing can be said any more."""
        rows, window, width = histories.shape
        question = (
            SHAPE.pack(rows, window, width)
            + histories.astype("<f4").tobytes()
            + lengths.astype("<i8").tobytes()
        )
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self.link, framed(question))
            (length,) = LENGTH.unpack(await self._exactly(LENGTH.size))
            answer = await self._exactly(length)
        except OSError as error:
            raise Ended(f"its process ended: {error}") from error
        if answer[:1] != OK:
            raise ArmError(answer[1:].decode(errors="replace"))
        try:
            return unpacked(answer[1:], rows)
        except ValueError as error:
            raise Ended(f"its process talks nonsense: {error}") from error

    async def _exactly(self, count: int) -> bytes:
        loop, parts = asyncio.get_running_loop(), bytearray()
        while len(parts) < count:
            part = await loop.sock_recv(self.link, count - len(parts))
            if not part:
                raise Ended(f"its process ended with {self.process.poll()}")
            parts += part
        return bytes(parts)

    def kill(self) -> None:
        """Ends it at once, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self.link.close()


@dataclass(frozen=True, slots=True)
class AsideArm:
    """A loaded arm in a process of its own, and what starts another such process."""

    hello: Hello
    process: AsideProcess


def started(hello: Hello) -> AsideProcess:
    """Starts a process and waits until its arm has loaded; for a thread. Raises ArmError with the refusal."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        facts = _greeted(ours, hello)
    except BaseException:
        process.kill()
        process.wait()
        ours.close()
        raise
    ours.setblocking(False)
    return AsideProcess(process, ours, facts)


def _greeted(link: socket.socket, hello: Hello) -> Facts:
    link.settimeout(LOAD_S)
    try:
        link.sendall(framed(msgspec.msgpack.encode(hello)))
        with link.makefile("rb") as stream:
            head = stream.read(LENGTH.size)
            answer = stream.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""
    except TimeoutError:
        raise ArmError(f"it did not load within {LOAD_S:.0f} s") from None
    except OSError as error:
        raise ArmError(f"its process ended while it loaded: {error}") from error
    if answer[:1] == OK:
        return msgspec.msgpack.decode(answer[1:], type=Facts)
    raise ArmError(answer[1:].decode(errors="replace") or "its process ended while it loaded")


class Aside:
    """One arm of a worker. clock_s: monotonic."""

    def __init__(self, served: AsideArm, station: Station, clock_s: Callable[[], float]) -> None:
        self._hello = served.hello
        self._process: AsideProcess | None = served.process
        self._clock_s = clock_s
        self._task: asyncio.Task[None] | None = None
        self._started_s = clock_s()
        self._quick_ends = 0
        self._is_closed = False
        self.station = station

    def ask(
        self, history: NDArray[np.float32], deadline_s: float | None
    ) -> "asyncio.Future[Answer | Silence]":
        """The answer; a silence at once where the arm is ejected, being started, or would be late."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer | Silence] = loop.create_future()
        station, now_s = self.station, self._clock_s()
        if self._process is None:
            answer.set_result(MOVED)
        elif deadline_s is not None and now_s + station.backlog_s() + station.pace.expected_s(1) > deadline_s:
            answer.set_result(TOO_LATE)
        elif not station.breaker.admits():
            answer.set_result(EJECTED)
        else:
            self._put(loop, Waiting(history, deadline_s, answer), now_s)
        return answer

    def _put(self, loop: asyncio.AbstractEventLoop, one: Waiting, now_s: float) -> None:
        self.station.put(one)
        if one.deadline_s is not None:
            loop.call_later(max(0.0, one.deadline_s - now_s - _RESERVE_S), tell, one, TOO_LATE)
        if self._task is None:
            self._task = loop.create_task(self._work())

    async def _work(self) -> None:
        """Runs what waits, batch by batch, and starts a fresh process for one that was ended."""
        try:
            while self.station.waiting and self._process is not None:
                await self._run(self._process)
            if self._process is None and not self._is_closed:
                await self._restart()
        finally:
            self._task = None

    async def _run(self, process: AsideProcess) -> None:
        began_s = self._clock_s()
        batch = [one for one in self.station.take(began_s) if not one.answer.done()]
        if not batch:
            return
        try:
            answers = await self._answers(process, batch)
        except TimeoutError:
            answers = [_timeout(self._hello.limit_s)] * len(batch)
            self._end(process)
        except Ended as error:  # it also ends itself past its limit, and a busy loop may see that first
            is_late = self._clock_s() - began_s >= self._hello.limit_s
            answers = [_timeout(self._hello.limit_s) if is_late else failed(str(error))] * len(batch)
            self._end(process)
        self.station.settle(batch, answers, self._clock_s() - began_s)

    async def _answers(self, process: AsideProcess, batch: list[Waiting]) -> list[Answer | Silence]:
        """Of one run; where the arm fails, of one for each, so that nobody pays for another's history."""
        histories, lengths = padded([one.history for one in batch], process.facts.window)
        try:
            async with asyncio.timeout(self._hello.limit_s):
                acted = await process.act(histories, lengths)
        except ArmError as error:
            if len(batch) == 1:
                return [failed(str(error))]
            return [(await self._answers(process, [one]))[0] for one in batch]
        return answers_of(process.facts.model, acted, lengths.tolist())

    def _end(self, process: AsideProcess) -> None:
        process.kill()
        self._process = None
        lived_s = self._clock_s() - self._started_s
        self._quick_ends = self._quick_ends + 1 if lived_s < _LIVED_S else 1

    async def _restart(self) -> None:
        self.station.dismiss(MOVED)
        pause_s = min(_PAUSE_MAX_S, _PAUSE_FIRST_S * 2.0 ** min(self._quick_ends - 1, 20))
        while not self._is_closed:
            await asyncio.sleep(pause_s)
            try:
                process = await asyncio.to_thread(started, self._hello)
            except ArmError as error:
                _LOG.warning(
                    "the process of model %s could not be started again: %s", self.station.model, error
                )
                pause_s = min(_PAUSE_MAX_S, 2 * pause_s)
                continue
            self._take(process)
            return

    def _take(self, process: AsideProcess) -> None:
        if self._is_closed:
            process.kill()
        else:
            self._process, self._started_s = process, self._clock_s()

    def close(self) -> None:
        """Ends the process; what waits is told so."""
        self._is_closed = True
        self.station.dismiss(MOVED)
        if self._process is not None:
            self._process.kill()
            self._process = None


def _timeout(limit_s: float) -> Silence:
    return Silence("fallback:timeout", f"took longer than {limit_s * 1000:.0f} ms")
