"""What promotion asks beside its bounds: whole weeks, days as the clusters, and stages that agree.

Nothing here spends alpha: who asks for more than the bounds promotes less often. A report and a rollout ask
the same; a rollout's plan says how many weeks.
"""

import math
from dataclasses import dataclass
from typing import Literal

from stats.status import Answer

ConditionName = Literal["cycles", "day_blocks", "stages_agree"]

WEEKLY_CYCLES = 2
AGREE_P = 0.01
"""Below this p (`stats.stage_pool.agreement`) stages disagree: what helps at 10% and harms at 50% has no one
effect."""
_DAYS_A_CYCLE = 7


@dataclass(frozen=True, slots=True)
class Condition:
    """answer: whether it holds; reason: what was found, and what has to be."""

    name: ConditionName
    answer: Answer
    reason: str


def weekly_cycles(days: int, wanted: int = WEEKLY_CYCLES) -> Condition:
    """days: with units of the comparison. A market has its weekends: an effect is to be seen in them too."""
    reason = f"{days} days are compared, of {wanted} whole weeks"
    return Condition("cycles", "yes" if days >= _DAYS_A_CYCLE * wanted else "no", reason)


def day_blocks(low: float | None, floor: float) -> Condition:
    """low: bound of the effect with whole days as its clusters, at the door (`stats.day_blocks`)."""
    said = "with days as the clusters the lower bound"
    if low is None or not math.isfinite(low):
        return Condition("day_blocks", "cannot say", f"{said} cannot be said: must lie above {floor:g}")
    reason = f"{said} is {low:+.4g}: must lie above {floor:g}"
    return Condition("day_blocks", "yes" if low > floor else "no", reason)


def stages_agree(effects: int, p: float | None) -> Condition:
    """effects: how many stages have one; p: that they agree. One effect has nothing to disagree with."""
    if effects < 2:
        reason = "fewer than two stages have an effect of their own, so none can disagree"
        return Condition("stages_agree", "yes", reason)
    if p is None or not math.isfinite(p):
        return Condition("stages_agree", "cannot say", "whether the stages agree cannot be said")
    agrees = p >= AGREE_P
    said = "do not contradict each other" if agrees else "do not agree"
    reason = f"the stages' effects {said} (p = {p:.2g} by Welch's test, {AGREE_P:g} or more is asked)"
    return Condition("stages_agree", "yes" if agrees else "no", reason)
