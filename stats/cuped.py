"""Differences adjusted by what was known of a unit before its coin: less noise, the same effect. One look.

x must be fixed before assignment (the market's volatility or spread, the incumbent's record there).
CUPED: one slope for both arms (Deng, Xu, Kohavi, Walker, WSDM 2013). Lin 2013: a slope for each arm, never
worse in large samples.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.clusters import Clusters, check_finite
from stats.comparison import Comparison, by_student, no_variation, not_ready
from stats.errors import UnitsError
from stats.ratio import EPSILON, cautioned, ratio_t, ratio_z, unready
from stats.regression import SMALLEST, error_of, fit, hc2

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Adjusted:
    """Both arms as one value per unit, and the slope taken out."""

    treatment: Clusters
    control: Clusters
    theta: float


def adjust(treatment: Clusters, control: Clusters, known_1: Floats, known_0: Floats) -> Adjusted | Comparison:
    """Units as S/N linearised, less theta (x - mean x); theta = cov/var over both arms together, 0 where x
    does not vary. A Comparison says why it cannot be done.
    """
    for name, arm, known in (("treatment", treatment, known_1), ("control", control, known_0)):
        if len(arm) != len(known):
            raise UnitsError(
                f"{name} has {len(arm)} units and {len(known)} covariates: give one of each per unit"
            )
        check_finite(f"{name}'s covariate", known)
    blocked = unready(treatment, control)
    if blocked is not None:
        return blocked
    known = _around_mean(np.append(known_1, known_0))
    both = Clusters(np.append(treatment.trials, control.trials), np.append(treatment.sums, control.sums))
    spread = float(known @ known)
    theta = float(_linear(both) @ known) / spread if spread > 0.0 else 0.0
    return Adjusted(
        _adjusted(treatment, known[: len(known_1)], theta),
        _adjusted(control, known[len(known_1) :], theta),
        theta,
    )


def cuped(
    treatment: Clusters, control: Clusters, known_1: Floats, known_0: Floats, alpha: float = 0.05
) -> Comparison:
    """CUPED with Welch and Satterthwaite's t."""
    found = adjust(treatment, control, known_1, known_0)
    if isinstance(found, Comparison):
        return found
    return cautioned(ratio_t(found.treatment, found.control, alpha), treatment, control)


def cuped_z(
    treatment: Clusters, control: Clusters, known_1: Floats, known_0: Floats, alpha: float = 0.05
) -> Comparison:
    """CUPED with a normal quantile: for many units."""
    found = adjust(treatment, control, known_1, known_0)
    if isinstance(found, Comparison):
        return found
    return cautioned(ratio_z(found.treatment, found.control, alpha), treatment, control)


def ancova(outcome: Floats, treated: npt.NDArray[np.bool_], known: Floats, alpha: float = 0.05) -> Comparison:
    """y ~ 1 + a + x, HC2, one value per unit: CUPED by regression."""
    centred = _around_mean(known)
    return _regressed(outcome, treated, [centred], alpha)


def lin(outcome: Floats, treated: npt.NDArray[np.bool_], known: Floats, alpha: float = 0.05) -> Comparison:
    """y ~ 1 + a + x + a x, HC2, one value per unit, x centred on both arms' mean (Lin, Annals of Applied
    Statistics 2013).
    """
    centred = _around_mean(known)
    return _regressed(outcome, treated, [centred, centred * treated], alpha)


def _regressed(
    outcome: Floats, treated: npt.NDArray[np.bool_], columns: list[Floats], alpha: float
) -> Comparison:
    check_finite("outcome", outcome)
    if min(int(treated.sum()), int((~treated).sum())) < 2:
        return not_ready("an arm has fewer than two units")
    varying = [column for column in columns if np.ptp(column) > SMALLEST]
    design = np.stack([np.ones(len(outcome)), treated.astype(np.float64), *varying], axis=1)
    found = fit(design, _around_mean(outcome))
    if found is None:
        return not_ready("too few units, or a covariate that the arms determine: no adjusted difference")
    estimate = float(found.coefficients[1])
    if np.all(np.abs(found.residuals) <= 16.0 * EPSILON * np.abs(outcome).max()):
        return no_variation(estimate)
    return by_student(estimate, error_of(hc2(found), 1), found.free, alpha)


def _adjusted(arm: Clusters, known: Floats, theta: float) -> Clusters:
    """A rest that is no more than rounding becomes 0."""
    linear = _linear(arm)
    rest = linear - theta * known
    middle = float(rest.mean())
    if np.all(np.abs(rest - middle) <= 4.0 * EPSILON * np.abs(linear).max()):
        rest = np.full(len(arm), middle)
    return Clusters(np.ones(len(arm)), arm.moments.ratio + rest, arm.reference)


def _linear(arm: Clusters) -> Floats:
    """(S - R N) / mean N: what each unit adds to the ratio."""
    moments = arm.moments
    result: Floats = (arm.sums - moments.ratio * arm.trials) * (len(arm) / moments.weight)
    return result


def _around_mean(values: Floats) -> Floats:
    """Two passes: the mean of what is left is taken out too."""
    near = values - (values.mean() if len(values) else 0.0)
    result: Floats = near - (near.mean() if len(near) else 0.0)
    return result
