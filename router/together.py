"""Begins together what came in one turn of the event loop, and answers it together: without a task for each.

A task a request, a wake-up an answer and the turns between them cost as much as to parse a decision. Whatever
has to wait for something else than the arms' next run becomes a task as usual, and goes on where it stands.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator, MutableSet, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from router import straight
from router.station import ROWS_MAX

Course = Coroutine[Any, None, None]
Awaited = asyncio.Future[Any] | None
"""What a course waits for; None: the next turn of the loop."""
_LOG = logging.getLogger("abctl.router")


class Straight(Protocol):
    """What answers plain calls at once."""

    def answered(self, calls: "Sequence[Call]") -> None:
        """Replies to those that it can."""

    def turn_over(self) -> None:
        """Whatever came in this turn of the loop was begun or answered."""


class Call(straight.Call, Protocol):
    """One that may be answered straight."""

    @property
    def is_open(self) -> bool:
        """Whether it still waits: not answered, not gone, not on the usual way."""
        ...

    def go_usual_way(self) -> None:
        """Begins it as a course."""


class _Over:
    """A course has come to its end."""


_OVER = _Over()


class Together:
    """Of one worker. one_run: what asks arms inside of it is answered at its end, as far as a run can.

    A course must handle its own errors, and must not look for its task before it first waits: it has none.
    No two may first wait for one and the same future.
    """

    def __init__(
        self, one_run: Callable[[], AbstractContextManager[None]], straight: "Straight | None" = None
    ) -> None:
        self._one_run = one_run
        self._straight = straight
        self._calls: list[Call] = []
        self._coming: list[tuple[Course, MutableSet[asyncio.Task[None]]]] = []
        self._is_due = False

    def put(self, course: Course, tasks: MutableSet["asyncio.Task[None]"]) -> None:
        """Begins a course in this turn of the loop. tasks: will hold it where it becomes a task."""
        self._coming.append((course, tasks))
        self._schedule()

    def put_call(self, call: "Call") -> None:
        """Answers a call in this turn of the loop, or makes it go the usual way.

        A run's worth is answered at once: it is still in the core's cache.
        """
        self._calls.append(call)
        self._schedule()
        if len(self._calls) >= ROWS_MAX:
            self._go_straight()

    def _schedule(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._go)

    def _go(self) -> None:
        """Calls first: those that are left become courses of this same turn."""
        if self._calls:
            self._go_straight()
        self._is_due = False
        if self._coming:
            self._begin()
        if self._straight is not None:
            self._straight.turn_over()

    def _go_straight(self) -> None:
        calls, self._calls = [call for call in self._calls if call.is_open], []
        try:
            if self._straight is not None:
                self._straight.answered(calls)
        except Exception:  # noqa: BLE001 - a fault of ours: the usual way answers, or says that we failed
            _LOG.exception("decisions could not be answered straight, and go the usual way")
        for call in calls:
            if call.is_open:
                call.go_usual_way()

    def _begin(self) -> None:
        coming, self._coming = self._coming, []
        with self._one_run():
            awaited = [_step(course) for course, _ in coming]
        for (course, tasks), found in zip(coming, awaited, strict=True):
            goes_on = isinstance(found, asyncio.Future) and found.done()
            left = _step(course) if goes_on else found
            if not isinstance(left, _Over):
                task = asyncio.get_running_loop().create_task(_Rest(course, left))
                task.add_done_callback(tasks.discard)
                tasks.add(task)


def _step(course: Course) -> Awaited | _Over:
    try:
        awaited: Awaited = course.send(None)
    except StopIteration:
        return _OVER
    except Exception:  # noqa: BLE001 - one that broke its promise must not take the others with it
        _LOG.exception("a request that was begun with others failed")
        return _OVER
    return awaited


class _Rest(Coroutine[Any, Any, None]):
    """A course that has begun, as a task needs it: it first tells the task what the course waits for."""

    __slots__ = ("_awaited", "_course", "_has_told")

    def __init__(self, course: Course, awaited: Awaited) -> None:
        self._course = course
        self._awaited = awaited
        self._has_told = False

    def send(self, value: Any) -> Any:
        if not self._has_told:
            self._has_told = True
            return self._awaited
        return self._course.send(value)

    def throw(self, *error: Any) -> Any:
        self._has_told = True
        return self._course.throw(*error)

    def close(self) -> None:
        self._course.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._course.__await__()
