"""Where a rollout stands: a fold over its events, which are never changed and never taken away."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal, get_args

Kind = Literal[
    "started", "advanced", "promoted", "rolled_back", "verdict", "approved", "paused", "resumed", "aborted"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
NOT_BEGUN = -1
"""The stage before the first: recorded, and no unit moved yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a rollout's history. stage: the one that it stands in after this. share: the treatment's.

    action, cause: of the verdict behind it; empty of what people did.
    """

    seq: int
    at_us: int
    kind: Kind
    stage: int
    share: float
    split_version: int
    actor: str
    reason: str = ""
    action: str = ""
    cause: str = ""
    evidence_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A rollout so far. since_us: when its experiment began; treatment: the arm that climbs.

    base_version: the split without the treatment that a rollback restores.
    """

    treatment: str
    since_us: int
    base_version: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """entered_us: when the stage's split took effect. paused_us: how long it was paused in this stage, over
    by now.

    paused_since_us: None while it goes on. approved_by: who agreed to what comes after this stage.
    said: action and cause of the last verdict.
    """

    stage: int = NOT_BEGUN
    entered_us: int = 0
    share: float = 0.0
    split_version: int = 0
    paused_us: int = 0
    paused_since_us: int | None = None
    approved_by: frozenset[str] = frozenset()
    is_promoted: bool = False
    ended: Kind | None = None
    said: tuple[str, str] = ("", "")
    seq: int = 0

    def in_stage_us(self, now_us: int) -> int:
        """How long the stage has lasted."""
        return max(0, now_us - self.entered_us)

    def counted_us(self, now_us: int) -> int:
        """The same without pauses: what its time-out goes by."""
        begun = now_us if self.paused_since_us is None else self.paused_since_us
        return max(0, self.in_stage_us(begun) - self.paused_us)


def standing(events: Iterable[Event]) -> Standing:
    """Where the rollout stands after its last event."""
    return reduce(_after, events, Standing())


def _after(at: Standing, event: Event) -> Standing:
    at = replace(at, seq=event.seq, said=(event.action, event.cause) if event.action else at.said)
    if event.kind in {"started", "advanced", "promoted"}:
        return _entered(at, event)
    if event.kind in {"rolled_back", "aborted"}:
        return replace(at, ended=event.kind, share=event.share, split_version=event.split_version)
    if event.kind == "approved":
        return replace(at, approved_by=at.approved_by | {event.actor})
    if event.kind == "paused" and at.paused_since_us is None:
        return replace(at, paused_since_us=event.at_us)
    if event.kind == "resumed":
        return _resumed(at, event)
    return at


def _entered(at: Standing, event: Event) -> Standing:
    """A new stage begins with nobody's approval for what follows it."""
    return replace(
        at,
        stage=event.stage,
        entered_us=event.at_us,
        share=event.share,
        split_version=event.split_version,
        paused_us=0,
        approved_by=frozenset(),
        is_promoted=event.kind == "promoted",
    )


def _resumed(at: Standing, event: Event) -> Standing:
    """Whoever resumes takes the split as it is: a hand that moved it meanwhile is accepted."""
    begun = at.paused_since_us
    taken = replace(at, split_version=event.split_version, share=event.share, paused_since_us=None)
    if begun is None:
        return taken
    return replace(taken, paused_us=at.paused_us + event.at_us - max(begun, at.entered_us))
