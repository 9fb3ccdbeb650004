"""Expected shortfall (CVaR): the mean of the worst share of PnL. What a mean hides, told per arm.

With q the quantile at that share, the mean of q - max(q - y, 0)/share is the shortfall itself (Rockafellar
and Uryasev 2000), and its spread between units is the estimate's to first order (Trindade et al. 2007).
"""

import math

import numpy as np
import numpy.typing as npt

from stats.clusters import check_finite, pair_of_rows
from stats.comparison import Comparison, check_alpha, not_ready
from stats.errors import DesignError, UnitsError
from stats.ratio import ratio_t

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FEWEST_IN_TAIL = 10


def shortfall(values: Floats, share: float) -> float | None:
    """Mean of the worst `share` of the values, the one at the edge in part; None without values."""
    _check(values, share)
    return float(_parts(values, share).mean()) if len(values) else None


def shortfall_difference(
    values: Floats, cluster: Ints, treated: npt.NDArray[np.bool_], share: float, alpha: float = 0.05
) -> Comparison:
    """Shortfall of the treatment's rows minus the control's, clustered by unit. A positive one is better.

    Withheld until each arm has 10 values in its tail.
    """
    check_alpha(alpha)
    if not len(values) == len(cluster) == len(treated):
        raise UnitsError("values, cluster and treated differ in length: give one of each per row")
    arms = (values[treated], values[~treated])
    shares = [shortfall(rows, share) for rows in arms]
    if shares[0] is None or shares[1] is None:
        return not_ready("an arm has no value yet")
    if min(len(rows) for rows in arms) * share < FEWEST_IN_TAIL:
        needed = math.ceil(FEWEST_IN_TAIL / share)
        reason = f"fewer than {FEWEST_IN_TAIL} values in an arm's tail: it takes {needed:,} values an arm"
        return not_ready(reason, shares[0] - shares[1])
    parts = np.empty(len(values))
    parts[treated], parts[~treated] = (_parts(rows, share) for rows in arms)
    return ratio_t(*pair_of_rows(cluster, treated, parts), alpha)


def _parts(values: Floats, share: float) -> Floats:
    """q - max(q - y, 0)/share of each value."""
    ordered = np.sort(values)
    edge = float(ordered[max(0, math.ceil(share * len(values)) - 1)]) if len(values) else 0.0
    result: Floats = edge - np.maximum(edge - values, 0.0) / share
    return result


def _check(values: Floats, share: float) -> None:
    check_finite("values", values)
    if not 0.0 < share < 1.0:
        raise DesignError(f"share is {share!r}: choose which worst share to average, inside (0, 1), say 0.05")
