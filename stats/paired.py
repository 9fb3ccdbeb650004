"""Two arms on the same units, one of them on paper: the mean difference a unit, watched from the start.

What both arms share, the market above all, falls out of a difference; what units of one window share does
not, so the window is the cluster. The bound is the asymptotic confidence sequence of Waudby-Smith, Arbour,
Sinha, Kennedy and Ramdas (Annals of Statistics 52, 2024) for the residuals of whole clusters, S - mean N, as
in the delta method for a ratio (Deng, Knoblich, Lu, KDD 2018): it holds at every look together. No coin is
needed: its law is that clusters come independently around one mean. That is an assumption about the market,
not a design, which is why paper may open a stage and never carries an arm beyond it.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats import boundary
from stats.comparison import check_alpha
from stats.errors import UnitsError
from stats.skewness import UNITS_PER_SQUARE
from stats.status import Status

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
LEAST_CLUSTERS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """In the unit of the differences. low, high: contain the mean at every look together, at 1 - alpha.

    p: two-sided, always valid: 1 / (largest E since the 20th cluster). Where status is not ok all three are
    None and reason says why.
    """

    status: Status
    reason: str
    units: int
    clusters: int
    estimate: float | None = None
    error: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def paired(differences: Floats, cluster: Ints, plan_clusters: float, alpha: float = 0.05) -> Paired:
    """Mean difference of units, float64[n], in clusters, int64[n] (clusters in the order of their numbers).

    plan_clusters: where the bound is tightest, fixed beforehand. Laws: swapping the arms turns the sign,
    another unit of money scales, and the order of units within a cluster means nothing.
    """
    check_alpha(alpha)
    if len(differences) != len(cluster) or not np.isfinite(differences).all():
        raise UnitsError("differences must be finite, one cluster for each: leave out units that are void")
    path = _Path.of(differences, cluster)
    units, clusters = len(differences), len(path.count)
    if clusters < LEAST_CLUSTERS:
        return Paired(
            status="not_ready",
            reason=f"{clusters} of at least {LEAST_CLUSTERS} windows",
            units=units,
            clusters=clusters,
            estimate=path.mean if units else None,
        )
    return _judged(path, units, boundary.tuned_rho(plan_clusters, alpha), alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedLow:
    """low: what the mean lies above at every look together, at 1 - level; None where status is not ok."""

    status: Status
    reason: str
    clusters: int
    estimate: float | None
    low: float | None = None


def paired_low(differences: Floats, cluster: Ints, plan_clusters: float, level: float) -> PairedLow:
    """The mean from below, one-sided: the half-normal mixture (Howard et al. 2021) on the scale of `paired`,
    with which it shares arguments, laws and the reasons to say nothing.
    """
    found = paired(differences, cluster, plan_clusters, level)
    clusters, estimate = found.clusters, found.estimate
    if found.status != "ok" or estimate is None or found.error is None:
        return PairedLow(status=found.status, reason=found.reason, clusters=clusters, estimate=estimate)
    rho = boundary.tuned_rho_one_sided(plan_clusters, level)
    each = found.error / math.sqrt(clusters)
    low = estimate - each * boundary.radius_one_sided(float(clusters), rho, level)
    return PairedLow(status="ok", reason="", clusters=clusters, estimate=estimate, low=low)


@dataclass(frozen=True, slots=True)
class _Path:
    """Sums and counts of clusters, float64[K] each, in their order."""

    total: Floats
    count: Floats

    @classmethod
    def of(cls, differences: Floats, cluster: Ints) -> "_Path":
        names, at = np.unique(cluster, return_inverse=True)
        total, count = (np.bincount(at, column, len(names)) for column in (differences, np.ones(len(at))))
        return cls(total.astype(np.float64), count.astype(np.float64))

    @property
    def mean(self) -> float:
        """A unit's."""
        return float(self.total.sum() / self.count.sum())

    @property
    def residuals(self) -> Floats:
        """Around the mean, float64[K]."""
        found: Floats = self.total - self.mean * self.count
        return found


def _judged(path: _Path, units: int, rho: float, alpha: float) -> Paired:
    clusters, mean, residuals = len(path.count), path.mean, path.residuals
    spread = math.sqrt(float(residuals @ residuals) / (clusters - 1))
    if spread <= 1e-12 * float(np.abs(path.total).max(initial=0.0)) or spread == 0.0:
        reason = "every window came out alike: there is no variation to judge by"
        return Paired(status="degenerate", reason=reason, units=units, clusters=clusters, estimate=mean)
    needed = UNITS_PER_SQUARE * (float(np.mean(residuals**3)) / spread**3) ** 2
    if clusters < needed:
        reason = f"{clusters} of about {math.ceil(needed)} windows that so skewed differences need"
        return Paired(status="not_ready", reason=reason, units=units, clusters=clusters, estimate=mean)
    counted = float(path.count.sum())
    half = spread * boundary.radius(float(clusters), rho, alpha) / counted
    return Paired(
        status="ok",
        reason="",
        units=units,
        clusters=clusters,
        estimate=mean,
        error=spread * math.sqrt(clusters) / counted,
        low=mean - half,
        high=mean + half,
        p=boundary.p_from_log_e(_largest_log_e(path, rho)),
    )


def _largest_log_e(path: _Path, rho: float) -> float:
    """Over the looks at the end of each cluster from the 20th on, each with the spread that it had."""
    looks = np.arange(LEAST_CLUSTERS, len(path.count) + 1)
    sums, squares, mixed, counts, counted = (
        np.cumsum(column)[LEAST_CLUSTERS - 1 :]
        for column in (path.total, path.total**2, path.total * path.count, path.count**2, path.count)
    )
    mean = sums / counted
    variance = (squares - 2.0 * mean * mixed + mean**2 * counts) / (looks - 1)
    kept = variance > 0.0
    scaled = sums[kept] / np.sqrt(variance[kept])
    pairs = zip(scaled.tolist(), looks[kept].tolist(), strict=True)
    return max((boundary.log_e(total, float(look), rho) for total, look in pairs), default=0.0)
