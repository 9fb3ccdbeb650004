"""What a bandit does at one look: a pure function of the experiment, its split, its line, evidence and time.

It moves its shares at most once an interval, and only on units that had matured by then. Whoever moved the
split by hand has the word until somebody resumes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from router.assignment import Split, millionths
from router.splits import share_millionths
from stats.bandit import ArmTotals, shares
from store.records import Experiment

Action = Literal["move", "hold"]
Cause = Literal["moved", "killed", "by_hand", "not_due", "broken", "same"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """totals: of each arm's mature units that could have come to any arm, as SQL held them at as_of_us.

    killed: arms that are killed now. broken: why the assignment cannot be believed, or empty.
    """

    as_of_us: int
    totals: Mapping[str, ArmTotals]
    killed: tuple[str, ...] = ()
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Last:
    """The bandit's last line: the split version that it made or took over, and when."""

    version: int
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """weights: the shares that the evidence asks for, in millionths; chances: of being the best, by arm.

    Both are there even where nothing moves.
    """

    action: Action
    cause: Cause
    reason: str
    weights: Mapping[str, int]
    chances: Mapping[str, float]
    due_us: int


def choose(e: Experiment, newest: Split, last: Last | None, seen: Evidence, now_us: int) -> Choice:
    """The first rule that applies decides."""
    found = shares(e.metric, [seen.totals[arm] for arm in e.arms], share_millionths(e.bandit_floor))
    weights = dict(zip(e.arms, found.millionths, strict=True))
    due_us = now_us if last is None else last.at_us + e.bandit_interval_s * 1_000_000
    owned = millionths(newest.ranges)
    is_same = all(owned.get(arm, 0) == count for arm, count in weights.items())

    def said(action: Action, cause: Cause, reason: str) -> Choice:
        chances = dict(zip(e.arms, found.chances, strict=True))
        return Choice(
            action=action, cause=cause, reason=reason, weights=weights, chances=chances, due_us=due_us
        )

    if seen.killed:
        return said("hold", "killed", f"{', '.join(seen.killed)} is killed: abctl split lift, or archive it")
    if last is not None and last.version != newest.version:
        return said("hold", "by_hand", _by_hand(newest))
    if seen.broken:
        return said("hold", "broken", seen.broken)
    if now_us < due_us:
        return said("hold", "not_due", f"the shares change at most every {e.bandit_interval_s:,} s")
    if is_same:
        return said("hold", "same", "the shares are those that the evidence asks for")
    return said("move", "moved", found.reason or _on(e, seen))


def _by_hand(newest: Split) -> str:
    return f"{newest.actor} moved the split by hand (version {newest.version}): abctl bandit resume takes it"


def _on(e: Experiment, seen: Evidence) -> str:
    units = sum(total.units for total in seen.totals.values())
    return f"chances to be the best by {e.metric} of {units:,} mature {e.unit_kind}s"
