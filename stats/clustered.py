"""Cluster-robust differences of a ratio metric, by residuals e = S - R N of whole units. One look.

With the arm as the only regressor, the sandwich of least squares on decisions is a sum over units in closed
form. h = N / (sum N of the arm) is a unit's leverage.

    CR0  sum e^2 / (sum N)^2                            (Liang and Zeger 1986)
    CR1  x G/(G-1) (n-1)/(n-2), t on G-1                (Stata's; G units, n decisions, both arms)
    CR2  e^2 / (1 - h), t on Bell and McCaffrey's df    (2002): right for few units
    CR3  e^2 / (1 - h)^2 with CR1's factor, t on G-1    (the jackknife, as pyfixest scales it): safe, wide
"""

import math

import numpy as np
import numpy.typing as npt

from stats.clusters import Clusters
from stats.comparison import Comparison, by_student, check_alpha, not_ready
from stats.ratio import audible, cautioned, estimate, unready

Floats = npt.NDArray[np.float64]


def cr0_error(treatment: Clusters, control: Clusters) -> float | None:
    """Standard error without a correction for few units; None before each arm has two."""
    if unready(treatment, control) is not None:
        return None
    return math.sqrt(sum(_sandwich(arm, 0.0) for arm in (treatment, control)))


def cr1(treatment: Clusters, control: Clusters, alpha: float = 0.05) -> Comparison:
    return _judged(treatment, control, 0.0, alpha)


def cr3(treatment: Clusters, control: Clusters, alpha: float = 0.05) -> Comparison:
    return _judged(treatment, control, 2.0, alpha)


def cr2(treatment: Clusters, control: Clusters, alpha: float = 0.05) -> Comparison:
    check_alpha(alpha)
    blocked = _unready(treatment, control)
    if blocked is not None:
        return blocked
    arms = (treatment, control)
    error = audible(math.sqrt(sum(_sandwich(arm, 1.0) for arm in arms)), treatment, control)
    traces = [_bell_mccaffrey(arm) for arm in arms]
    df = sum(once for once, _ in traces) ** 2 / sum(twice for _, twice in traces)
    return cautioned(by_student(estimate(treatment, control), error, df, alpha), treatment, control)


def _judged(treatment: Clusters, control: Clusters, power: float, alpha: float) -> Comparison:
    check_alpha(alpha)
    blocked = _unready(treatment, control)
    if blocked is not None:
        return blocked
    units, decisions = len(treatment) + len(control), float(treatment.trials.sum() + control.trials.sum())
    factor = units / (units - 1) * (decisions - 1.0) / max(decisions - 2.0, 1.0)
    variance = factor * sum(_sandwich(arm, power) for arm in (treatment, control))
    error = audible(math.sqrt(variance), treatment, control)
    return cautioned(by_student(estimate(treatment, control), error, units - 1, alpha), treatment, control)


def _unready(treatment: Clusters, control: Clusters) -> Comparison | None:
    """A unit that holds all the trials of an arm leaves nothing to compare it with."""
    blocked = unready(treatment, control)
    if blocked is None and max(treatment.largest_share, control.largest_share) >= 1.0:
        return not_ready("one unit holds all the trials of an arm", estimate(treatment, control))
    return blocked


def _sandwich(arm: Clusters, power: float) -> float:
    """sum e^2 (1 - h)^-power / (sum N)^2."""
    moments = arm.moments
    residuals = (arm.sums - moments.ratio * arm.trials) / moments.weight
    return float(np.sum(residuals**2 * (1.0 - arm.trials / moments.weight) ** -power))


def _bell_mccaffrey(arm: Clusters) -> tuple[float, float]:
    """(trace B, trace B^2) of the arm's part of the variance as a quadratic form in independent errors.

    B = w_g w_h (N_g [g = h] - N_g N_h / sum N), w = (1 - h)^-1/2 / sum N.
    """
    whole = float(arm.trials.sum())
    leverage = arm.trials / whole
    diagonal = leverage / whole  # w^2 N (1 - h), for w^2 = 1 / ((1 - h) (sum N)^2)
    outer = leverage**2 / (1.0 - leverage) / whole  # w^2 N^2 / sum N
    return float(diagonal.sum()), float(np.sum(diagonal**2) + outer.sum() ** 2 - np.sum(outer**2))
