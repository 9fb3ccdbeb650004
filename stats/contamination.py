"""Units that two arms decided for: a few are named, many mean that the assignment does not hold."""

from collections.abc import Mapping

from stats.design import Design
from stats.units import ArmCounts

MOST_SHARE = 0.01
FEWEST = 2


def contamination(design: Design, counts: Mapping[str, ArmCounts]) -> str | None:
    """Why the pair cannot be judged, or None up to 1% of its units (or a single one)."""
    pair = [counts.get(arm, ArmCounts()) for arm in (design.treatment, design.control)]
    spoiled, total = sum(arm.contaminated for arm in pair), sum(arm.units for arm in pair)
    if spoiled < FEWEST or spoiled <= MOST_SHARE * total:
        return None
    return (
        f"{spoiled:,} of the pair's {total:,} {design.unit_name}s were assigned to two arms, more than 1%:"
        " find why an assignment changed within a unit before reading any other number"
    )
