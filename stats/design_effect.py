"""How much correlated decisions are worth: the intraclass correlation and the design effect."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.clusters import check_finite
from stats.errors import DesignError, UnitsError
from stats.moments import group_sums


@dataclass(frozen=True, slots=True)
class Correlation:
    """icc: share of a decision's variance that its unit explains, at least 0. size, cv: mean and coefficient
    of variation of a unit's decisions. effective: independent decisions that all are worth.
    """

    decisions: int
    units: int
    icc: float
    size: float
    cv: float

    @property
    def design_effect(self) -> float:
        return design_effect(self.size, self.icc, self.cv)

    @property
    def effective(self) -> float:
        return self.decisions / self.design_effect


def design_effect(size: float, icc: float, cv: float = 0.0) -> float:
    """Variance of a mean over clusters against that of as many independent decisions: 1 + ((1 + cv^2) m - 1)
    ICC (Eldridge, Ashby, Kerry 2006); at least 1.
    """
    if not (size >= 1.0 and 0.0 <= icc <= 1.0 and cv >= 0.0):
        raise DesignError(
            f"size {size!r}, icc {icc!r}, cv {cv!r}: give a size >= 1, an icc in [0, 1], a cv >= 0"
        )
    return 1.0 + ((1.0 + cv**2) * size - 1.0) * icc


def correlation(cluster: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> Correlation | None:
    """From decisions, by one-way analysis of variance (Donner 1986); None below two units, without a unit of
    two decisions, or without variation.
    """
    if len(cluster) != len(values):
        raise UnitsError(f"{len(cluster)} clusters and {len(values)} values: give one of each per decision")
    check_finite("values", values)
    names, at = np.unique(cluster, return_inverse=True)
    rows, units = len(values), len(names)
    if units < 2 or rows == units:
        return None
    centred = values - values.mean()
    sizes = group_sums(at, np.ones(rows), units)
    means = group_sums(at, centred, units) / sizes
    within = float(np.sum((centred - means[at]) ** 2)) / (rows - units)
    between = float(np.sum(sizes * (means - centred.mean()) ** 2)) / (units - 1)
    typical = (rows - float(np.sum(sizes**2)) / rows) / (units - 1)
    whole = between + (typical - 1.0) * within
    if whole <= 0.0:
        return None
    icc = min(1.0, max(0.0, (between - within) / whole))
    return Correlation(rows, units, icc, rows / units, float(sizes.std() / sizes.mean()))
