"""Units that two arms decided for: a few are named, many mean that the assignment does not hold."""

from collections.abc import Mapping, Sequence

from stats.design import Design
from stats.units import ArmCounts

MOST_SHARE = 0.01
FEWEST = 2


def contamination(design: Design, counts: Mapping[str, ArmCounts]) -> str | None:
    """Why the pair cannot be judged, or None up to 1% of its units (or a single one)."""
    found = spoiled([counts.get(arm, ArmCounts()) for arm in (design.treatment, design.control)])
    if found is None:
        return None
    bad, of = found
    return (
        f"{bad:,} of the pair's {of:,} {design.unit_name}s were assigned to two arms, more than 1%:"
        " find why an assignment changed within a unit before reading any other number"
    )


def contamination_of_all(counts: Mapping[str, ArmCounts]) -> str | None:
    """The same of all arms, where all of them are compared."""
    found = spoiled(list(counts.values()))
    if found is None:
        return None
    bad, of = found
    return f"{bad:,} of {of:,} units were assigned to two arms, more than 1%"


def spoiled(arms: Sequence[ArmCounts]) -> tuple[int, int] | None:
    """Contaminated units of how many; None where there are few enough."""
    found, total = sum(arm.contaminated for arm in arms), sum(arm.units for arm in arms)
    return None if found < FEWEST or found <= MOST_SHARE * total else (found, total)
