"""What others are told who move traffic themselves and ask abctl: promote, hold or roll back, and why.

The newest rollout speaks where there is one, else the report's gates. Who does not know says hold.
"""

from dataclasses import dataclass
from typing import Any, Literal

from router.rollout_steps import Recorded
from router.rollout_watch import Watch

Word = Literal["promote", "hold", "rollback"]
Hook = Literal[
    "confirm-rollout",
    "pre-rollout",
    "rollout",
    "confirm-traffic-increase",
    "confirm-promotion",
    "rollback",
]
"""Flagger's names, without those whose answer it does not heed."""
_YES: dict[Hook, frozenset[Word]] = {
    "confirm-promotion": frozenset({"promote"}),
    "rollback": frozenset({"rollback"}),
}
_PROMOTED = frozenset({("promote", "climb"), ("hold", "promoted")})
"""Last words of a rollout that is promoted, and has since found nothing that speaks against it."""
_UNLESS_HARM: frozenset[Word] = frozenset({"promote", "hold"})


@dataclass(frozen=True, slots=True)
class Advice:
    """The word, and why."""

    word: Word
    reason: str


def of_kill(treatment: str) -> Advice:
    """A killed arm gives its traffic back, whatever the evidence."""
    return Advice("rollback", f"{treatment} is killed")


def of_rollout(found: Recorded, watch: Watch) -> Advice:
    """What the newest rollout says. One that nobody looks at any more holds: its last word may be old."""
    at = found.at
    said = next((event.reason for event in reversed(found.events) if event.action), "")
    if at.ended == "rolled_back":
        return Advice("rollback", said)
    if at.ended == "aborted":
        return Advice("hold", "somebody ended the rollout")
    if watch.is_late:
        return Advice("hold", "nobody looks at the rollout: start abctl serve, or abctl rollout run")
    if watch.is_failing:
        return Advice("hold", watch.said)
    if at.paused_since_us is not None:
        return Advice("hold", "the rollout is paused")
    is_on = at.is_promoted and at.share > 0.0 and at.said in _PROMOTED
    return Advice("promote" if is_on else "hold", said or "the rollout was not looked at yet")


def of_report(report: dict[str, Any]) -> Advice:
    """What the gates of a report say, where there never was a rollout."""
    gates = report["gates"]
    if gates["rollback"]["answer"] == "yes":
        return Advice("rollback", gates["rollback"]["sentence"])
    if gates["may_promote"] == "yes":
        return Advice("promote", gates["promote"]["sentence"])
    return Advice("hold", report["verdict"]["reason"])


def rollout_shape(found: Recorded, watch: Watch) -> dict[str, Any]:
    """Where the newest rollout stands. stage: 1 for the first, 0 before it."""
    at = found.at
    return {
        "number": found.rollout.number,
        "treatment": found.rollout.treatment,
        "stage": at.stage + 1,
        "share": at.share,
        "verdict": at.said[0],
        "cause": at.said[1],
        "paused": at.paused_since_us is not None,
        "promoted": at.is_promoted,
        "ended": at.ended,
        "looked_s_ago": watch.age_s,
    }


def goes_on(hook: Hook, word: Word) -> bool:
    """Whether a hook of Flagger is answered with success. Of `rollback` that means: take the traffic back."""
    return word in _YES.get(hook, _UNLESS_HARM)
