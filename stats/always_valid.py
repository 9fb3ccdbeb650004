"""An estimate with its standard error, read at any number of looks: the normal mixture on a summary.

For what comes without its units (a colleague's table, another tool's export); with units `effect` is better.
Right as long as the error falls as data come, for large samples (Waudby-Smith et al. 2024). With rho = 1 /
tau^2 it is the mixture sequential ratio test of effects spread by tau (Johari, Pekelis, Walsh 2022).
"""

import math
from dataclasses import dataclass

from stats import boundary
from stats.comparison import check_alpha
from stats.errors import DesignError
from stats.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class AlwaysValid:
    """low, high: together valid at every look. lower, upper: one bound each at the same alpha. log_e and p
    are this look's; over looks take the largest E.
    """

    status: Status = "ok"
    reason: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    lower: float | None = None
    upper: float | None = None
    log_e: float | None = None
    p: float | None = None


def always_valid(estimate: float, error: float, rho: float, alpha: float = 0.05) -> AlwaysValid:
    """rho > 0, in 1/estimate^2, is fixed before the data: `rho_tuned` says where it is tightest."""
    check_alpha(alpha)
    if not 0.0 < rho < math.inf:
        raise DesignError(f"rho is {rho!r}: give a mixing precision above 0, fixed before the data")
    if not 0.0 < error < math.inf:
        reason = "there is no variation to judge by"
        return AlwaysValid(status="degenerate", reason=reason, estimate=estimate)
    information = error**-2
    half = boundary.radius(information, rho, alpha) / information
    one_sided = boundary.radius_one_sided(information, rho, alpha) / information
    log_e = boundary.log_e(estimate * information, information, rho)
    return AlwaysValid(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        lower=estimate - one_sided,
        upper=estimate + one_sided,
        log_e=log_e,
        p=boundary.p_from_log_e(log_e),
    )


def rho_tuned(error: float, units: int, units_tightest: float, alpha: float = 0.05) -> float:
    """The rho that is tightest when `units_tightest` units are in, if now `units` have this error."""
    check_alpha(alpha)
    if not (0.0 < error < math.inf and units > 0 and units_tightest > 0.0):
        raise DesignError("give an error and numbers of units above 0")
    return boundary.tuned_rho(units_tightest, alpha) / (error**2 * units)
