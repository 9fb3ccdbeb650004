"""Assigned beside served: what the arms look like if a unit counts for who answered it.

Who was answered by a stand-in is no accident (a busy or broken arm), so the served side is no fair
comparison: it describes, and shows how far the headline, by assignment, is diluted.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stats.arm_report import MICRO, share
from stats.design import Design, History
from stats.effect import Effect
from stats.exact import exact_sum
from stats.metric_effect import metric_effect
from stats.scores import pair_scores
from stats.units import Units

LABEL = "description, not evidence: who is answered by a stand-in is no coin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSide:
    """Mature units of an arm, by assignment or by who served them."""

    units: int
    win_rate: float | None
    profit_rate: float | None
    pnl_per_unit_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmServed:
    """decisions: of the mature units assigned to the arm; fallbacks: those of them that the control answered.

    mixed: units answered by both, which count on the assigned side only.
    """

    assigned: ArmSide
    served: ArmSide
    decisions: int
    fallbacks: int
    mixed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """estimate_*: treatment minus control of the design's metric (USD for pnl), overlap-weighted."""

    arms: dict[str, ArmServed]
    estimate_assigned: float | None
    estimate_served: float | None
    label: str = LABEL


def served(design: Design, units: Units, history: History, assigned: Effect) -> Served:
    """A unit all of whose decisions fell back counts for the control; one with some of them for nobody.
    assigned: the effect of the design's metric, as judged.

    Decisions that a force or a kill moved after a unit's first one count as the assigned arm's: unit totals
    do not tell them apart.
    """
    fell = units.fallbacks > 0
    wholly = fell & (units.fallbacks == units.decisions)
    control = design.arms.index(design.control)
    mixed = fell & ~wholly
    server = np.where(wholly, control, units.arm)
    arms = {}
    for index, arm in enumerate(design.arms):
        own = units.arm == index
        arms[arm] = ArmServed(
            assigned=_side(units, own),
            served=_side(units, (server == index) & ~mixed),
            decisions=exact_sum(units.decisions[own]),
            fallbacks=exact_sum(units.fallbacks[own]),
            mixed=int(np.count_nonzero(own & mixed)),
        )
    return Served(
        arms=arms,
        estimate_assigned=assigned.estimate,
        estimate_served=_estimate(design, replace(units, arm=server).take(~mixed), history),
    )


def _side(units: Units, own: npt.NDArray[np.bool_]) -> ArmSide:
    there, won, traded, both = (
        int(np.count_nonzero(own & rows)) for rows in (own, units.won, units.traded, units.won & units.traded)
    )
    return ArmSide(
        units=there,
        win_rate=share(both, traded),
        profit_rate=share(won, there),
        pnl_per_unit_usd=share(exact_sum(units.pnl_micro[own]), there * MICRO),
    )


def _estimate(design: Design, units: Units, history: History) -> float | None:
    scores = pair_scores(units, *design.pair, design.metric)
    return metric_effect(design, design.metric, scores, history).estimate
