"""What a bandit has lost so far by not having given every unit to the best arm. Pure.

Arms are compared by their inverse-propensity ratios (Hajek 1971), from the logged propensities: favoured
weeks do not count for the favoured arm. A plug-in without an interval: the best arm's level is the largest
of several estimates, so the loss is overstated, and never 0 by chance where arms are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.scores import metric_columns, to_door
from stats.status import Metric, Status
from stats.units import Units

Floats = npt.NDArray[np.float64]
FEWEST_TRIALS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """so_far: of all trials, what the best arm would have brought more, in wins or USD. even_split: the same
    if the trials had been divided evenly. levels, trials: by arm, in the order given.
    """

    status: Status
    reason: str = ""
    best: int | None = None
    levels: tuple[float | None, ...] = ()
    trials: tuple[int, ...] = ()
    so_far: float | None = None
    even_split: float | None = None


def regret(metric: Metric, units: Units, arms: int, own: Floats) -> Regret:
    """own: shape (units,), each unit's propensity of its own arm at binding, in (0, 1]."""
    reference, trials, sums = metric_columns(units, metric)
    rows = [np.flatnonzero((units.arm == arm) & (own > 0.0)) for arm in range(arms)]
    counts = tuple(int(trials[row].sum()) for row in rows)
    if min(counts) < FEWEST_TRIALS:
        why = f"an arm has {min(counts)} of the {FEWEST_TRIALS} trials that a level takes"
        return Regret(status="not_ready", reason=why, trials=counts)
    levels = [_level(sums[row], trials[row], own[row]) for row in rows]
    door, best = to_door(metric), max(range(arms), key=lambda arm: levels[arm])
    gaps = [(levels[best] - level) * door for level in levels]
    return Regret(
        status="ok",
        best=best,
        levels=tuple((level + reference) * door for level in levels),
        trials=counts,
        so_far=_lost(gaps, counts),
        even_split=_lost(gaps, [sum(counts) / arms] * arms),
    )


def _level(sums: Floats, trials: Floats, own: Floats) -> float:
    return float(np.sum(sums / own) / np.sum(trials / own))


def _lost(gaps: Sequence[float], trials: Sequence[float]) -> float:
    return float(sum(gap * count for gap, count in zip(gaps, trials, strict=True)))
