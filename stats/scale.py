"""rho, the one tuning number of the bound: from the planned variance, fixed before the coins that it
judges.

A rate knows its scale: at most 1/4 a unit. Money does not. With the control's history, the scale is that
history's. Without one it is the variance of the first units, both arms together, up to the 20th with a fill
- blind to the arms. If the treatment changes nothing, outcomes do not depend on the coins, so rho is a
constant to the coins and the bound holds as stated; blinded variance re-estimation is known to leave the
error rate alone otherwise (Kieser and Friede, Statistics in Medicine 22, 2003). A scale that is wrong by a
factor 4 widens the bound by 3 to 7 percent where it should be tightest. No scale makes a bound valid that the
estimate is not yet normal enough for: money that rare losses skew is withheld first (see `skewness`).
"""

import numpy as np

from stats.boundary import tuned_rho, tuned_rho_one_sided
from stats.scores import Scores

PLAN_SHARE = 0.5
PROMOTION_SHARE = 0.6
ROLLBACK_SHARE = 0.15
"""Of the planned variance, where a bound is tightest: what is shown, what promotes (late, on nearly all of
the evidence), what rolls back (harm is to be seen early).
"""
PILOT_FILLS = 20
_EVEN_SPLIT_INFORMATION = 0.25
_WIDEST_RATE_VARIANCE = 0.25


def rho_of(unit_variance: float, plan_units: int, alpha: float) -> float:
    """rho tightest at half of the plan: `plan_units` units at e = 0.5 with this variance a unit."""
    return tuned_rho(PLAN_SHARE * plan_variance(unit_variance, plan_units), alpha)


def gate_rho(v_plan: float, share: float, alpha: float) -> float:
    """rho whose one-sided bound is tightest at this share of the planned variance."""
    return tuned_rho_one_sided(share * v_plan, alpha)


def plan_variance(unit_variance: float, plan_units: int) -> float:
    """V_plan: of the planned evidence, on the scale of the boundary."""
    return plan_information(plan_units) * unit_variance


def plan_information(plan_units: int) -> float:
    """sum e(1-e) over the planned units at e = 0.5."""
    return plan_units * _EVEN_SPLIT_INFORMATION


def rate_variance() -> float:
    return _WIDEST_RATE_VARIANCE


def blinded_variance(scores: Scores) -> float | None:
    """Variance of a unit over the pilot, in scores squared; None before 20 fills or without variation."""
    rows = scores.judged
    fills = np.flatnonzero(scores.traded[rows])
    if len(fills) < PILOT_FILLS:
        return None
    variance = float(np.var(scores.sums[rows][: fills[PILOT_FILLS - 1] + 1], ddof=1))
    return variance if variance > 0.0 else None
