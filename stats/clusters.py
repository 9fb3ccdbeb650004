"""What each unit of one arm brought: the rows of every clustered method. Unit = cluster = row.

A ratio metric is sum S / sum N over units: decisions won over decisions, PnL over decisions; with N = 1 it is
a mean over units. Money is shifted by a reference common to both arms before it is added up, so that an
offset of 1e9 costs no digits.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stats.errors import UnitsError
from stats.moments import Moments, group_sums, grouped_moments

Floats = npt.NDArray[np.float64]

LARGEST = 1e75  # its fourth power is still a float
LARGEST_SUM = 1e90
FAR = 100.0
_SPARSEST = 4
"""Numbers for each row, at the most, to be used as they are."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """trials: N >= 0 of each unit. sums: S - reference * N. moments: of all units, weight 1 each."""

    trials: Floats
    sums: Floats
    reference: float = 0.0
    moments: Moments = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.trials) != len(self.sums):
            raise UnitsError(
                f"{len(self.trials)} trials for {len(self.sums)} sums: give one of each per unit"
            )
        for name, values in (("trials", self.trials), ("sums", self.sums)):
            if not np.all(np.abs(values) <= LARGEST_SUM):
                raise UnitsError(
                    f"{name} holds one that is not finite, or beyond 1e90: leave it out at the door"
                )
        if np.any(self.trials < 0.0):
            raise UnitsError("trials has a negative value: a unit has 0 or more")
        count = len(self)
        whole = grouped_moments(np.zeros(count, np.int64), 1, np.ones(count), self.trials, self.sums)[0]
        object.__setattr__(self, "moments", whole)

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def largest_share(self) -> float:
        """Share of the trials that the largest unit holds; 0 without any."""
        whole = float(self.trials.sum())
        return float(self.trials.max()) / whole if whole > 0.0 else 0.0

    @property
    def size(self) -> float:
        """The largest number per trial that went into the ratio."""
        largest = float(np.abs(self.sums).max()) * len(self) if len(self) else 0.0
        whole = float(self.trials.sum())
        return abs(self.reference) + (largest / whole if whole > 0.0 else 0.0)

    @property
    def effective(self) -> float:
        """(sum N)^2 / sum N^2: how many units of equal size these are worth (Kish)."""
        return self.moments.effective_units


def pair_of_values(treatment: Floats, control: Floats) -> tuple[Clusters, Clusters]:
    """(treatment, control), one value per unit."""
    check_finite("treatment", treatment)
    check_finite("control", control)
    reference = _level(treatment, control)
    treated, controls = (
        Clusters(np.ones(len(values)), values - reference, reference) for values in (treatment, control)
    )
    return treated, controls


def pair_of_rows(
    cluster: npt.NDArray[np.int64], treated: npt.NDArray[np.bool_], values: Floats
) -> tuple[Clusters, Clusters]:
    """(treatment, control) from decisions: the unit, the arm and the value of each. A unit has one arm.

    Quick where units are numbered from 0 without large gaps: their rows are added up without being sorted.
    """
    if not len(cluster) == len(treated) == len(values):
        raise UnitsError("cluster, treated and values differ in length: give one of each per decision")
    check_finite("values", values)
    at, units = _numbered(cluster)
    trials = np.bincount(at, minlength=units)
    of_treatment = np.bincount(at[treated], minlength=units)
    mixed = np.flatnonzero((of_treatment > 0) & (of_treatment < trials))
    if len(mixed):
        unit = cluster[at == mixed[0]][0]
        raise UnitsError(f"unit {unit} is in both arms: leave contaminated units out")
    is_treated, is_there = of_treatment > 0, trials > 0
    arms, sums = (is_treated, is_there & ~is_treated), group_sums(at, values, units)
    reference = _level(*(sums[arm] / trials[arm] for arm in arms))
    if reference:
        sums = group_sums(at, values - reference, units)
    treatment, control = (Clusters(trials[arm].astype(np.float64), sums[arm], reference) for arm in arms)
    return treatment, control


def _numbered(cluster: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Units as numbers from 0, and how many numbers there may be: as they are where they are such numbers."""
    if not len(cluster):
        return cluster, 0
    low, high = int(cluster.min()), int(cluster.max())
    if low >= 0 and high < _SPARSEST * len(cluster):
        return cluster, high + 1
    names, at = np.unique(cluster, return_inverse=True)
    return at, len(names)


def of_rows(cluster: npt.NDArray[np.int64], shifted: Floats, reference: float = 0.0) -> Clusters:
    """Decisions added up by unit; `shifted` are values - reference."""
    names, at = np.unique(cluster, return_inverse=True)
    ones = np.ones(len(cluster))
    return Clusters(group_sums(at, ones, len(names)), group_sums(at, shifted, len(names)), reference)


def check_finite(name: str, values: Floats) -> None:
    """Raise UnitsError unless all values are finite and of at most 1e75."""
    if len(values) and not -LARGEST <= values.min() <= values.max() <= LARGEST:  # NaN lies nowhere
        raise UnitsError(f"{name} holds a value that is not finite, or beyond 1e75: leave it out at the door")


def _level(treatment: Floats, control: Floats) -> float:
    """A level near both arms' values, the same when they swap places; 0 where it is small against their
    spread, so that counts stay whole.
    """
    arms = [values for values in (treatment, control) if len(values)]
    if not arms:
        return 0.0
    means = [float(values.mean()) for values in arms]
    spread = max(float(np.abs(values - mean).max()) for values, mean in zip(arms, means, strict=True))
    level = sum(means) / len(means)
    return level if abs(level) > FAR * spread else 0.0
