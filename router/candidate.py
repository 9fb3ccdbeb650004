"""Asks a candidate what it would have done at the logged decisions of a unit, with what was sent then."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arms.logged_histories import UNKNOWN, lengths_of, windows_of
from arms.protocol import Arm
from arms.schema import StateSchema
from store.logged_actions import LoggedAction
from store.records import ACTIONS

Floats = NDArray[np.float64]
ActionRule = Literal["argmax", "sample"]
LeftOut = Literal["decisions_gone", "other_schema", "history_unknown"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A loaded model, the states it reads, and how its probabilities become an action."""

    arm: Arm
    schema: StateSchema
    rule: ActionRule


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows of decisions. wanted: the candidate's probabilities; possible: those under which the log was made,
    one-hot where the action was the argmax; propensity: the logged action's among them.
    """

    action: NDArray[np.int64]
    wanted: Floats
    possible: Floats
    propensity: Floats
    states: NDArray[np.float32]

    @property
    def target(self) -> Floats:
        """The candidate's probability of the logged action."""
        found: Floats = self.wanted[np.arange(len(self.action)), self.action]
        return found


def answered(unit: Sequence[LoggedAction], candidate: Candidate) -> Answered | LeftOut:
    """A word says why the unit must be left out. Raises ActError on an answer that is no probability."""
    width = candidate.schema.width * 4
    if any(a.schema_hash != candidate.schema.hash or len(a.state) != width for a in unit):
        return "other_schema"
    states = np.frombuffer(b"".join(a.state for a in unit), dtype="<f4").reshape(len(unit), -1)
    probs = []
    for _, group in groupby(range(len(unit)), key=lambda i: unit[i].bot):
        rows = list(group)
        found = _probs(states[rows], [unit[i].history_digest for i in rows], candidate.arm)
        if found is None:
            return "history_unknown"
        probs.append(found)
    action = np.array([ACTIONS.index(a.action) for a in unit], dtype=np.int64)
    possible = np.array([a.possible for a in unit])
    return Answered(
        action=action,
        wanted=_acting(np.concatenate(probs), candidate.rule),
        possible=possible,
        propensity=possible[np.arange(len(unit)), action],
        states=states,
    )


def _probs(states: NDArray[np.float32], digests: Sequence[bytes], arm: Arm) -> NDArray[np.float32] | None:
    """The arm's answers to one bot's decisions in one unit; None where what was sent is not known."""
    lengths = lengths_of(states, digests) if arm.window > 1 else np.ones(len(states), dtype=np.int64)
    if np.any(lengths == UNKNOWN):
        return None
    return np.array(arm.act(*windows_of(states, lengths, arm.window)).probs)


def _acting(probs: NDArray[np.float32], rule: ActionRule) -> Floats:
    """The first of the most probable, or shares that add up to 1: as a service acts."""
    if rule == "argmax":
        chosen: Floats = np.eye(len(ACTIONS))[probs.argmax(axis=1)]
        return chosen
    exact = probs.astype(np.float64)
    shares: Floats = exact / exact.sum(axis=1, keepdims=True)
    return shares
