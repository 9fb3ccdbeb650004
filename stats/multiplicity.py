"""p-values and e-values adjusted for how many questions were asked at once.

Adjusted p at most alpha means rejected: with the family-wise error at most alpha (Bonferroni, Holm, Hochberg,
Hommel, Sidak), or the expected share of false ones among the rejected at most alpha (Benjamini-Hochberg).
Each answers in the order it was asked in.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stats.comparison import check_alpha
from stats.errors import UnitsError

Floats = npt.NDArray[np.float64]


def bonferroni(p_values: Sequence[float]) -> list[float]:
    return [min(1.0, len(p_values) * p) for p in _checked(p_values).tolist()]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm 1979: under any dependence, never weaker than Bonferroni."""
    p, order = _sorted(p_values)
    return _back(np.maximum.accumulate(p * np.arange(len(p), 0, -1)), order)


def holm_sidak(p_values: Sequence[float]) -> list[float]:
    """Holm with 1 - (1-p)^m: for independent (or positively dependent) questions."""
    p, order = _sorted(p_values)
    with np.errstate(divide="ignore"):
        raised = -np.expm1(np.arange(len(p), 0, -1) * np.log1p(-p))
    return _back(np.maximum.accumulate(raised), order)


def hochberg(p_values: Sequence[float]) -> list[float]:
    """Hochberg 1988: Holm's factors from the largest p down; for independent or positively dependent ones."""
    p, order = _sorted(p_values)
    return _back(np.minimum.accumulate((p * np.arange(len(p), 0, -1))[::-1])[::-1], order)


def hommel(p_values: Sequence[float]) -> list[float]:
    """Hommel 1988, by Simes' test of every intersection; never weaker than Hochberg, same conditions."""
    p, order = _sorted(p_values)
    count = len(p)
    if count == 0:
        return []
    adjusted = np.full(count, (count * p / np.arange(1, count + 1)).min())
    for size in range(count - 1, 1, -1):
        tail, head = p[count - size + 1 :], p[: count - size + 1]
        least = float((size * tail / np.arange(2, size + 1)).min())
        step = np.append(np.minimum(size * head, least), np.empty(size - 1))
        step[count - size + 1 :] = step[count - size]
        adjusted = np.maximum(adjusted, step)
    return _back(np.maximum(adjusted, p), order)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg 1995; for independent or positively dependent questions."""
    return _step_up(p_values, 1.0)


def benjamini_yekutieli(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Yekutieli 2001: under any dependence."""
    return _step_up(p_values, math.fsum(1.0 / rank for rank in range(1, len(p_values) + 1)))


def e_bh(e_values: Sequence[float], alpha: float = 0.05) -> list[bool]:
    """Which e-values to believe with the expected share of false ones at most alpha, under any dependence
    and at any time (Wang and Ramdas, JRSS B 2022): the largest k with k e_(k) >= m / alpha.
    """
    check_alpha(alpha)
    e = np.asarray(e_values, dtype=np.float64)
    if not np.all(e >= 0.0):
        raise UnitsError("e_values holds a negative value or nan: an e-value is 0 or more")
    falling = np.sort(e)[::-1]
    enough = np.flatnonzero(falling * np.arange(1, len(e) + 1) >= len(e) / alpha)
    if len(enough) == 0:
        return [False] * len(e)
    return [bool(value >= falling[enough[-1]]) for value in e]


def _step_up(p_values: Sequence[float], harder: float) -> list[float]:
    p, order = _sorted(p_values)
    raised = p * (harder * len(p)) / np.arange(1, len(p) + 1)
    return _back(np.minimum.accumulate(raised[::-1])[::-1], order)


def _sorted(p_values: Sequence[float]) -> tuple[Floats, npt.NDArray[np.int64]]:
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    return p[order], order


def _back(ordered: Floats, order: npt.NDArray[np.int64]) -> list[float]:
    result = np.empty(len(ordered))
    result[order] = np.minimum(1.0, ordered)
    return [float(value) for value in result]


def _checked(p_values: Sequence[float]) -> Floats:
    p = np.asarray(p_values, dtype=np.float64)
    if not np.all((p >= 0.0) & (p <= 1.0)):
        raise UnitsError("p_values holds a value outside [0, 1]: leave out what cannot be said")
    return p
