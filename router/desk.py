"""Answers decisions: parse -> bind unit to arm -> run that arm's model -> journal -> reply."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from arms.protocol import Arm
from arms.schema import StateSchema
from router.asked import Asked, asked_of, checked_unit
from router.binding import Binder, Bound
from router.instants import instant_us
from router.journals import Journals
from router.kills import Kills
from router.known import Known
from router.problems import Problem, shown
from router.serving import Answer, Served, Silence, action_of, ask, chosen, fallback, no_answer
from router.snapshot import Snapshot, View
from router.wire import AssignReply, AssignRequest, DecideReply, DecideRequest, Probs
from store.clock import Clock
from store.records import Decision, Experiment

_ENCODE = msgspec.json.Encoder().encode
_ANSWERS_REMEMBERED = 20_000
_COMPLAINTS_REMEMBERED = 100
_LOG = logging.getLogger("abctl.router")

Answered = Known[tuple[str, str], tuple[str, bytes]]
"""(experiment, decision id) -> (unit, the reply's bytes)."""


def nothing_answered() -> Answered:
    """The memory of a fresh process."""
    return Known(_ANSWERS_REMEMBERED)


def nothing_said() -> "Known[str, bool]":
    """The complaints in a fresh process's log."""
    return Known(_COMPLAINTS_REMEMBERED)


@dataclass(slots=True)
class Desk:
    """One worker's desk. `snapshot`, `kills` and `arms` are replaced as a whole by the worker's loops."""

    snapshot: Snapshot
    kills: Kills
    arms: Mapping[str, Arm]
    schema: StateSchema
    binder: Binder
    journals: Journals
    clock: Clock
    default_experiment: str
    answered: Answered = field(default_factory=nothing_answered)
    said: "Known[str, bool]" = field(default_factory=nothing_said)

    async def decide(self, request: DecideRequest) -> bytes:
        """The reply's JSON. A decision id that this process answered before gets the same answer."""
        began_ns = time.perf_counter_ns()
        now_us = self.clock()
        view = self.open_view(request.experiment)
        experiment = view.experiment
        asked = asked_of(request, experiment, self.schema)
        known = self._known(experiment, asked)
        if known is not None:
            return known
        bound = await self.binder.bind(view, self.snapshot, asked.unit, asked.sent_us, now_us)
        known = self._known(experiment, asked)  # somebody may have asked the same during the wait
        if known is not None:
            return known
        served, answer = self._answer(experiment, bound, asked)
        latency_us = (time.perf_counter_ns() - began_ns) // 1000
        decision = decision_of(
            experiment, asked, bound, served, answer, (now_us, latency_us, self.schema.hash)
        )
        self.journals.append(experiment.key, decision)
        reply = _ENCODE(reply_of(decision))
        self.answered.put((experiment.key, asked.decision_id), (asked.unit, reply))
        return reply

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

    def _known(self, experiment: Experiment, asked: Asked) -> bytes | None:
        held = self.answered.get((experiment.key, asked.decision_id))
        if held is None:
            return None
        unit, reply = held
        if unit != asked.unit:
            rule = f"{asked.decision_id!r} was answered for unit {unit!r}; make a new id for every decision"
            raise Problem(409, "decision_id_reused", f"decision_id: {rule}", "decision_id")
        return reply

    def _answer(self, experiment: Experiment, bound: Bound, asked: Asked) -> tuple[Served, Answer]:
        """The served arm's answer; where it gives none the control's, and the decision says so."""
        served = chosen(self.kills, experiment, bound, asked.force_arm)
        found = ask(self.arms, served.arm, asked.history)
        if isinstance(found, Silence):
            self._complain(served.arm, found)
            served = fallback(self.kills, experiment, served, found)
            found = ask(self.arms, served.arm, asked.history)
        if isinstance(found, Silence):
            self._complain(served.arm, found)
            raise no_answer(served.arm, found)
        return served, found

    def _complain(self, arm: str, silence: Silence) -> None:
        """Logs each complaint once: every decision of a stand-in carries the reason anyway."""
        text = f"arm {arm} {silence.why}"
        if self.said.get(text) is None:
            self.said.put(text, True)
            _LOG.warning("%s", text)


def decision_of(
    experiment: Experiment,
    asked: Asked,
    bound: Bound,
    served: Served,
    answer: Answer,
    facts: tuple[int, int, str],
) -> Decision:
    """The record of a decision. facts: received at (us), latency (us), schema hash."""
    assigned = bound.assigned
    history = asked.history.astype("<f4", copy=False)
    action, action_propensity = action_of(experiment, answer, asked.decision_id)
    received_at_us, latency_us, schema = facts
    return Decision(
        decision_id=asked.decision_id,
        experiment=experiment.key,
        unit=asked.unit,
        bot=asked.bot,
        arm=assigned.arm,
        served_arm=served.arm,
        reason=served.reason,
        binding=bound.binding,
        split_version=assigned.split_version,
        weights=dict(assigned.weights),
        forced=served.forced,
        eligible=assigned.eligible,
        split_stale=bound.stale,
        received_at_us=received_at_us,
        started_at_us=bound.started_at_us,
        sent_started_at_us=asked.sent_us,
        as_of_us=asked.as_of_us,
        action=action,
        probs=answer.probs,
        value=answer.value,
        model=answer.model,
        schema=schema,
        state=history[-1].tobytes(),
        history_digest=blake2b(history.tobytes(), digest_size=8).digest(),
        history_used=answer.history_used,
        latency_us=latency_us,
        action_propensity=action_propensity,
    )


def reply_of(decision: Decision) -> DecideReply:
    """What the bot is told."""
    hold, buy, sell = decision.probs
    return DecideReply(
        decision_id=decision.decision_id,
        experiment=decision.experiment,
        unit=decision.unit,
        arm=decision.arm,
        served_arm=decision.served_arm,
        reason=decision.reason,
        binding=decision.binding,
        action=decision.action,
        probs=Probs(hold, buy, sell),
        value=decision.value,
        propensity=decision.weights,
        split_version=decision.split_version,
        split_stale=decision.split_stale,
        model=decision.model,
        history_used=decision.history_used,
        latency_us=decision.latency_us,
    )
