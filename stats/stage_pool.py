"""Effects of the ramp's stages: do they agree (Cochran's Q), and what they are together.

The report's effect pools by its overlap weights; p < 1% is a reason to hold, since a treatment that helps at
10% and harms at 50% has no one effect. Whether to hold is asked of `agreement`: Q takes errors for known, and
says too often that a stage of few units disagrees.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stats.clusters import LARGEST, check_finite
from stats.comparison import Comparison, by_normal, by_student, check_alpha, not_ready
from stats.errors import UnitsError
from stats.root import crossing
from stats.special import chi_square_sf, f_sf

Floats = npt.NDArray[np.float64]
SMALLEST = 1e-75

Between = Callable[[Floats, Floats], float]


@dataclass(frozen=True, slots=True)
class Pool:
    """pooled: the common effect. q: Cochran's, on stages - 1 degrees of freedom. tau2: variance between
    stages beyond chance; i2: its share of all variance (Higgins and Thompson 2002). p_q None: one stage.
    """

    pooled: Comparison
    q: float = 0.0
    p_q: float | None = None
    tau2: float = 0.0
    i2: float = 0.0


def fixed_effect(effects: Sequence[float], errors: Sequence[float], alpha: float = 0.05) -> Pool:
    """One effect in all stages, weighted by 1/error^2."""
    pool = _pool(effects, errors, alpha, _none)
    df = len(effects) - 1
    return replace(pool, i2=max(0.0, (pool.q - df) / pool.q) if pool.q > 0.0 else 0.0)


def agreement(effects: Sequence[float], errors: Sequence[float], dfs: Sequence[float]) -> float | None:
    """p of one effect in all stages, where an error is known to `dfs` degrees of freedom only (Welch,
    Biometrika 38, 1951); None below two stages. With two stages it is Welch's t, with many units Q's p.

    F = Q/(k-1) / (1 + 2(k-2)L/(k^2-1)) on k-1 and (k^2-1)/(3L), L = sum (1 - w/W)^2 / df, w = 1/error^2.
    """
    values, variances = _checked(effects, errors)
    freedom = np.asarray(dfs, dtype=np.float64)
    if len(freedom) != len(values) or not np.all(freedom > 0.0):
        raise UnitsError("dfs holds one that is not above 0, or another number of them: give one per stage")
    stages = len(values)
    if stages < 2:
        return None
    weights = 1.0 / variances
    q = float(np.sum(weights * (values - _mean(values, weights)) ** 2))
    lost = float(np.sum((1.0 - weights / weights.sum()) ** 2 / freedom))
    f = q / (stages - 1) / (1.0 + 2.0 * (stages - 2) * lost / (stages**2 - 1))
    return f_sf(f, stages - 1, (stages**2 - 1) / (3.0 * lost))


def random_effects(effects: Sequence[float], errors: Sequence[float], alpha: float = 0.05) -> Pool:
    """Effects that vary between stages; tau2 by moments, at least 0 (DerSimonian and Laird 1986)."""
    return _pool(effects, errors, alpha, _der_simonian_laird)


def random_effects_reml(effects: Sequence[float], errors: Sequence[float], alpha: float = 0.05) -> Pool:
    """tau2 by restricted maximum likelihood, at least 0 (Viechtbauer 2005)."""
    return _pool(effects, errors, alpha, _reml)


def random_effects_at(
    effects: Sequence[float], errors: Sequence[float], tau2: float, alpha: float = 0.05
) -> Pool:
    """tau2 known from elsewhere, 0 or more."""
    if not 0.0 <= tau2 < LARGEST:
        raise UnitsError(f"tau2 is {tau2!r}: a variance between stages is 0 or more")
    return _pool(effects, errors, alpha, lambda _values, _variances: tau2)


def knapp_hartung(
    effects: Sequence[float], errors: Sequence[float], tau2: float, alpha: float = 0.05
) -> Comparison:
    """The random effect at this tau2 with its spread taken from the stages themselves and t on stages - 1
    (Knapp and Hartung 2003): for few stages.
    """
    pooled = random_effects_at(effects, errors, tau2, alpha).pooled
    values, variances = _checked(effects, errors)
    if len(values) < 2 or pooled.estimate is None:
        return pooled
    weights = 1.0 / (variances + tau2)
    around = float(np.sum(weights * (values - pooled.estimate) ** 2)) / (len(values) - 1)
    return by_student(pooled.estimate, math.sqrt(around / float(weights.sum())), len(values) - 1, alpha)


def _pool(effects: Sequence[float], errors: Sequence[float], alpha: float, between: Between) -> Pool:
    check_alpha(alpha)
    values, variances = _checked(effects, errors)
    if len(values) == 0:
        return Pool(not_ready("no stage has an effect yet"))
    weights = 1.0 / variances
    df, q = len(values) - 1, float(np.sum(weights * (values - _mean(values, weights)) ** 2))
    tau2 = between(values, variances) if df > 0 else 0.0
    weights = 1.0 / (variances + tau2)
    pooled = by_normal(_mean(values, weights), math.sqrt(1.0 / float(weights.sum())), alpha)
    share = tau2 / (tau2 + _typical(variances)) if tau2 > 0.0 else 0.0
    return Pool(pooled, q, chi_square_sf(q, df) if df > 0 else None, tau2, share)


def _none(_values: Floats, _variances: Floats) -> float:
    return 0.0


def _der_simonian_laird(values: Floats, variances: Floats) -> float:
    weights = 1.0 / variances
    q = float(np.sum(weights * (values - _mean(values, weights)) ** 2))
    return max(0.0, (q - len(values) + 1) / _information(weights))


def _reml(values: Floats, variances: Floats) -> float:
    """The root of the score y'PPy = tr P; 0 where the likelihood falls from there on."""

    def score(tau2: float) -> float:
        weights = 1.0 / (variances + tau2)
        around = float(np.sum(weights**2 * (values - _mean(values, weights)) ** 2))
        return around / _information(weights) - 1.0

    most = float(np.ptp(values)) ** 2 + float(variances.max())
    return crossing(score, 0.0, most) if score(0.0) > 0.0 else 0.0


def _information(weights: Floats) -> float:
    """tr P = sum w - sum w^2 / sum w."""
    return float(weights.sum() - np.sum(weights**2) / weights.sum())


def _typical(variances: Floats) -> float:
    """A stage's typical variance (Higgins and Thompson 2002)."""
    return (len(variances) - 1) / _information(1.0 / variances)


def _mean(values: Floats, weights: Floats) -> float:
    """Around the first value, so that a common offset costs no digits."""
    start = float(values[0])
    return start + float(np.sum(weights * (values - start)) / weights.sum())


def _checked(effects: Sequence[float], errors: Sequence[float]) -> tuple[Floats, Floats]:
    """(effects, variances)."""
    values, spreads = np.asarray(effects, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if len(values) != len(spreads):
        raise UnitsError(f"{len(values)} effects and {len(spreads)} errors: give one of each per stage")
    check_finite("effects", values)
    if not np.all((spreads > SMALLEST) & (spreads < LARGEST)):
        raise UnitsError("errors holds one that is not above 0, or not finite: leave that stage out")
    return values, spreads**2
