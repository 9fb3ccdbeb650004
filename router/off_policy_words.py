"""What a screening says in words: what it is not, why it cannot say, and what would help."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stats.screening import Overlap
from stats.status import Status

LEFT_OUT_MOST = 0.1
"""A tenth: beyond it what is left is another population."""
EPISODES = (
    "screening only: a log shows neither fills that the candidate would have got nor markets that it would"
    " have moved; promote by an experiment"
)
DECISIONS = (
    "screening only, refused as evidence for a promotion: decisions of a unit change what comes next, and"
    " these weights do not know it; leave --per-decision out, or run an experiment"
)
MODELS = {
    "unit": "ridge on the state of the unit's first decision, fitted on the other four fifths of the units:"
    " what was known before any action only takes noise out",
    "decision": "ridge on the state, one per action, fitted on the other four fifths of the units",
}
_UNEXPLAINED = (
    "the reported trades do not add up to the reported result: what their single decisions brought is not"
    " known in full"
)
_LEFT_OUT = {
    "decisions_gone": "whose decisions are pruned or not all in SQL",
    "other_schema": "with states of another schema",
    "history_unknown": "of which the states before the newest are not in the log (a bot that asks at every"
    " tick leaves them there)",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether there is an answer, why not, and what would help."""

    status: Status
    reason: str = ""
    remedy: str = ""


def left_out(units: int, missing: Mapping[str, int]) -> Finding | None:
    """Where too many units cannot be weighed the rest may not be like them."""
    total = sum(missing.values())
    if total <= LEFT_OUT_MOST * (units + total):
        return None
    reason = f"{total:,} of {units + total:,} units cannot be weighed: {_words(missing)}"
    remedy = "let bots ask at every tick from their first, and keep decisions until they are screened"
    return Finding("invalid_design", reason, remedy)


def unexplained(units: int, odd: int) -> Finding | None:
    """Where trades are not reported one by one, single decisions have no reward."""
    if odd <= LEFT_OUT_MOST * units:
        return None
    remedy = "report every trade with the decision that opened it, or leave --per-decision out"
    return Finding("invalid_design", f"in {odd:,} of {units:,} units {_UNEXPLAINED}", remedy)


def overlapping(overlap: Overlap, argmax_share: float | None, arms: Sequence[str], per: str) -> Finding:
    """What the overlap says, with what would make it better for such a log."""
    if overlap.status == "ok":
        return Finding("ok")
    remedy = "log units under a policy that also does what the candidate does"
    if argmax_share:
        remedy = (
            f"{argmax_share:.1%} of the decisions were answered by the argmax: their propensity is 1, and no"
            ' other action could be logged. Log under action_rule = "sample", or give the candidate a small'
            " share of an experiment"
        )
    elif per == "unit" and overlap.units:
        only = f"screen on the units of one arm (--logged-by {' or '.join(arms)}), " if len(arms) > 1 else ""
        remedy = (
            f"weights multiply along an episode, so few keep one: {only}screen single decisions"
            " (--per-decision), or give the candidate a small share of an experiment"
        )
    return Finding(overlap.status, overlap.reason, remedy)


def warnings(missing: Mapping[str, int], odd: int, clipped: int) -> list[str]:
    """What a reader must know beside the numbers."""
    said = [f"left out: {_words(missing)}"] if any(missing.values()) else []
    if odd:
        said.append(f"in {odd:,} units {_UNEXPLAINED}")
    if clipped:
        said.append(f"{clipped:,} weights were cut: what they stand for counts for too little")
    return said


def _words(missing: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} units {_LEFT_OUT[word]}" for word, n in missing.items() if n)
