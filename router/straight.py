"""Plain decisions that came in one turn of the event loop, answered in it: without task, future or ASGI.

Plain is what nearly all are: a known key, a sound body, a start that binds without asking anybody, and an arm
of this thread that is well. Whatever is not plain goes the usual way (router/hot.py), which reads the same
body anew: every refusal is worded there alone, and nothing has been told or recorded before.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from router import metrics
from router.asked import asked_of
from router.body import Refusal, check_json, content_type_in, refusal_of
from router.decided import Placed
from router.desk import Desk
from router.door import Door
from router.hot import DECIDE, HOT_SCOPES
from router.overload import overloaded
from router.parsing import DecisionParser, brief_of
from router.problems import Problem
from router.serving import Answer, chosen
from router.wire import DecideRequest

Headers = Sequence[tuple[bytes, bytes]]
_NO_ROOM = refusal_of(overloaded())


class Call(Protocol):
    """A request to /v1/decide with its whole body. began_s: on the line-up's clock."""

    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> bytes: ...
    @property
    def began_s(self) -> float: ...

    def reply(self, body: bytes) -> None:
        """Sends the reply with status 200."""

    def refuse(self, refusal: Refusal) -> None:
        """Sends a refusal."""


class _Pair(NamedTuple):
    call: Call
    placed: Placed


class Straight:
    """Of one worker. Answers what it can; the rest is left to the usual way, in the order of coming."""

    def __init__(self, desk: Desk, door: Door) -> None:
        self._desk = desk
        self._door = door
        self._parser = DecisionParser(desk.schema)

    def answered(self, calls: Sequence[Call]) -> None:
        """Replies to the plain ones among them. Whom it does not reply to must go the usual way."""
        by_arm: dict[str, list[_Pair]] = {}
        ids: set[tuple[str, str]] = set()
        late: list[Call] = []
        for call in calls:
            if not self._desk.has_room():
                late.append(call)
                continue
            placed = self._placed(call)
            if placed is None or (key := (placed.experiment.key, placed.asked.decision_id)) in ids:
                continue
            ids.add(key)
            by_arm.setdefault(placed.served.arm, []).append(_Pair(call, placed))
            self._desk.at_once += 1
        for arm, pairs in by_arm.items():
            self._finish(arm, pairs)
        for call in late:
            self._refuse(call)

    def turn_over(self) -> None:
        """Until then those that were answered take up room: who comes too often is told so."""
        self._desk.at_once = 0

    def _placed(self, call: Call) -> Placed | None:
        try:
            grant = self._door.admit(call.headers, HOT_SCOPES[DECIDE])
            check_json(content_type_in(call.headers))
            request, history = self._parser.parsed(call.body)
            if not _is_plain(request):
                return None
            grant.check_experiment(request.experiment or self._desk.default_experiment)
            now_us = self._desk.clock()
            view = self._desk.open_view(request.experiment)
            if view.shadow is not None:
                return None
            asked = asked_of(request, history, view.experiment)
            if request.decision_id and not self._desk.is_new(view.experiment.key, request.decision_id):
                return None
            bound = self._desk.binder.bound_at_once(
                view, self._desk.snapshot, asked.unit, asked.sent_us, now_us
            )
            if bound is None:
                return None
            served = chosen(self._desk.kills, view.experiment, bound, None)
        except Problem:
            return None
        return Placed(view.experiment, asked, now_us, call.began_s, bound, served)

    def _refuse(self, call: Call) -> None:
        """Where there is no room, as `Desk.refuse` does; answers have been given by now, so nobody waits."""
        if not self._desk.is_full():
            return
        try:
            grant = self._door.admit(call.headers, HOT_SCOPES[DECIDE])
            check_json(content_type_in(call.headers))
            brief = brief_of(call.body)
            grant.check_experiment(brief.experiment or self._desk.default_experiment)
            if brief.force_arm is not None:
                return
            if not self._desk.is_refused_at_once(brief):
                return
        except Problem:
            return
        call.refuse(_NO_ROOM)
        metrics.observe_request(DECIDE, _NO_ROOM.status, self._desk.lineup.clock_s() - call.began_s)

    def _finish(self, arm: str, pairs: list[_Pair]) -> None:
        answers = self._desk.lineup.answered_at_once(arm, [pair.placed.asked.history for pair in pairs])
        if answers is None:
            self._desk.at_once -= len(pairs)
            return
        for (call, placed), answer in zip(pairs, answers, strict=True):
            self._reply(call, placed, answer)

    def _reply(self, call: Call, placed: Placed, answer: Answer) -> None:
        try:
            reply = self._desk.record(placed, answer)
        except Problem:
            self._desk.at_once -= 1
            return
        call.reply(reply)
        metrics.observe_request(DECIDE, 200, self._desk.lineup.clock_s() - call.began_s)


def _is_plain(request: DecideRequest) -> bool:
    return (
        request.deadline_ms is None
        and request.force_arm is None
        and request.quote is None
        and not request.explain
    )
