"""The waist of the comparison: weighted moments of one arm, which merge, so that days and shards add up.

A unit brings N trials and a centred sum R, with overlap weight a. Merging is Chan's (Chan, Golub, LeVeque
1983): spreads are taken around means, never from sums of squares, so a huge common offset costs no digits.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """weight = sum aN; ratio = sum aR / weight; square_weight = sum (aN)^2; pivot = sum a^2 N R /
    square_weight; spread = sum a^2 (R - pivot N)^2.
    """

    units: int = 0
    weight: float = 0.0
    ratio: float = 0.0
    square_weight: float = 0.0
    pivot: float = 0.0
    spread: float = 0.0

    @property
    def effective_units(self) -> float:
        """(sum w)^2 / sum w^2 with w = aN (Kish): how many equally weighted units these are worth."""
        return self.weight**2 / self.square_weight if self.square_weight > 0.0 else 0.0

    @property
    def ratio_variance(self) -> float:
        """Variance of `ratio`: K/(K-1) sum a^2 (R - ratio N)^2 / weight^2 (Deng, Knoblich, Lu, KDD 2018)."""
        residual = self.spread + self.square_weight * (self.ratio - self.pivot) ** 2
        return self.units / (self.units - 1) * residual / self.weight**2


def merge(left: Moments, right: Moments) -> Moments:
    """Moments of both sets of units together."""
    weight = left.weight + right.weight
    square_weight = left.square_weight + right.square_weight
    if weight == 0.0 or square_weight == 0.0:
        return Moments(units=left.units + right.units)
    gap = right.pivot - left.pivot
    share = right.square_weight / square_weight
    return Moments(
        units=left.units + right.units,
        weight=weight,
        ratio=left.ratio + (right.ratio - left.ratio) * (right.weight / weight),
        square_weight=square_weight,
        pivot=left.pivot + gap * share,
        spread=left.spread + right.spread + gap**2 * left.square_weight * share,
    )


def grouped_moments(
    group: npt.NDArray[np.int64], groups: int, weight: Floats, trials: Floats, sums: Floats
) -> list[Moments]:
    """Moments of each group 0..groups-1, in three passes. weight = a, trials = N, sums = R, by unit."""
    scaled = weight * trials
    units = np.bincount(group, minlength=groups)
    weights, square_weights = group_sums(group, scaled, groups), group_sums(group, scaled**2, groups)
    rough = _divide(group_sums(group, weight * sums, groups), weights)
    rest = weight * (sums - rough[group] * trials)
    ratios = rough + _divide(group_sums(group, rest, groups), weights)
    pivots = rough + _divide(group_sums(group, scaled * rest, groups), square_weights)
    spreads = group_sums(group, (weight * (sums - pivots[group] * trials)) ** 2, groups)
    columns = zip(units, weights, ratios, square_weights, pivots, spreads, strict=True)
    return [Moments(int(k), float(d), float(r), float(w), float(c), float(m)) for k, d, r, w, c, m in columns]


def group_sums(group: npt.NDArray[np.int64], values: Floats, groups: int) -> Floats:
    """Sum of `values` in each group 0..groups-1."""
    return np.bincount(group, values, groups).astype(np.float64, copy=False)


def _divide(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0.0)
