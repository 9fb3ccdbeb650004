"""Named looks on top of looking at any time: one error budget, in two parts.

The confidence sequence pays for every look that anybody might take. Who names a few looks beforehand buys
most of that power back: a part of alpha goes to them, by Lan and DeMets' spending, the rest to the sequence
at all other times. By the union bound the chance of any false alarm is at most alpha, however often the
sequence is looked at in between; the named looks must be at their times, whatever was seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stats.comparison import check_alpha
from stats.errors import DesignError
from stats.group_sequential import Boundaries, in_student_t, obrien_fleming_like, spending_boundaries
from stats.sequence import Look

NAMED_SHARE = 0.7
"""Of alpha for the named looks: at 0.6 to 0.8 the power at a design of 80% is within a point of the best."""


@dataclass(frozen=True, slots=True)
class Hybrid:
    """sequence_alpha: of the confidence sequence, two-sided. named: critical z of the named looks."""

    sequence_alpha: float
    named: Boundaries

    @property
    def alpha(self) -> float:
        """The chance of a false alarm is at most this."""
        return self.sequence_alpha + self.named.spent[-1]


def hybrid(fractions: Sequence[float], alpha: float = 0.05, named_share: float = NAMED_SHARE) -> Hybrid:
    """fractions: of the planned information at the named looks, the last one 1."""
    check_alpha(alpha)
    if not 0.0 < named_share < 1.0:
        raise DesignError(
            f"named_share is {named_share!r}: give the named looks a part of alpha inside (0, 1)"
        )
    named = spending_boundaries(fractions, named_share * alpha, obrien_fleming_like)
    return Hybrid(alpha - named.spent[-1], named)


def crosses(look: Look, plan: Hybrid, place: int) -> bool:
    """Whether the estimate leaves the band of a named look: z as a t on as many units as the smaller arm is
    worth, for its variance is estimated.
    """
    critical = plan.named.critical[place]
    if not (look.has_both and look.ready and look.error > 0.0) or math.isinf(critical):
        return False
    return abs(look.effect) > in_student_t(critical, look.smaller - 1.0) * look.error


def surprises(look: Look, plan: Hybrid, rho: float) -> bool:
    """Whether the sequence, with its part of alpha, excludes 0 at any other look."""
    if not (look.has_both and look.ready):
        return False
    return abs(look.effect) > look.half_width(rho, plan.sequence_alpha)
