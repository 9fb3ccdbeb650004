"""One arm's place in a worker: what waits for it, how fast it is, whether it is fit to answer."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arms.onnx_runtime import ROW_SUM_TOLERANCE, window_of
from arms.protocol import Acted
from router.breaker import Breaker
from router.pace import Pace
from router.serving import Answer, Silence

ROWS_MAX = 32
"""Rows of a run. More would hardly be cheaper a row, and would keep the others waiting for longer."""


class Waiting(NamedTuple):
    """A history whose answer is awaited. deadline_s: on the worker's monotonic clock, if there is one."""

    history: NDArray[np.float32]
    deadline_s: float | None
    answer: "asyncio.Future[Answer | Silence]"


EJECTED = Silence("fallback:ejected", "kept failing and is out of service for a while; its log says why")
MOVED = Silence("fallback:starting", "is being started anew")
TOO_LATE = Silence("fallback:deadline", "would not answer before the deadline")


@dataclass(slots=True)
class Station:
    """model: content id of the artefact. window: how many states the arm reads."""

    model: str
    window: int
    pace: Pace
    breaker: Breaker
    waiting: deque[Waiting] = field(default_factory=deque)
    deadlines: int = 0

    def put(self, one: Waiting) -> None:
        """Lets a history wait."""
        self.waiting.append(one)
        self.deadlines += one.deadline_s is not None

    def inherit(self, other: "Station") -> None:
        """Takes over what waits at the place of the model before."""
        self.waiting, self.deadlines = other.waiting, other.deadlines

    def backlog_s(self) -> float:
        """How long the arm needs for all that waits."""
        full, rest = divmod(len(self.waiting), ROWS_MAX)
        full_s = full * self.pace.expected_s(ROWS_MAX) if full else 0.0
        return full_s + (self.pace.expected_s(rest) if rest else 0.0)

    def take(self, now_s: float) -> list[Waiting]:
        """The next batch: all that waits, up to ROWS_MAX, as far as none of it comes late by that.

        Who is late already is told so instead of being computed for nothing.
        """
        if not self.deadlines:
            count = min(ROWS_MAX, len(self.waiting))
            return [self.waiting.popleft() for _ in range(count)]
        batch: list[Waiting] = []
        earliest_s = np.inf
        while self.waiting and len(batch) < ROWS_MAX:
            due_s = self.waiting[0].deadline_s
            earliest_s = earliest_s if due_s is None else min(earliest_s, due_s)
            if now_s + self.pace.expected_s(len(batch) + 1) > earliest_s:
                if batch:
                    break
                tell(self._pop(), TOO_LATE)
                earliest_s = np.inf
                continue
            batch.append(self._pop())
        return batch

    def _pop(self) -> Waiting:
        one = self.waiting.popleft()
        self.deadlines -= one.deadline_s is not None
        return one

    def settle(self, batch: list[Waiting], answers: Sequence[Answer | Silence], seconds: float) -> None:
        """Answers a batch, and learns from how that went."""
        self.pace.note(len(batch), seconds)
        silent = sum(isinstance(answer, Silence) for answer in answers)
        if silent < len(answers):
            self.breaker.succeeded(len(answers) - silent)
        for _ in range(silent):
            self.breaker.failed()
        for one, answer in zip(batch, answers, strict=True):
            tell(one, answer)

    def learn(self, rows: int, seconds: float) -> None:
        """Of a run that went well and that nobody waited for."""
        self.pace.note(rows, seconds)
        self.breaker.succeeded(rows)

    def dismiss(self, silence: Silence) -> None:
        """Answers all that wait with the same silence."""
        while self.waiting:
            tell(self._pop(), silence)


def tell(one: Waiting, answer: Answer | Silence) -> None:
    """Answers, unless the caller no longer waits."""
    if not one.answer.done():
        one.answer.set_result(answer)


def padded(
    batch: "Sequence[NDArray[np.float32]]", window: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Histories as ([n,window,F] front-padded with zeros, [n] how many states are real)."""
    if len(batch) == 1:
        return window_of(batch[0], window)
    width = batch[0].shape[1]
    histories = np.zeros((len(batch), window, width), dtype=np.float32)
    lengths = np.empty(len(batch), dtype=np.int64)
    for row, one in enumerate(batch):
        newest = one[-window:]
        histories[row, window - len(newest) :] = newest
        lengths[row] = len(newest)
    return histories, lengths


def answers_of(model: str, acted: Acted, lengths: list[int]) -> list[Answer | Silence]:
    """One answer for each row; a row that is no answer is silence."""
    rows = zip(acted.probs.tolist(), acted.value.tolist(), lengths, strict=True)
    return [_answer(model, probs, value, length) for probs, value, length in rows]


def _answer(model: str, probs: list[float], value: float, length: int) -> Answer | Silence:
    hold, buy, sell = probs
    is_sound = min(probs) >= 0 and abs(hold + buy + sell - 1) <= ROW_SUM_TOLERANCE and value - value == 0
    if not is_sound:
        return failed("its answer is not three probabilities and a finite value")
    return Answer(model, (hold, buy, sell), value, length)


def failed(why: str) -> Silence:
    """An arm's fault."""
    return Silence("fallback:error", f"failed: {why}")
