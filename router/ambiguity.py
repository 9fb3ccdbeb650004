"""Whether it matters which start binds a unit: not where every start that may have bound it gives one arm."""

from router.assignment import Gate, History, assign
from router.snapshot import View

US = 1_000_000


def kept_s(view: View) -> int:
    """How long Redis keeps the start of a unit, in seconds."""
    experiment = view.experiment
    return experiment.lifetime_s + experiment.unit_duration_s + experiment.attribution_s


def matters(view: View, unit: str, now_us: int) -> bool:
    """Whether two processes could give the unit two arms, if each took the start that it was sent first.

    The range holds every start that any process accepted while Redis would still know it, and every one that
    is accepted before Redis has heard of this one: so it is wider by a skew than what is accepted now. Two
    starts of one unit may lie in two blocks of a switchback, each with a coin of its own.
    """
    if view.experiment.assignment == "switchback":
        return True
    back_s = kept_s(view) + view.tolerance.lifetime_s + 2 * view.tolerance.skew_s
    ahead_s = 2 * view.tolerance.skew_s
    from_us, to_us = now_us - round(back_s * US), now_us + round(ahead_s * US)
    return differs(view.gate, in_force_within(view.history, from_us, to_us), unit)


def in_force_within(history: History, from_us: int, to_us: int) -> History:
    """The versions in force at some time of [from_us, to_us], in order; never none."""
    stop = len(history)
    while stop > 1 and history[stop - 1].effective_at_us > to_us:
        stop -= 1
    start = stop - 1
    while start > 0 and history[start].effective_at_us > from_us:
        start -= 1
    return history[start:stop]


def differs(gate: Gate, versions: History, unit: str) -> bool:
    """Whether the unit's arm is not the same under all of these versions."""
    if len(versions) == 1:
        return False
    return len({assign(gate, (split,), unit, split.effective_at_us).arm for split in versions}) > 1
