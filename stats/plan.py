"""What is named before the first unit: how promotion is decided, at which looks, on how much evidence.

A plan that is made after data is no plan: an experiment that has records cannot be defined anew.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

GateKind = Literal["sequential", "planned", "hybrid"]

FIRST_LOOK = 0.2
"""Of the plan. Earlier a look has few clusters an arm, and their variance is not known well enough."""
NAMED_APART = 0.05
MOST_LOOKS = 10
FEWEST_UNITS, MOST_UNITS = 100, 10**9
MOST_MARGIN_USD = 1e7
"""The most that a unit can bring."""


def looks_fault(gate: GateKind, looks: Sequence[float]) -> str | None:
    """The rule that these looks break, and the remedy; None where they fit the gate.

    looks: shares of the planned information, rising, the last one 1; none for gate "sequential".
    """
    if gate == "sequential":
        return 'must be left out for gate = "sequential", which looks whenever it is asked' if looks else None
    if _are_looks(looks):
        return None
    return (
        f"must be 1 to {MOST_LOOKS} rising shares of the plan for gate = {gate!r}, the first at least"
        f" {FIRST_LOOK:g}, at least {NAMED_APART:g} apart, the last one 1, say [0.5, 0.75, 1.0]"
    )


def _are_looks(looks: Sequence[float]) -> bool:
    if not 1 <= len(looks) <= MOST_LOOKS or not all(map(math.isfinite, looks)):
        return False
    gaps = (after - before for before, after in pairwise(looks))
    return looks[0] >= FIRST_LOOK and looks[-1] == 1.0 and all(gap >= NAMED_APART - 1e-9 for gap in gaps)
