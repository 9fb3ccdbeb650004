"""Answers decisions: parse -> bind unit to arm -> run that arm's model -> journal -> reply."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from arms.errors import ArmError, HistoryError
from arms.onnx_runtime import window_of
from arms.protocol import Arm
from arms.schema import StateSchema
from router.assignment import check_unit
from router.binding import Binder, Bound, problem_of
from router.errors import BadUnit
from router.instants import instant_us
from router.journals import Journals
from router.kills import Kills, is_killed
from router.known import Known
from router.problems import Problem, invalid
from router.snapshot import Snapshot, View
from router.wire import AssignReply, AssignRequest, DecideReply, DecideRequest, Probs
from store.clock import Clock
from store.records import ACTIONS, Decision, Experiment

HISTORY_ROWS_MAX = 64
_ID_BYTES_MAX = 128
_ENCODE = msgspec.json.Encoder().encode
_ANSWERS_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Served:
    """Whose model answers, and why it is not the assigned arm's where it is not."""

    arm: str
    reason: str
    forced: bool


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
    answered: "Known[str, tuple[str, bytes]]"

    async def decide(self, request: DecideRequest) -> bytes:
        """The reply's JSON. A decision id that this process answered before gets the same answer."""
        began = time.perf_counter_ns()
        now_us = self.clock()
        decision_id = checked_id(request.decision_id)
        view = self.view_of(request.experiment)
        unit = checked_unit(request.unit)
        known = self.answered.get(decision_id)
        if known is not None:
            return _same_answer(known, unit, view.experiment.key, decision_id)
        history = self._history_of(request.history)
        sent_us = None if request.started_at is None else instant_us(request.started_at, "started_at")
        bound = await self.binder.bind(view, self.snapshot, unit, sent_us, now_us)
        served = self._served(view.experiment, bound, request.force_arm)
        decision = self._act(request, view.experiment, bound, served, history)
        decision = msgspec.structs.replace(
            decision,
            decision_id=decision_id,
            received_at_us=now_us,
            latency_us=(time.perf_counter_ns() - began) // 1000,
        )
        self.journals.append(view.experiment.key, decision)
        reply = _ENCODE(reply_of(decision))
        self.answered.put(decision_id, (unit, reply))
        return reply

    async def assign(self, request: AssignRequest) -> bytes:
        """Which arm a unit has. Records nothing."""
        view = self.view_of(request.experiment)
        unit = checked_unit(request.unit)
        sent_us = None if request.started_at is None else instant_us(request.started_at, "started_at")
        bound = await self.binder.bind(view, self.snapshot, unit, sent_us, self.clock())
        return _ENCODE(
            AssignReply(
                experiment=view.experiment.key,
                unit=unit,
                arm=bound.assigned.arm,
                eligible=bound.assigned.eligible,
                binding=bound.binding,
                started_at_ms=bound.started_at_us // 1000,
                propensity=dict(bound.assigned.weights),
                split_version=bound.assigned.split_version,
                split_stale=bound.stale,
            )
        )

    def view_of(self, key: str | None) -> View:
        """The experiment asked for, or the default one."""
        wanted = self.default_experiment if key is None else key
        view = self.snapshot.views.get(wanted)
        if view is None:
            known = ", ".join(sorted(self.snapshot.views))
            raise Problem(
                404,
                "unknown_experiment",
                f"experiment: {wanted!r} does not exist; known are {known}",
                "experiment",
            )
        if view.experiment.archived_at_us is not None:
            raise Problem(
                409, "archived_experiment", f"experiment: {wanted!r} is archived and takes no decisions"
            )
        return view

    def _history_of(self, rows: list[list[float]]) -> NDArray[np.float32]:
        if len(rows) > HISTORY_ROWS_MAX:
            raise invalid(
                "history", f"has {len(rows)} rows, at most {HISTORY_ROWS_MAX}: send the newest ones"
            )
        try:
            return self.schema.history_of(rows)
        except HistoryError as error:
            text = str(error)
            field = text.split(" ")[0]
            raise Problem(422, "invalid_field", text, field) from error

    def _served(self, experiment: Experiment, bound: Bound, force_arm: str | None) -> Served:
        if force_arm is not None:
            if force_arm not in experiment.arms:
                known = ", ".join(experiment.arms)
                raise invalid(
                    "force_arm", f"{force_arm!r} is not an arm of {experiment.key}: use one of {known}"
                )
            if is_killed(self.kills, experiment.key, force_arm):
                raise Problem(
                    409,
                    "arm_killed",
                    f"force_arm: {force_arm!r} is killed; lift it with `abctl split lift`",
                    "force_arm",
                )
            return Served(force_arm, "forced", forced=True)
        arm = bound.assigned.arm
        if is_killed(self.kills, experiment.key, arm):
            return Served(self._stand_in(experiment), "killed", forced=True)
        return Served(arm, "assigned" if bound.assigned.eligible else "ineligible", forced=False)

    def _stand_in(self, experiment: Experiment) -> str:
        order = (experiment.control, *experiment.arms)
        alive = [a for a in order if not is_killed(self.kills, experiment.key, a)]
        if not alive:
            raise Problem(503, "all_arms_killed", "every arm is killed; lift one with `abctl split lift ARM`")
        return alive[0]

    def _act(
        self,
        request: DecideRequest,
        experiment: Experiment,
        bound: Bound,
        served: Served,
        history: NDArray[np.float32],
    ) -> Decision:
        """Runs the served arm; where it cannot answer the control does, and the decision says so."""
        try:
            return self._run(request, experiment, bound, served, history)
        except (ArmError, KeyError) as error:
            why = "fallback:no_model" if isinstance(error, KeyError) else "fallback:error"
            if served.arm == experiment.control:
                raise _no_answer(experiment.control, error) from error
            fallback = Served(experiment.control, why, served.forced)
            return self._act(request, experiment, bound, fallback, history)

    def _run(
        self,
        request: DecideRequest,
        experiment: Experiment,
        bound: Bound,
        served: Served,
        history: NDArray[np.float32],
    ) -> Decision:
        arm = self.arms[served.arm]
        padded, lengths = window_of(history, arm.window)
        acted = arm.act(padded, lengths)
        probs = acted.probs[0].tolist()
        newest = history[-1].astype("<f4", copy=False)
        return Decision(
            decision_id="",
            experiment=experiment.key,
            unit=request.unit,
            bot=checked_name(request.bot, "bot"),
            arm=bound.assigned.arm,
            served_arm=served.arm,
            reason=served.reason,
            binding=bound.binding,
            split_version=bound.assigned.split_version,
            weights=dict(bound.assigned.weights),
            forced=served.forced,
            eligible=bound.assigned.eligible,
            split_stale=bound.stale,
            received_at_us=0,
            started_at_us=bound.started_at_us,
            sent_started_at_us=bound.sent_us,
            as_of_us=None if request.as_of is None else instant_us(request.as_of, "as_of"),
            action=ACTIONS[probs.index(max(probs))],
            probs=(probs[0], probs[1], probs[2]),
            value=float(acted.value[0]),
            model=arm.model,
            schema=self.schema.hash,
            state=newest.tobytes(),
            history_digest=blake2b(history.astype("<f4", copy=False).tobytes(), digest_size=8).digest(),
            history_used=int(lengths[0]),
            latency_us=0,
        )


def new_known() -> "Known[str, tuple[str, bytes]]":
    """The memory of answers."""
    return Known(_ANSWERS_REMEMBERED)


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


def checked_unit(unit: str) -> str:
    """A unit that every store can hold."""
    try:
        return check_unit(unit)
    except BadUnit as error:
        raise problem_of(error) from error


def checked_name(name: str, field: str) -> str:
    """A bot's name or an id: printable, not blank, at most 128 bytes."""
    if not name.strip() or not name.isprintable() or len(name.encode()) > _ID_BYTES_MAX:
        raise invalid(
            field, f"must be 1 to {_ID_BYTES_MAX} bytes of printable text; send a shorter, plain name"
        )
    return name


def checked_id(decision_id: str | None) -> str:
    """The bot's decision id, or a new one that sorts by time."""
    if decision_id is not None:
        return checked_name(decision_id, "decision_id")
    return f"{time.time_ns() // 1_000_000:012x}{uuid.uuid4().hex[:20]}"


def _same_answer(known: tuple[str, bytes], unit: str, experiment: str, decision_id: str) -> bytes:
    held: dict[str, Any] = msgspec.json.decode(known[1])
    if known[0] != unit or held["experiment"] != experiment:
        raise Problem(
            409,
            "decision_id_reused",
            f"decision_id: {decision_id!r} was answered for unit {known[0]!r}; make a new id for every decision",
            "decision_id",
        )
    return known[1]


def _no_answer(control: str, error: Exception) -> Problem:
    why = "has no model; `abctl model promote` one" if isinstance(error, KeyError) else f"failed: {error}"
    return Problem(503, "no_answer", f"the control arm {control!r} {why}", retry_after_s=1)
