"""The difference of a ratio metric between two arms, units as rows, by the delta method. One look.

Var(R) = K/(K-1) sum (S - R N)^2 / (sum N)^2 in each arm (Deng, Knoblich, Lu, KDD 2018): the residual form,
which subtracts nothing large. With N = 1 these are the tests of two means (Welch 1947).
"""

import math

from stats.clusters import Clusters
from stats.comparison import Comparison, by_normal, by_student, doubted, not_ready

FEW_UNITS = 20
LARGE_SHARE = 0.2
EPSILON = 2.0**-52


def ratio_t(treatment: Clusters, control: Clusters, alpha: float = 0.05) -> Comparison:
    """R1 - R0 with Welch and Satterthwaite's degrees of freedom."""
    blocked = unready(treatment, control)
    if blocked is not None:
        return blocked
    variances = (treatment.moments.ratio_variance, control.moments.ratio_variance)
    df = satterthwaite(variances, (len(treatment) - 1, len(control) - 1))
    error = audible(math.sqrt(sum(variances)), treatment, control)
    return cautioned(by_student(estimate(treatment, control), error, df, alpha), treatment, control)


def ratio_z(treatment: Clusters, control: Clusters, alpha: float = 0.05) -> Comparison:
    """R1 - R0 with a normal quantile: for many units."""
    blocked = unready(treatment, control)
    if blocked is not None:
        return blocked
    error = audible(
        math.hypot(*(math.sqrt(arm.moments.ratio_variance) for arm in (treatment, control))),
        treatment,
        control,
    )
    return cautioned(by_normal(estimate(treatment, control), error, alpha), treatment, control)


def estimate(treatment: Clusters, control: Clusters) -> float:
    """R1 - R0; needs trials in both arms."""
    shift = treatment.reference - control.reference
    return treatment.moments.ratio - control.moments.ratio + shift


def unready(treatment: Clusters, control: Clusters) -> Comparison | None:
    """Why there is no spread between units to judge by, or None from two units an arm on."""
    if not (treatment.trials.any() and control.trials.any()):
        return not_ready("an arm has no trial yet")
    if min(len(treatment), len(control)) < 2:
        return not_ready(
            "an arm has a single unit: nothing to judge its spread by", estimate(treatment, control)
        )
    return None


def cautioned(found: Comparison, treatment: Clusters, control: Clusters) -> Comparison:
    """The same numbers, doubted where an arm has few units or hangs on one of them."""
    if found.status != "ok":
        return found
    fewest = min(len(treatment), len(control))
    if fewest < FEW_UNITS:
        reason = (
            f"{fewest} units in an arm: the interval leans on its t quantile; below {FEW_UNITS} it is rough"
        )
        return doubted(found, "not_ready", reason)
    largest = max(treatment.largest_share, control.largest_share)
    if largest > LARGE_SHARE:
        effective = min(treatment.effective, control.effective)
        reason = (
            f"one unit holds {100 * largest:.0f}% of an arm's trials:"
            f" its units are worth {effective:.1f} of equal size"
        )
        return doubted(found, "degenerate", reason)
    return found


def satterthwaite(variances: tuple[float, float], dfs: tuple[int, int]) -> float:
    """Degrees of freedom of the sum of two independent variances (Satterthwaite 1946); the smaller of the
    two where both are 0.
    """
    whole = sum(variances)
    if whole <= 0.0:
        return float(min(dfs))
    return 1.0 / sum((part / whole) ** 2 / df for part, df in zip(variances, dfs, strict=True))


def audible(error: float, treatment: Clusters, control: Clusters) -> float:
    """The error, or 0 where it is no more than the rounding of the numbers that it came from."""
    return error if error > EPSILON * max(treatment.size, control.size) else 0.0
