"""From columns to what each unit brings: trials N and sum S of one metric, for one pair of arms."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stats.exact import exact_sum
from stats.status import Metric
from stats.units import Units

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """Pair units with a usable propensity, in maturity order. The metric of a set is sum S / sum N.

    sums are S - reference * N: money is shifted by a whole number of micro-USD, in int64, before it becomes
    float. unlogged: pair units left out because e is nan, or because e makes the assigned arm impossible.
    """

    day: npt.NDArray[np.int64]
    treated: npt.NDArray[np.bool_]
    traded: npt.NDArray[np.bool_]
    e: Floats
    trials: Floats
    sums: Floats
    reference: float
    unlogged: int

    @property
    def judged(self) -> npt.NDArray[np.bool_]:
        """Units whose coin could have fallen either way; the others say nothing about the pair."""
        return (self.e > 0.0) & (self.e < 1.0)

    def first(self, rows: int) -> "Scores":
        """Of the units that matured first."""
        return self.take(slice(rows))

    def take(self, rows: npt.NDArray[np.bool_] | slice) -> "Scores":
        """Of some units."""
        return replace(
            self,
            day=self.day[rows],
            treated=self.treated[rows],
            traded=self.traded[rows],
            e=self.e[rows],
            trials=self.trials[rows],
            sums=self.sums[rows],
        )


def pair_scores(units: Units, treatment: int, control: int, metric: Metric) -> Scores:
    """Scores of the units assigned to either arm; `treatment` and `control` are indices into the arms."""
    treated = units.arm == treatment
    kept = pair_rows(units, treatment, control)
    chosen = units if bool(kept.all()) else units.take(kept)
    reference, trials, sums = metric_columns(chosen, metric)
    return Scores(
        day=chosen.day,
        treated=treated[kept],
        traded=chosen.traded,
        e=chosen.e,
        trials=trials,
        sums=sums,
        reference=float(reference),
        unlogged=int(np.count_nonzero(treated | (units.arm == control)) - np.count_nonzero(kept)),
    )


def pair_rows(units: Units, treatment: int, control: int) -> npt.NDArray[np.bool_]:
    """Which units have scores: those of either arm whose propensity lets them be in it."""
    treated = units.arm == treatment
    return np.where(treated, units.e > 0.0, (units.arm == control) & (units.e < 1.0))


def metric_columns(units: Units, metric: Metric) -> tuple[int, Floats, Floats]:
    """(reference, N, S - reference * N) of every unit."""
    ones = np.ones(len(units))
    if metric == "win_rate":
        return 0, units.traded.astype(np.float64), (units.won & units.traded).astype(np.float64)
    if metric == "profit_rate":
        return 0, ones, units.won.astype(np.float64)
    reference = exact_sum(units.pnl_micro) // max(1, len(units))
    return reference, ones, (units.pnl_micro - reference).astype(np.float64)


def to_door(metric: Metric) -> float:
    """What a figure of this metric is multiplied with at the door: micro-USD become USD."""
    return 1e-6 if metric == "pnl" else 1.0
