"""Whose model answers: the assigned arm, or another one with the reason why. Assigned is not served."""

from dataclasses import dataclass

import msgspec

from router.assignment import bucket
from router.binding import Bound
from router.kills import Kills, is_killed
from router.problems import Problem
from store.records import ACTIONS, Action, Experiment

_BUCKETS = 1_000_000


class Served(msgspec.Struct, frozen=True):
    """Whose model is to answer. forced: by a caller or a kill; a first decision then excludes the unit."""

    arm: str
    reason: str
    forced: bool


class Answer(msgspec.Struct, frozen=True):
    """What a model said. probs: of hold, buy, sell. history_used: how many real states it saw."""

    model: str
    probs: tuple[float, float, float]
    value: float
    history_used: int


@dataclass(frozen=True, slots=True)
class Silence:
    """Why an arm gave no answer. reason: what the decision of its stand-in will say."""

    reason: str
    why: str


def chosen(kills: Kills, experiment: Experiment, bound: Bound, force_arm: str | None) -> Served:
    """Who is to answer by assignment, force and kills."""
    if force_arm is not None:
        if is_killed(kills, experiment.key, force_arm):
            rule = f"force_arm: {force_arm!r} is killed; lift it with `abctl split lift {force_arm}`"
            raise Problem(409, "arm_killed", rule, "force_arm")
        return Served(force_arm, "forced", forced=True)
    arm = bound.assigned.arm
    if kills and is_killed(kills, experiment.key, arm):
        return Served(_stand_in(kills, experiment), "killed", forced=True)
    return Served(arm, "assigned" if bound.assigned.eligible else "ineligible", forced=False)


def _stand_in(kills: Kills, experiment: Experiment) -> str:
    order = (experiment.control, *experiment.arms)
    alive = [arm for arm in order if not is_killed(kills, experiment.key, arm)]
    if not alive:
        detail = "every arm is killed; lift one with `abctl split lift ARM`"
        raise Problem(503, "all_arms_killed", detail, retry_after_s=1)
    return alive[0]


def no_model(arm: str) -> Silence:
    """An arm that this worker has not loaded."""
    return Silence(
        "fallback:no_model", f"has no model; give it one with `abctl model promote ID --arm {arm}`"
    )


def fallback(kills: Kills, experiment: Experiment, served: Served, silence: Silence) -> Served:
    """The control in the place of an arm that gave no answer; 503 where it may not answer."""
    control = experiment.control
    if served.arm == control or is_killed(kills, experiment.key, control):
        raise no_answer(served.arm, silence)
    return Served(control, silence.reason, served.forced)


def no_answer(arm: str, silence: Silence) -> Problem:
    """503: nobody is left who could answer."""
    return Problem(503, "no_answer", f"arm {arm!r} {silence.why}", retry_after_s=1)


def action_of(experiment: Experiment, answer: Answer, decision_id: str) -> tuple[Action, float]:
    """The action and its propensity: the most probable one, or one drawn by a hash of the decision's id."""
    if experiment.action_rule == "argmax":
        return ACTIONS[answer.probs.index(max(answer.probs))], 1.0
    drawn = (bucket(f"{experiment.key}/action", decision_id) + 0.5) / _BUCKETS * sum(answer.probs)
    reached = 0.0
    for action, prob in zip(ACTIONS, answer.probs, strict=True):
        reached += prob
        if drawn < reached:
            return action, prob
    return ACTIONS[-1], answer.probs[-1]
