"""A quantile of one arm's PnL with an interval that assumes no distribution. One look."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.clusters import check_finite, of_rows
from stats.comparison import check_alpha
from stats.errors import DesignError, UnitsError
from stats.ratio import FEW_UNITS
from stats.special import binomial_quantile, student_t_quantile
from stats.status import Status

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """value: the sample quantile, linear between values (type 7 of Hyndman and Fan 1996). low, high: None
    with status ok means that so few values bound it from one side only, or not at all.

    low_rank, high_rank: 1-based places among the sorted values; 0 and n + 1 lie outside.
    """

    status: Status = "ok"
    reason: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    low_rank: int | None = None
    high_rank: int | None = None


def quantile(values: Floats, level: float, alpha: float = 0.05) -> Quantile:
    """Independent values, one per unit: two order statistics by the binomial (Thompson 1936)."""
    if len(values) == 0:
        return _nothing(level, alpha)
    _check(values, level, alpha)
    low = binomial_quantile(alpha / 2.0, len(values), level)
    high = binomial_quantile(1.0 - alpha / 2.0, len(values), level) + 1
    return _between(np.sort(values), level, low, high)


def clustered_quantile(
    values: Floats, cluster: npt.NDArray[np.int64], level: float, alpha: float = 0.05
) -> Quantile:
    """Values of the same cluster may depend on each other: the interval of the share of values below the
    quantile, with cluster-robust error and t, turned into values (Woodruff 1952).
    """
    if len(values) != len(cluster):
        raise UnitsError(f"{len(values)} values and {len(cluster)} clusters: give one of each per row")
    if len(values) == 0:
        return _nothing(level, alpha)
    _check(values, level, alpha)
    ordered = np.sort(values)
    at = float(ordered[max(0, math.ceil(level * len(values)) - 1)])
    below = of_rows(cluster, (values <= at).astype(np.float64) - level, level)
    point = Quantile(value=_sample(ordered, level))
    if len(below) < 2:
        return Quantile(
            status="not_ready", reason="a single unit: nothing to judge its spread by", value=point.value
        )
    half = student_t_quantile(1.0 - alpha / 2.0, len(below) - 1) * math.sqrt(below.moments.ratio_variance)
    low = math.floor(len(values) * (level - half))
    high = math.ceil(len(values) * (level + half)) + 1
    found = _between(ordered, level, max(0, low), min(len(values) + 1, high))
    if len(below) >= FEW_UNITS:
        return found
    reason = f"{len(below)} units: below {FEW_UNITS} the interval is rough"
    return Quantile(
        status="not_ready",
        reason=reason,
        value=found.value,
        low=found.low,
        high=found.high,
        low_rank=found.low_rank,
        high_rank=found.high_rank,
    )


def _between(ordered: Floats, level: float, low: int, high: int) -> Quantile:
    count, value = len(ordered), _sample(ordered, level)
    return Quantile(
        value=value,
        low=min(value, float(ordered[low - 1])) if low >= 1 else None,
        high=max(value, float(ordered[high - 1])) if high <= count else None,
        low_rank=low,
        high_rank=high,
    )


def _sample(ordered: Floats, level: float) -> float:
    return float(np.quantile(ordered, level))


def _nothing(level: float, alpha: float) -> Quantile:
    _check(np.empty(0), level, alpha)
    return Quantile(status="not_ready", reason="no value yet")


def _check(values: Floats, level: float, alpha: float) -> None:
    check_alpha(alpha)
    check_finite("values", values)
    if not 0.0 < level < 1.0:
        raise DesignError(f"level is {level!r}: choose a quantile inside (0, 1)")
