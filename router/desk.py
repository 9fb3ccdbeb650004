"""Answers decisions: parse -> bind unit to arm -> run that arm's model -> journal -> reply."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from arms.schema import StateSchema
from router import metrics
from router.asked import Asked, Claim, asked_of, checked_unit, claim_of
from router.binding import Binder, Bound
from router.decided import Placed, decision_of, digest_of, reply_of, unserved_of
from router.instants import instant_us
from router.journals import Journals
from router.kills import Kills, is_killed
from router.known import Known
from router.lineup import Lineup
from router.overload import OVERLOADED, Overload, overloaded
from router.problems import Problem, shown
from router.quotes import missing_quote
from router.serving import Answer, Served, Silence, chosen, fallback, no_answer
from router.shadow_job import job_of
from router.shadows import Shadows
from router.snapshot import Snapshot, View
from router.wire import AssignReply, AssignRequest, BriefRequest, DecideRequest
from store.clock import Clock
from store.records import Experiment

_ENCODE = msgspec.json.Encoder().encode
_ANSWERS_REMEMBERED = 20_000
_COMPLAINTS_REMEMBERED = 100
_REFUSALS_REMEMBERED = 20_000
_UNAVAILABLE = 503
_LOG = logging.getLogger("abctl.router")

Key = tuple[str, str]
"""(experiment, decision id)."""
History = NDArray[np.float32]
Answered = Known[Key, tuple[str, bytes, bytes]]
"""The unit, the reply's bytes, the digest of the history that it answers."""


def nothing_answered() -> Answered:
    """The memory of a fresh process."""
    return Known(_ANSWERS_REMEMBERED)


def nothing_said() -> "Known[str, bool]":
    """The complaints in a fresh process's log."""
    return Known(_COMPLAINTS_REMEMBERED)


def nothing_refused() -> "Known[tuple[str, str, str], bool]":
    """(experiment, unit, bot) of the decisions that a fresh process has refused."""
    return Known(_REFUSALS_REMEMBERED)


class Case(Placed):
    """One that is on its way."""

    answer: "asyncio.Future[Answer | Silence]"
    waiting: "list[asyncio.Future[None]]"
    """Who asked the same meanwhile; says which entry of `under_way` is this one's."""


@dataclass(slots=True)
class Desk:
    """One worker's desk. `snapshot` and `kills` are replaced as a whole by the worker's loops.

    at_once: decisions that this turn of the loop has answered straight (see router/straight.py).
    shadows: where ticks of shadow arms are let wait; None: nowhere.
    """

    snapshot: Snapshot
    kills: Kills
    lineup: Lineup
    schema: StateSchema
    binder: Binder
    journals: Journals
    overload: Overload
    clock: Clock
    default_experiment: str
    answered: Answered = field(default_factory=nothing_answered)
    said: "Known[str, bool]" = field(default_factory=nothing_said)
    refused: "Known[tuple[str, str, str], bool]" = field(default_factory=nothing_refused)
    under_way: "dict[Key, list[asyncio.Future[None]]]" = field(default_factory=dict)
    at_once: int = 0
    shadows: Shadows | None = None

    async def decide(self, request: DecideRequest, history: History, began_s: float) -> bytes:
        """The reply's JSON. A decision id that this process answered before gets the same answer.

        history: checked, newest last. began_s: when the request came, on the line-up's clock.
        """
        while True:
            case = await self.begin(request, history, began_s)
            if isinstance(case, Case):
                return await self.finish(case)
            if isinstance(case, bytes):
                return case
            await case

    async def begin(
        self, request: DecideRequest, history: History, began_s: float
    ) -> "Case | bytes | asyncio.Future[None]":
        """Checks, binds and asks the arm; `finish` must follow.

        The reply's bytes where this id was answered before; what ends with it where it is on its way.
        """
        now_us = self.clock()
        view = self.open_view(request.experiment)
        asked = asked_of(request, history, view.experiment)
        if view.shadow is not None and view.shadow.is_required and asked.book is None:
            raise missing_quote(view.shadow.arm)
        key = (view.experiment.key, asked.decision_id)
        known = self._known(key, asked.unit)
        if known is not None:
            return known
        twins = self.under_way.get(key)
        if twins is not None:
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            twins.append(ended)
            return ended
        self.under_way[key] = []
        try:
            bound = await self.binder.bind(view, self.snapshot, asked.unit, asked.sent_us, now_us)
            served = self._served(view.experiment, bound, asked, now_us)
        except BaseException:
            self._end(key)
            raise
        deadline_s = None if asked.budget_s is None else began_s + asked.budget_s
        is_control = served.arm == view.experiment.control
        answer = self.lineup.ask(served.arm, asked.history, None if is_control else deadline_s)
        waiting = self.under_way[key]
        return Case(view.experiment, asked, now_us, began_s, bound, served, answer, waiting)

    def drop(self, case: Case) -> None:
        """Ends a decision that will not be finished; nothing where it was."""
        key = (case.experiment.key, case.asked.decision_id)
        if self.under_way.get(key) is case.waiting:
            self._end(key)

    def is_full(self) -> bool:
        """Whether one more decision is refused."""
        return self.overload.load(len(self.under_way) + self.at_once + 1) == "refuse"

    def has_room(self) -> bool:
        """Whether one more decision is answered as assigned."""
        return self.overload.load(len(self.under_way) + self.at_once + 1) == "normal"

    def is_new(self, experiment: str, decision_id: str) -> bool:
        """Whether no decision of this id was answered here or is on its way, as far as is remembered."""
        key = (experiment, decision_id)
        return key not in self.under_way and self.answered.get(key) is None

    def record(self, placed: Placed, answer: Answer) -> bytes:
        """Journals an answered decision and remembers its reply; raises a Problem that leaves no trace."""
        decision = decision_of(placed, answer, self._elapsed_us(placed), self.schema.hash)
        self.journals.append(placed.experiment.key, decision)
        reply = _ENCODE(reply_of(decision))
        key = (placed.experiment.key, decision.decision_id)
        self.answered.put(key, (decision.unit, reply, decision.history_digest))
        return reply

    async def refuse(self, request: BriefRequest) -> bytes:
        """The reply where this id was answered before. Else raises: no room, though the unit is assigned.

        That is told after some have been answered: refusing all at once would leave no time for answers.
        """
        await self.lineup.after_a_run()
        now_us = self.clock()
        view = self.open_view(request.experiment)
        claim = claim_of(request, view.experiment)
        if request.decision_id is not None:
            known = self._known((view.experiment.key, request.decision_id), claim.unit)
            if known is not None:
                return known
        bound = await self.binder.bind(view, self.snapshot, claim.unit, claim.sent_us, now_us)
        raise self._no_room(view, claim, bound, now_us, request.force_arm)

    def is_refused_at_once(self, request: BriefRequest) -> bool:
        """Whether a decision was refused for want of room, as `refuse` does: one that is new, and whose unit
        binds without asking anybody. Who was refused before is in the journal already."""
        now_us = self.clock()
        view = self.open_view(request.experiment)
        claim = claim_of(request, view.experiment)
        if request.decision_id and not self.is_new(view.experiment.key, request.decision_id):
            return False
        if not self.kills and self.refused.get((view.experiment.key, claim.unit, claim.bot)):
            return True
        bound = self.binder.bound_at_once(view, self.snapshot, claim.unit, claim.sent_us, now_us)
        if bound is None:
            return False
        self._no_room(view, claim, bound, now_us, request.force_arm)
        return True

    def _no_room(self, view: View, claim: Claim, bound: Bound, now_us: int, force_arm: str | None) -> Problem:
        """The refusal for want of room, recorded; raises another one where the arm may not serve anyway."""
        chosen(self.kills, view.experiment, bound, force_arm)
        return self._unserved(view.experiment, claim, bound, now_us, overloaded())

    def _unserved(
        self, experiment: Experiment, claim: Claim, bound: Bound, now_us: int, problem: Problem
    ) -> Problem:
        """The refusal, once the journal knows that the unit is assigned: one record a unit and bot.

        A refusal that is the caller's own fault leaves none. A full journal takes none; the refusal stays.
        """
        key = (experiment.key, claim.unit, claim.bot)
        if problem.status == _UNAVAILABLE and self.refused.get(key) is None:
            record = unserved_of(experiment, claim, bound, now_us, problem.code, self.kills)
            with suppress(Problem):
                self.journals.append(experiment.key, record)
                self.refused.put(key, True)
        return problem

    async def finish(self, case: Case) -> bytes:
        """Waits for the answer, journals it, and remembers the reply."""
        key = (case.experiment.key, case.asked.decision_id)
        try:
            answer = await case.answer
            if isinstance(answer, Silence):
                answer = await self._stand_in(case, answer)
            reply = self.record(case, answer)
            self._shadow(case, answer)
            return reply
        finally:
            self._end(key)

    def _shadow(self, case: Case, answer: Answer) -> None:
        """Lets the shadow arm wait for its turn, where one may run and the decision has a quote."""
        view = self.snapshot.views.get(case.experiment.key)
        if view is None or view.shadow is None or self.shadows is None:
            return
        if is_killed(self.kills, case.experiment.key, view.shadow.arm or ""):
            return
        job = job_of(view.shadow, case, answer)
        if job is not None:
            self.shadows.take(job)

    def _served(self, experiment: Experiment, bound: Bound, asked: Asked, now_us: int) -> Served:
        """Who is to answer, by assignment, force, kills and load; raises where nobody is."""
        load = self.overload.load(len(self.under_way) + self.at_once)
        if load == "refuse":
            raise self._unserved(experiment, asked.claim, bound, now_us, overloaded())
        try:
            served = chosen(self.kills, experiment, bound, asked.force_arm)
            if load == "control" and served.arm != experiment.control:
                return fallback(self.kills, experiment, served, OVERLOADED)
        except Problem as problem:
            self._unserved(experiment, asked.claim, bound, now_us, problem)
            raise
        return served

    async def _stand_in(self, case: Case, silence: Silence) -> Answer:
        """The control's answer in the place of an arm that gave none; it takes what time it needs."""
        self._complain(case.served.arm, silence)
        try:
            case.served = fallback(self.kills, case.experiment, case.served, silence)
            found = await self.lineup.ask(case.served.arm, case.asked.history, None)
            if isinstance(found, Silence):
                self._complain(case.served.arm, found)
                raise no_answer(case.served.arm, found)
        except Problem as problem:
            self._unserved(case.experiment, case.asked.claim, case.bound, case.received_at_us, problem)
            raise
        return found

    def _elapsed_us(self, case: Placed) -> int:
        elapsed_s = self.lineup.clock_s() - case.began_s
        if case.asked.budget_s is not None and elapsed_s > case.asked.budget_s:
            metrics.count_late()
        return round(elapsed_s * 1e6)

    def _end(self, key: Key) -> None:
        """A decision is no longer on its way; who waits for it asks again."""
        for ended in self.under_way.pop(key):
            if not ended.done():
                ended.set_result(None)

    async def assign(self, request: AssignRequest) -> bytes:
        """Which arm a unit has. Records nothing."""
        view = self.open_view(request.experiment)
        unit = checked_unit(request.unit)
        sent_us = None if request.started_at is None else instant_us(request.started_at, "started_at")
        bound = await self.binder.bind(view, self.snapshot, unit, sent_us, self.clock())
        served = chosen(self.kills, view.experiment, bound, None)
        return _ENCODE(
            AssignReply(
                experiment=view.experiment.key,
                unit=unit,
                arm=bound.assigned.arm,
                served_arm=served.arm,
                reason=served.reason,
                eligible=bound.assigned.eligible,
                binding=bound.binding,
                started_at_ms=bound.started_at_us // 1000,
                propensity=dict(bound.assigned.weights),
                split_version=bound.assigned.split_version,
                split_stale=bound.stale,
            )
        )

    def view_of(self, key: str | None) -> View:
        """The experiment asked for, or the default one; archived ones too, for their outcomes come late."""
        wanted = self.default_experiment if key is None else key
        view = self.snapshot.views.get(wanted)
        if view is None:
            known = ", ".join(sorted(self.snapshot.views))
            rule = f"experiment: {shown(wanted)} does not exist; known are {known}"
            raise Problem(404, "unknown_experiment", rule, "experiment")
        return view

    def open_view(self, key: str | None) -> View:
        """The experiment asked for, which takes decisions."""
        view = self.view_of(key)
        if view.experiment.archived_at_us is not None:
            rule = f"experiment: {view.experiment.key!r} is archived and takes no decisions; name another one"
            raise Problem(409, "archived_experiment", rule, "experiment")
        return view

    def is_answer_to(self, key: Key, history: History) -> bool:
        """Whether the decision of this id was made of this very history, as far as is remembered."""
        held = self.answered.get(key)
        return held is not None and held[2] == digest_of(history)

    def _known(self, key: Key, unit: str) -> bytes | None:
        held = self.answered.get(key)
        if held is None:
            return None
        first_unit, reply, _ = held
        if first_unit != unit:
            rule = f"{key[1]!r} was answered for unit {first_unit!r}; make a new id for every decision"
            raise Problem(409, "decision_id_reused", f"decision_id: {rule}", "decision_id")
        return reply

    def _complain(self, arm: str, silence: Silence) -> None:
        """Logs each complaint once: every decision of a stand-in carries the reason anyway."""
        text = f"arm {arm} {silence.why}"
        if self.said.get(text) is None:
            self.said.put(text, True)
            _LOG.warning("%s", text)
