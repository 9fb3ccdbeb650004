"""How the arms differ in something beside the metric, watched from the start: for outcomes in [0, 1].

The sequence of the win metric (`stats.sequence`), at half of the level. The other half is a gambler's
(`stats.betting`): where all units of either arm came out alike the sequence has no variance to go by, and
two arms that differ in every single unit are the plainest difference there is. By the union bound both
together err with the whole level at most, at every look.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stats.betting import bet
from stats.boundary import p_from_log_e
from stats.centre import DECAY_PER_DAY, PRIOR_UNITS
from stats.design import Design
from stats.effect import MOST_UNLOGGED_SHARE, enough, interval
from stats.errors import DesignError, UnitsError
from stats.panel import Panel, panel_looks, panel_scores
from stats.scale import rate_variance, rho_of
from stats.sequence import MIN_EFFECTIVE_UNITS, Look
from stats.status import Metric, Status

Floats = npt.NDArray[np.float64]

PRIOR = 0.5
_HALVES = 2.0
_KIND: Metric = "profit_rate"  # one trial a unit, outcomes in [0, 1]: judged as this metric is
_ALIKE = "all units of an arm came out alike, and the arms differ: by bets on single units, no interval"
_SAME = "every unit of both arms came out alike: there is no variation to judge by"
_NO_UNIT = "no unit yet whose coin could have fallen either way"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Treatment minus control, by assigned arm. treatment, control: rates that differ by the estimate.

    low, high: contain the difference at every moment together, at 1 - level. p: always valid. A p without an
    interval stands where every unit of an arm came out alike; status is not ok: neither of them.
    """

    status: Status
    reason: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    treatment: float | None = None
    control: float | None = None

    def scaled(self, factor: float) -> "Watched":
        """The same in another unit."""
        return replace(
            self,
            estimate=_times(self.estimate, factor),
            low=_times(self.low, factor),
            high=_times(self.high, factor),
            treatment=_times(self.treatment, factor),
            control=_times(self.control, factor),
        )


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def watched(design: Design, panel: Panel, outcome: Floats, level: float) -> Watched:
    """On all units so far. outcome: of the panel's rows, in [0, 1]. level: error over all looks."""
    if not 0.0 < level < 1.0:
        raise DesignError(f"level is {level!r}: an error rate lies inside (0, 1)")
    if len(outcome) != len(panel.rows) or not np.all((outcome >= 0.0) & (outcome <= 1.0)):
        raise UnitsError("outcome needs one value in [0, 1] for each of the panel's rows")
    path = panel_looks(panel, outcome, PRIOR, PRIOR_UNITS, DECAY_PER_DAY)
    found = _unready(design, panel, path)
    if found is not None:
        return found
    begun = _begun(path[-1])
    alike = _alike(panel, outcome)
    if alike is not None:
        return _by_bets(begun, panel, outcome, alike)
    return _judged(begun, path, level / _HALVES, design)


def is_shown(found: Watched, level: float) -> bool:
    """Whether the arms differ, at that level and any number of looks."""
    return found.p is not None and found.p <= level and bool(found.estimate)


def _unready(design: Design, panel: Panel, path: list[Look]) -> Watched | None:
    every = panel.unlogged + len(panel.rows)
    if panel.unlogged > MOST_UNLOGGED_SHARE * every:
        reason = f"{panel.unlogged} of {every} units have no usable propensity; at most 0.1% may"
        return Watched(status="invalid_design", reason=reason)
    if not path or not path[-1].has_both:
        return Watched(status="not_ready", reason=_NO_UNIT)
    look = path[-1]
    if enough(look, _KIND):
        return None
    treated, controls = look.treatment.effective_units, look.control.effective_units
    reason = (
        f"{design.treatment} has {treated:.0f} and {design.control} {controls:.0f} effective units;"
        f" an interval needs {MIN_EFFECTIVE_UNITS:.0f} in each"
    )
    return replace(_begun(look), status="not_ready", reason=reason)


def _begun(look: Look) -> Watched:
    return Watched(
        status="ok",
        reason="valid at any look",
        estimate=look.effect,
        treatment=look.treatment.ratio + look.centre,
        control=look.control.ratio + look.centre,
    )


def _alike(panel: Panel, outcome: Floats) -> tuple[float, float] | None:
    """What every unit of (treatment, control) came out as; None where either arm's differ."""
    judged = panel.judged
    first = [float(outcome[int(np.argmax(judged & side))]) for side in (panel.treated, ~panel.treated)]
    if np.any((outcome != np.where(panel.treated, *first)) & judged):
        return None
    return first[0], first[1]


def _by_bets(begun: Watched, panel: Panel, outcome: Floats, alike: tuple[float, float]) -> Watched:
    treated, control = alike
    said = replace(begun, estimate=treated - control, treatment=treated, control=control)
    if treated == control:
        return replace(said, status="degenerate", reason=_SAME)
    return replace(said, reason=_ALIKE, p=min(1.0, _HALVES * bet(panel_scores(panel, outcome), PRIOR).p))


def _judged(begun: Watched, path: list[Look], half: float, design: Design) -> Watched:
    rho = rho_of(rate_variance(), design.v_plan_units, half)
    low, high = interval(path[-1], _KIND, rho, half)
    largest = max(look.log_e(rho) for look in path if enough(look, _KIND))
    return replace(begun, low=low, high=high, p=min(1.0, _HALVES * p_from_log_e(largest)))
