"""The cluster bootstrap of a difference: whole units drawn with replacement within each arm.

A cross-check only: with few units, or one giant one, it covers less than it says.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.clusters import Clusters
from stats.comparison import check_alpha
from stats.errors import DesignError
from stats.ratio import FEW_UNITS, unready
from stats.status import Status

Floats = npt.NDArray[np.float64]

FEWEST_DRAWS = 100
_CELLS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """error: standard deviation of the draws. percentile: their quantiles. studentised: the same of
    (draw - estimate) / its error, turned around (Efron and Tibshirani 1993, chapter 12).
    """

    status: Status = "ok"
    reason: str = ""
    estimate: float | None = None
    error: float | None = None
    percentile: tuple[float, float] | None = None
    studentised: tuple[float, float] | None = None


def cluster_bootstrap(
    treatment: Clusters, control: Clusters, draws: int, generator: np.random.Generator, alpha: float = 0.05
) -> Bootstrap:
    """R1 - R0 over `draws` resamples; 2,000 or more for an interval."""
    check_alpha(alpha)
    if draws < FEWEST_DRAWS:
        raise DesignError(f"draws is {draws}: take at least {FEWEST_DRAWS}")
    blocked = unready(treatment, control)
    if blocked is not None:
        return Bootstrap(status=blocked.status, reason=blocked.reason, estimate=blocked.estimate)
    control_ratio, control_variance = _resampled(control, draws, generator)
    treated, treated_variance = _resampled(treatment, draws, generator)
    shift = treatment.reference - control.reference
    differences, errors = treated - control_ratio + shift, np.sqrt(treated_variance + control_variance)
    estimate = treatment.moments.ratio - control.moments.ratio + shift
    error = float((treatment.moments.ratio_variance + control.moments.ratio_variance) ** 0.5)
    low, high = np.quantile(differences, [alpha / 2.0, 1.0 - alpha / 2.0])
    few = min(len(treatment), len(control)) < FEW_UNITS
    return Bootstrap(
        status="not_ready" if few else "ok",
        reason=f"fewer than {FEW_UNITS} units in an arm: it covers less than it says" if few else "",
        estimate=estimate,
        error=float(differences.std(ddof=1)),
        percentile=(float(low), float(high)),
        studentised=_studentised(estimate, error, (differences - estimate), errors, alpha),
    )


def _studentised(
    estimate: float, error: float, shifts: Floats, errors: Floats, alpha: float
) -> tuple[float, float] | None:
    """None where a resample has no spread of its own."""
    if not np.all(errors > 0.0):
        return None
    low, high = np.quantile(shifts / errors, [alpha / 2.0, 1.0 - alpha / 2.0])
    return estimate - float(high) * error, estimate - float(low) * error


def _resampled(arm: Clusters, draws: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """(ratio, variance of the ratio) of each resample; a resample without trials repeats the arm's own."""
    units, moments = len(arm), arm.moments
    ratios, variances = np.empty(draws), np.empty(draws)
    step = max(1, _CELLS // units)
    for start in range(0, draws, step):
        rows = slice(start, min(draws, start + step))
        drawn = generator.integers(0, units, (rows.stop - rows.start, units))
        trials, sums = arm.trials[drawn], arm.sums[drawn]
        weight = trials.sum(axis=1)
        kept = weight > 0.0
        weight = np.where(kept, weight, moments.weight)
        ratios[rows] = np.where(kept, sums.sum(axis=1) / weight, moments.ratio)
        residuals = np.sum((sums - ratios[rows, None] * trials) ** 2, axis=1)
        variances[rows] = units / (units - 1) * residuals / weight**2
    return ratios, variances
