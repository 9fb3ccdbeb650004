"""Do outcomes come as fast in either arm? An arm that holds its losers longer looks good while they are open.

Asked at ages that are fixed before the start, on units whose window has closed: had a unit's outcomes all
come by then (resolved at equal age), and how long did they take. If the treatment changes nothing about
delays, a unit's answers do not depend on its coin, so the score (A - e)(Y - m) has mean 0 whatever the market
does: the sequence of the win metric holds for each question, and its level is split over them.

Nothing here changes a verdict: only closed windows are judged there. It says why early numbers mislead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.design import Design
from stats.errors import DesignError, UnitsError
from stats.panel import panel_of
from stats.status import Status
from stats.watched import Watched, is_shown, watched
from stats.words import seconds

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_ATTRIBUTION_PARTS = (1 / 16, 1 / 4, 1.0)
_NO_UNIT = "no unit's window has closed yet: outcomes are compared at equal age"


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Not excluded units whose window has closed, in the order of their starts, one row each.

    arm: index into the arms. e: as in Units. day: of the window's end, never falling. taken_us: from a unit's
    start until all its bots had reported; -1 where they had not when the window closed.
    """

    arm: Ints
    e: Floats
    day: Ints
    taken_us: Ints

    def __post_init__(self) -> None:
        if len({len(self.arm), len(self.e), len(self.day), len(self.taken_us)}) != 1:
            raise UnitsError("arrivals have columns of different length: give one row per unit")
        if np.any(np.diff(self.day) < 0):
            raise UnitsError("arrivals.day falls from one row to the next: sort the units by their start")
        if np.any(self.e < 0) or np.any(self.e > 1):
            raise UnitsError("arrivals.e has a value outside [0, 1]: give the treatment's share, or nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """resolved: share of units whose outcomes had all come within age_s of their start, by arm."""

    age_s: float
    resolved: Watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """ages: by age; the last one is the whole window, and who is not resolved then is missing. delay_s: mean
    time from start to outcomes, that of missing ones counted as the whole window.

    level: of each question. p: always valid, over all questions. later: the arm whose outcomes are shown to
    come later. sentence: for people, where there is one.
    """

    status: Status
    reason: str
    units: int
    window_s: float
    level: float
    p: float | None
    later: str | None
    ages: tuple[Age, ...]
    delay_s: Watched
    sentence: str | None


def ages_of(unit_duration_s: float, attribution_s: float) -> tuple[float, ...]:
    """Seconds: half a unit's life, its end, and 1/16, 1/4 and all of the wait after it.

    Close together where outcomes come: soon after a unit's end. Of the experiment alone, so fixed before it.
    """
    if not (unit_duration_s >= 0.0 and attribution_s >= 0.0 and unit_duration_s + attribution_s > 0.0):
        raise DesignError("unit_duration_s and attribution_s are 0 or more, and one of them above 0")
    after = (unit_duration_s + part * attribution_s for part in _ATTRIBUTION_PARTS)
    return tuple(sorted({age for age in (unit_duration_s / 2.0, unit_duration_s, *after) if age > 0.0}))


def resolution(design: Design, arrivals: Arrivals, ages_s: Sequence[float]) -> Resolution:
    """ages_s: rising, above 0, fixed before the start; the last is the whole window."""
    if not ages_s or list(ages_s) != sorted(set(ages_s)) or ages_s[0] <= 0.0:
        raise DesignError("ages_s needs rising ages above 0 s: take those of `ages_of`")
    level = design.alpha / (len(ages_s) + 1)
    if len(arrivals.arm) == 0:
        return unjudged(design, ages_s, "not_ready", _NO_UNIT)
    panel = panel_of(design, arrivals.arm, arrivals.e, arrivals.day)
    taken_us, window_s = arrivals.taken_us[panel.rows], ages_s[-1]
    ages = tuple(
        Age(age_s=age_s, resolved=watched(design, panel, _resolved(taken_us, age_s), level))
        for age_s in ages_s
    )
    delay_s = watched(design, panel, _held_share(taken_us, window_s), level).scaled(window_s)
    return _told(design, len(panel.rows) + panel.unlogged, ages, delay_s)


def unjudged(design: Design, ages_s: Sequence[float], status: Status, reason: str) -> Resolution:
    """Where nothing can be asked, and why."""
    nothing = Watched(status=status, reason=reason)
    return Resolution(
        status=status,
        reason=reason,
        units=0,
        window_s=ages_s[-1],
        level=design.alpha / (len(ages_s) + 1),
        p=None,
        later=None,
        ages=tuple(Age(age_s=age_s, resolved=nothing) for age_s in ages_s),
        delay_s=nothing,
        sentence=None,
    )


def _resolved(taken_us: Ints, age_s: float) -> Floats:
    return ((taken_us >= 0) & (taken_us <= age_s * 1e6)).astype(np.float64)


def _held_share(taken_us: Ints, window_s: float) -> Floats:
    """How much of its window a unit's outcomes took."""
    return np.where(taken_us < 0, 1.0, np.clip(taken_us / (window_s * 1e6), 0.0, 1.0))


def _told(design: Design, units: int, ages: tuple[Age, ...], delay_s: Watched) -> Resolution:
    questions = len(ages) + 1
    asked = [*((age.age_s, age.resolved) for age in ages), (None, delay_s)]
    age_s, best = min(asked, key=lambda one: 2.0 if one[1].p is None else one[1].p)
    p = None if best.p is None else min(1.0, questions * best.p)
    is_later = is_shown(best, design.alpha / questions)
    return Resolution(
        status=best.status,
        reason=best.reason if p is None else f"p allows for {questions} questions and any number of looks",
        units=units,
        window_s=ages[-1].age_s,
        level=design.alpha / questions,
        p=p,
        later=_slower(design, age_s, best) if is_later else None,
        ages=ages,
        delay_s=delay_s,
        sentence=_sentence(design, age_s, best, p) if is_later and p is not None else None,
    )


def _slower(design: Design, age_s: float | None, found: Watched) -> str:
    """Whose outcomes come later: fewer are there at an age, or they take longer (age_s None)."""
    rises = (found.estimate or 0.0) > 0.0
    return design.treatment if rises == (age_s is None) else design.control


def _sentence(design: Design, age_s: float | None, found: Watched, p: float) -> str:
    slower = _slower(design, age_s, found)
    other = design.control if slower == design.treatment else design.treatment
    pair = (found.treatment or 0.0, found.control or 0.0)
    own, its = pair if slower == design.treatment else reversed(pair)
    return (
        f"{slower}'s outcomes come later than {other}'s: {_difference(design, age_s, own, its)}"
        f" (p = {p:.2g} over all questions and looks). Only {design.unit_name}s whose window has closed are"
        f" judged, so no verdict rests on it; numbers from open {design.unit_name}s would flatter"
        f" {slower} where it holds losers longer."
    )


def _difference(design: Design, age_s: float | None, own: float, its: float) -> str:
    if age_s is None:
        return f"{seconds(own)} after a {design.unit_name}'s start on average, against {seconds(its)}"
    shares = f"{100.0 * own:.1f}% had come, against {100.0 * its:.1f}%"
    return f"{seconds(age_s)} after a {design.unit_name}'s start {shares}"
