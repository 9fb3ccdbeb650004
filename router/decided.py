"""What is kept of a decision and what is said of it: its record, its reply, and the record of a refusal."""

from hashlib import blake2b

import msgspec
import numpy as np
from numpy.typing import NDArray

from router.asked import Asked, Claim
from router.binding import Bound
from router.kills import Kills, is_killed
from router.serving import Answer, Served, action_of
from router.wire import DecideReply, Probs
from store.records import Decision, Experiment, Unserved

History = NDArray[np.float32]


class Placed(msgspec.Struct):
    """A decision that has its arm. received_at_us: wall clock. began_s: on the line-up's clock."""

    experiment: Experiment
    asked: Asked
    received_at_us: int
    began_s: float
    bound: Bound
    served: Served


def decision_of(case: Placed, answer: Answer, latency_us: int, schema: str) -> Decision:
    """The record of a decision. schema: hash of the states' schema."""
    asked, bound, served = case.asked, case.bound, case.served
    assigned = bound.assigned
    history = asked.history.astype("<f4", copy=False)
    action, action_propensity = action_of(case.experiment, answer, asked.decision_id)
    return Decision(
        decision_id=asked.decision_id,
        experiment=case.experiment.key,
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
        received_at_us=case.received_at_us,
        started_at_us=bound.started_at_us,
        sent_started_at_us=asked.sent_us,
        as_of_us=asked.as_of_us,
        action=action,
        probs=answer.probs,
        value=answer.value,
        model=answer.model,
        schema=schema,
        state=history[-1].tobytes(),
        history_digest=digest_of(history),
        history_used=answer.history_used,
        latency_us=latency_us,
        action_propensity=action_propensity,
    )


def digest_of(history: History) -> bytes:
    """Tells histories apart in the log."""
    return blake2b(history.tobytes(), digest_size=8).digest()


def unserved_of(
    experiment: Experiment, claim: Claim, bound: Bound, now_us: int, reason: str, kills: Kills
) -> Unserved:
    """The record of a decision that was refused. reason: the problem's code."""
    killed = not claim.is_forced and is_killed(kills, experiment.key, bound.assigned.arm)
    assigned = bound.assigned
    return Unserved(
        experiment=experiment.key,
        unit=claim.unit,
        bot=claim.bot,
        arm=assigned.arm,
        reason=reason,
        split_version=assigned.split_version,
        weights=dict(assigned.weights),
        forced=claim.is_forced or killed,
        eligible=assigned.eligible,
        split_stale=bound.stale,
        received_at_us=now_us,
        started_at_us=bound.started_at_us,
        sent_started_at_us=claim.sent_us,
        killed=killed,
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
