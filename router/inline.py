"""Runs the built-in arms in the worker's own thread, and batches what happens to be there: nobody waits.

Work-conserving: a run begins in the same turn of the event loop as the first history, and takes all that came
meanwhile; what comes during a run waits for the next. No timer delays anybody.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arms.onnx_runtime import OnnxArm
from arms.protocol import Arm
from router.serving import Answer, Silence
from router.station import EJECTED, MOVED, ROWS_MAX, TOO_LATE, Station, Waiting, answers_of, failed, padded

PATIENT_A_TURN = 16


@dataclass(frozen=True, slots=True)
class InlineArm:
    """A loaded arm and its place."""

    arm: Arm
    station: Station


class Inline:
    """The arms of one worker that share its thread, in turns. clock_s: monotonic."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._arms: dict[str, InlineArm] = {}
        self._is_due = False
        self._is_held = False
        self._next: asyncio.Handle | None = None
        self._patient: deque[asyncio.Future[None]] = deque()

    def serve(self, name: str, fresh: InlineArm) -> None:
        """Takes an arm in, or another model of it, which then answers what waits."""
        held = self._arms.get(name)
        if held is not None:
            fresh.station.inherit(held.station)
        self._arms[name] = fresh

    def remove(self, name: str) -> None:
        """Forgets an arm that is served elsewhere from now on."""
        held = self._arms.pop(name, None)
        if held is not None:
            held.station.dismiss(MOVED)

    def knows(self, name: str) -> bool:
        """Whether the arm is served here."""
        return name in self._arms

    def ask(
        self, name: str, history: NDArray[np.float32], deadline_s: float | None
    ) -> "asyncio.Future[Answer | Silence]":
        """The answer, soon; a silence at once where the arm is ejected or would be late."""
        station = self._arms[name].station
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer | Silence] = loop.create_future()
        if deadline_s is not None and self._clock_s() + self._wait_s(station) > deadline_s:
            answer.set_result(TOO_LATE)
        elif not station.breaker.admits():
            answer.set_result(EJECTED)
        else:
            station.put(Waiting(history, deadline_s, answer))
            self._schedule(loop)
        return answer

    def answered_at_once(self, name: str, histories: list[NDArray[np.float32]]) -> list[Answer] | None:
        """The answers of an arm of this thread that is well, else None. Who waits for it already comes first.

        An arm that fails is not held to account for it here: whoever asks it again does that.
        """
        each = self._arms.get(name)
        if each is None:
            return None
        while each.station.waiting:
            self._run(each)
        if each.station.breaker.state != "closed":
            return None
        answers: list[Answer] = []
        for first in range(0, len(histories), ROWS_MAX):
            began_s = self._clock_s()
            found = _tried(each.arm, histories[first : first + ROWS_MAX])
            if found is None:
                return None
            each.station.learn(len(found), self._clock_s() - began_s)
            answers += found
        return answers

    def is_idle(self) -> bool:
        """Whether nobody waits."""
        return not self._is_due

    @contextmanager
    def one_run(self) -> Generator[None]:
        """All that is asked inside of it goes into one run at its end."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            if self._is_due:
                self._turn()

    async def after_a_run(self) -> None:
        """Returns at once where nothing waits; else in the order of calls, PATIENT_A_TURN after each turn.

        For what must not crowd out answers when there is too much of it.
        """
        if self._is_due:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._patient.append(turn)
            await turn

    def _wait_s(self, station: Station) -> float:
        """Until a history that comes now would be answered: all that waits here, and its own run."""
        return sum(each.station.backlog_s() for each in self._arms.values()) + station.pace.expected_s(1)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_due:
            self._is_due = True
            if not self._is_held:
                self._next = loop.call_soon(self._turn)

    def _turn(self) -> None:
        """One run of each arm that has work; then whoever else is ready gets a turn.

        Takes the place of the one that is scheduled: two would each call a next one.
        """
        self._is_due = False
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for each in self._arms.values():
            if each.station.waiting:
                self._run(each)
        is_over = not any(each.station.waiting for each in self._arms.values())
        for _ in range(len(self._patient) if is_over else min(PATIENT_A_TURN, len(self._patient))):
            turn = self._patient.popleft()
            if not turn.done():
                turn.set_result(None)
        if not is_over:
            self._schedule(asyncio.get_running_loop())

    def _run(self, each: InlineArm) -> None:
        began_s = self._clock_s()
        batch = each.station.take(began_s)
        if batch:
            answers = acted(each.arm, batch)
            each.station.settle(batch, answers, self._clock_s() - began_s)


def _tried(arm: Arm, histories: list[NDArray[np.float32]]) -> list[Answer] | None:
    """Runs a batch; None where any of it failed."""
    try:
        if len(histories) == 1 and isinstance(arm, OnnxArm):
            return [_lone(arm, histories[0])]
        rows, lengths = padded(histories, arm.window)
        found = answers_of(arm.model, arm.act(rows, lengths), lengths.tolist())
    except Exception:  # noqa: BLE001 - whatever a runtime raises: who asks again is told
        return None
    answers = [each for each in found if isinstance(each, Answer)]
    return answers if len(answers) == len(histories) else None


def _lone(arm: OnnxArm, history: NDArray[np.float32]) -> Answer:
    hold, buy, sell, value = arm.act_one(history)
    return Answer(arm.model, (hold, buy, sell), value, min(len(history), arm.window))


def acted(arm: Arm, batch: list[Waiting]) -> list[Answer | Silence]:
    """Runs a batch; one that fails is run history by history, so that nobody pays for another's."""
    try:
        histories, lengths = padded([one.history for one in batch], arm.window)
        return answers_of(arm.model, arm.act(histories, lengths), lengths.tolist())
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises, the control answers
        if len(batch) > 1:
            return [acted(arm, [one])[0] for one in batch]
        return [failed(f"{type(error).__name__}: {error}")]
