"""The looks that were named beforehand, as they came: which units each saw, and what it may spend.

A look is taken as soon as the mature units hold its share of the planned information, sum e(1-e), the last
one at the plan's deadline if that comes first. Neither asks what the outcomes were, nor when anybody read a
report: a look sees the same units however late it is read, and no other moment is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.design import Design
from stats.group_sequential import (
    NEAREST_LOOKS,
    Boundaries,
    Spending,
    obrien_fleming_like,
    spending_boundaries,
)
from stats.scale import plan_information
from stats.scores import Scores

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class TakenLook:
    """planned: its share of the plan; fraction: what it held, at most 1. rows: how many of the scores it saw.

    units: those of them whose coin could have fallen either way. is_last: no look comes after it.
    """

    planned: float
    fraction: float
    rows: int
    units: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Ahead:
    """The next look. information: what is lacking until then, sum e(1-e)."""

    planned: float
    information: float


def taken_looks(design: Design, scores: Scores, closed_rows: int | None) -> tuple[TakenLook, ...]:
    """closed_rows: how many of the scores had matured by the deadline; None while that is ahead."""
    clock = np.cumsum(scores.e * (1.0 - scores.e)) / plan_information(design.v_plan_units)
    open_rows = len(clock) if closed_rows is None else closed_rows
    found: list[TakenLook] = []
    for planned in design.looks:
        row = int(np.searchsorted(clock, planned * (1.0 - _ROUNDING)))
        if row >= open_rows:
            break
        found = _with(found, _look(scores, clock, planned, row + 1))
    if closed_rows and not (found and found[-1].planned == 1.0):
        found = _with(found, _look(scores, clock, 1.0, closed_rows))
    return tuple(found)


def _look(scores: Scores, clock: npt.NDArray[np.float64], planned: float, rows: int) -> TakenLook:
    units = int(np.count_nonzero(scores.judged[:rows]))
    return TakenLook(planned, min(1.0, float(clock[rows - 1])), rows, units, is_last=planned == 1.0)


def _with(found: list[TakenLook], look: TakenLook) -> list[TakenLook]:
    """Two looks at nearly the same units are none more than one: the later of them is left out."""
    before = found[-1].fraction if found else 0.0
    return [*found, look] if look.fraction - before >= NEAREST_LOOKS else found


def next_look(
    design: Design, scores: Scores, taken: Sequence[TakenLook], closed_rows: int | None
) -> Ahead | None:
    """None once the last look is taken, or the deadline is over."""
    if closed_rows is not None or (taken and taken[-1].is_last):
        return None
    whole = plan_information(design.v_plan_units)
    held = float(np.sum(scores.e * (1.0 - scores.e)))
    ahead = [planned for planned in design.looks if planned * whole > held]
    return Ahead(ahead[0], ahead[0] * whole - held) if ahead else None


def boundaries_of(taken: Sequence[TakenLook], alpha: float) -> Boundaries:
    """Critical z of the taken looks, one-sided, O'Brien-Fleming-like (Lan and DeMets 1983); the last one may
    spend all that is left, whatever share of the plan it holds.
    """
    fractions = [look.fraction for look in taken]
    return spending_boundaries(fractions, alpha, _spending(taken), sided=1)


def _spending(taken: Sequence[TakenLook]) -> Spending:
    last = taken[-1]

    def spent(fraction: float, alpha: float) -> float:
        is_end = last.is_last and fraction >= last.fraction
        return alpha if is_end else obrien_fleming_like(fraction, alpha)

    return spent
