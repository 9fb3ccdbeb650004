"""Least squares with standard errors that hold without equal variances, and by cluster."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.errors import UnitsError
from stats.moments import group_sums

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SMALLEST = 1e-75  # the size of a column: its inverse squared is still a float


@dataclass(frozen=True, slots=True)
class Fit:
    """design: n rows, k columns. inverse: (X'X)^-1. leverage: diagonal of the hat matrix."""

    design: Floats
    coefficients: Floats
    residuals: Floats
    inverse: Floats
    leverage: Floats

    @property
    def free(self) -> int:
        """n - k."""
        return len(self.residuals) - len(self.coefficients)


def fit(design: Floats, outcome: Floats) -> Fit | None:
    """None when the columns do not determine the coefficients, one is as good as 0, or rows are too few."""
    if design.ndim != 2 or len(design) != len(outcome):
        raise UnitsError("design needs one row per outcome: give both with the same length")
    if design.shape[0] <= design.shape[1]:
        return None
    scale = np.sqrt((design**2).sum(axis=0))
    if not np.all(scale > SMALLEST):
        return None
    q, r = np.linalg.qr(design / scale)
    pivots = np.abs(np.diag(r))
    if pivots.min() <= 1e-12 * pivots.max():
        return None
    root = np.linalg.inv(r) / scale[:, None]
    coefficients = root @ (q.T @ outcome)
    return Fit(design, coefficients, outcome - design @ coefficients, root @ root.T, (q * q).sum(axis=1))


def equal_variance(found: Fit) -> Floats:
    """Covariance of the coefficients when every row has the same variance."""
    return float(np.sum(found.residuals**2)) / found.free * found.inverse


def hc1(found: Fit) -> Floats:
    """White 1980 x n/(n-k)."""
    return len(found.residuals) / found.free * _sandwich(found, found.design * found.residuals[:, None])


def hc2(found: Fit) -> Floats:
    """e^2 / (1 - h) (MacKinnon and White 1985): unbiased under equal variances. A row that decides a
    coefficient alone has no residual and counts 0.
    """
    room = 1.0 - found.leverage
    scaled = np.where(room > 1e-12, found.residuals / np.sqrt(np.maximum(room, 1e-12)), 0.0)
    return _sandwich(found, found.design * scaled[:, None])


def by_cluster(found: Fit, cluster: Ints) -> Floats:
    """Rows of a cluster may depend on each other: CR1, x G/(G-1) (n-1)/(n-k)."""
    names, at = np.unique(cluster, return_inverse=True)
    groups, rows = len(names), len(found.residuals)
    scores = found.design * found.residuals[:, None]
    summed = np.stack([group_sums(at, column, groups) for column in scores.T], axis=1)
    factor = groups / max(1, groups - 1) * (rows - 1) / found.free
    return factor * _sandwich(found, summed)


def by_two_clusters(found: Fit, one: Ints, other: Ints) -> Floats:
    """Dependence along either of two groupings (Cameron, Gelbach, Miller 2011): one + other - both."""
    _, crossed = np.unique(np.stack([one, other], axis=1), axis=0, return_inverse=True)
    return by_cluster(found, one) + by_cluster(found, other) - by_cluster(found, crossed.reshape(-1))


def error_of(covariance: Floats, column: int) -> float:
    """Standard error of one coefficient."""
    return math.sqrt(max(0.0, float(covariance[column, column])))


def _sandwich(found: Fit, scores: Floats) -> Floats:
    half = scores @ found.inverse
    result: Floats = half.T @ half
    return result
