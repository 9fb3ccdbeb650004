"""What the outcomes that never came could hide: the effect if they were all bad for one arm and good for
the other.

Worst-case bounds after Horowitz and Manski, JASA 2000. A 5% loss of losers in one arm alone fakes more than
a point.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stats.arm_report import MICRO, ArmReport
from stats.design import Design
from stats.effect import Effect
from stats.units import Units

SHOWN_ABOVE_SHARE = 0.005


@dataclass(frozen=True, slots=True)
class Span:
    """The least and the most one unit can bring: (0, 1) for a rate; for money the pair's extremes."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class MissingBounds:
    """Shifts of the effect: `worst` <= 0 (treatment's missing least, control's most), `best` >= 0."""

    share_treatment: float
    share_control: float
    worst: float
    best: float

    @property
    def shown(self) -> bool:
        return max(self.share_treatment, self.share_control) > SHOWN_ABOVE_SHARE


def missing_share(missing: int, present: int) -> float:
    return missing / (missing + present) if missing else 0.0


def missing_bounds(effect: Effect, share_treatment: float, share_control: float, span: Span) -> MissingBounds:
    """How far the missing units could move the effect. Zero shifts while the effect has no estimate."""
    treated, control = effect.adjusted_treatment, effect.adjusted_control
    if treated is None or control is None:
        return MissingBounds(share_treatment, share_control, 0.0, 0.0)
    worst = share_treatment * (span.least - treated) - share_control * (span.most - control)
    best = share_treatment * (span.most - treated) - share_control * (span.least - control)
    return MissingBounds(share_treatment, share_control, min(0.0, worst), max(0.0, best))


def missing_of(design: Design, effect: Effect, arms: Mapping[str, ArmReport], units: Units) -> MissingBounds:
    """Of one metric of the design's pair, at the door. units: the mature ones, with money's extremes."""
    shares = [
        missing_share(arm.missing, arm.traded if effect.metric == "win_rate" else arm.mature)
        for arm in (arms[design.treatment], arms[design.control])
    ]
    return missing_bounds(effect, shares[0], shares[1], _span(design, effect, units))


def _span(design: Design, effect: Effect, units: Units) -> Span:
    if effect.metric == "pnl" and len(units):
        pnl = units.pnl_micro[np.isin(units.arm, design.pair)]
        if len(pnl):
            return Span(float(pnl.min()) / MICRO, float(pnl.max()) / MICRO)
    return Span(0.0, 1.0)
