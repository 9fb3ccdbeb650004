"""What the outcomes that never came could hide: the effect if they were all bad for one arm and good for
the other.

Worst-case bounds after Horowitz and Manski, JASA 2000. A 5% loss of losers in one arm alone fakes more than
a point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stats.arm_report import MICRO, ArmReport
from stats.design import Design
from stats.effect import Effect
from stats.units import ArmCounts, Units

SHOWN_ABOVE_SHARE = 0.005


@dataclass(frozen=True, slots=True)
class Span:
    """The least and the most one unit can bring: (0, 1) for a rate; for money the pair's extremes."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class MissingBounds:
    """Shifts of the effect: `worst` <= 0 (treatment's missing least, control's most), `best` >= 0. share_*:
    of the arm's units, counted; the shifts weigh a missing unit as the comparison weighs the others.
    """

    share_treatment: float
    share_control: float
    worst: float
    best: float

    @property
    def shown(self) -> bool:
        return max(self.share_treatment, self.share_control) > SHOWN_ABOVE_SHARE


def missing_of(
    design: Design,
    effect: Effect,
    arms: Mapping[str, ArmReport],
    counts: Mapping[str, ArmCounts],
    units: Units,
) -> MissingBounds:
    """Of one metric of the design's pair, at the door. units: the mature ones, with money's extremes."""
    pair = design.treatment, design.control
    counted = [
        _share(arm.missing, arm.traded if effect.metric == "win_rate" else arm.mature)
        for arm in (arms[name] for name in pair)
    ]
    weights = [counts.get(name, ArmCounts()).missing_weight for name in pair]
    worst, best = _shifts(effect, weights, _span(design, effect, units))
    return MissingBounds(counted[0], counted[1], min(0.0, worst), max(0.0, best))


def _shifts(effect: Effect, weights: Sequence[float], span: Span) -> tuple[float, float]:
    """How far missing units of these weights could move the effect; none while it has no estimate.

    Each arm's rate is R = sum aS / sum aN: units of weight w that bring x move it by w/(w + sum aN) (x - R).
    """
    treated, control, look = effect.adjusted_treatment, effect.adjusted_control, effect.look
    if treated is None or control is None or look is None:
        return 0.0, 0.0
    of_treatment = _share(weights[0], look.treatment.weight)
    of_control = _share(weights[1], look.control.weight)
    worst = of_treatment * (span.least - treated) - of_control * (span.most - control)
    best = of_treatment * (span.most - treated) - of_control * (span.least - control)
    return worst, best


def _share(missing: float, present: float) -> float:
    return missing / (missing + present) if missing > 0.0 else 0.0


def _span(design: Design, effect: Effect, units: Units) -> Span:
    if effect.metric == "pnl" and len(units):
        pnl = units.pnl_micro[np.isin(units.arm, design.pair)]
        if len(pnl):
            return Span(float(pnl.min()) / MICRO, float(pnl.max()) / MICRO)
    return Span(0.0, 1.0)
