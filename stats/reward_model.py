"""Rewards predicted from features by ridge regression, each row by a fit that never saw its unit.

Cross-fitted, a prediction is independent of the row's own reward, so doubly robust estimates stay right
whatever it says (Chernozhukov et al., Econometrics Journal 2018); it only takes noise out. A plain linear
model with a prior as strong as its number of columns: there are few units, and a wrong one does no harm.
"""

import numpy as np
import numpy.typing as npt

from stats.clusters import check_finite
from stats.errors import DesignError, UnitsError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FOLDS = 5


def cross_fitted(features: Floats, rewards: Floats, fold: Ints) -> Floats:
    """float64[n]: each row's predicted reward. features: [n, k]; fold: 0..FOLDS-1, the same for all rows of a
    unit. Where nobody else is, 0.
    """
    _check(features, rewards, fold)
    predicted = np.zeros(len(rewards))
    for number in range(FOLDS):
        out = fold == number
        predicted[out] = _ridge(features[~out], rewards[~out], features[out])
    return predicted


def cross_fitted_by_action(
    features: Floats, action: Ints, actions: int, rewards: Floats, fold: Ints
) -> Floats:
    """float64[n, actions]: what each action would bring, by a fit of its own; the mean of all rows where the
    action was never taken.
    """
    _check(features, rewards, fold)
    if len(action) != len(rewards) or not np.all((action >= 0) & (action < actions)):
        raise UnitsError(f"action must hold a number from 0 to {actions - 1} per reward: check the column")
    predicted = np.zeros((len(rewards), actions))
    for number in range(FOLDS):
        out = fold == number
        for each in range(actions):
            own = ~out & (action == each)
            used = own if own.any() else ~out
            predicted[out, each] = _ridge(features[used], rewards[used], features[out])
    return predicted


def _ridge(known: Floats, rewards: Floats, wanted: Floats) -> Floats:
    """Columns are standardised and the level is free; a column that does not vary counts for nothing."""
    if not len(rewards):
        return np.zeros(len(wanted))
    middle, spread = known.mean(axis=0), known.std(axis=0)
    scale = np.where(spread > 1e-9 * (1.0 + np.abs(middle)), spread, np.inf)
    near, level = (known - middle) / scale, float(rewards.mean())
    penalty = max(1, known.shape[1]) * np.eye(known.shape[1])
    slopes = np.linalg.solve(near.T @ near + penalty, near.T @ (rewards - level))
    result: Floats = level + (wanted - middle) / scale @ slopes
    return result


def _check(features: Floats, rewards: Floats, fold: Ints) -> None:
    if features.ndim != 2 or not len(features) == len(rewards) == len(fold):
        raise UnitsError("features, rewards and fold differ in length: give one row of each per decision")
    check_finite("features", features)
    check_finite("rewards", rewards)
    if len(fold) and not (fold.min() >= 0 and fold.max() < FOLDS):
        raise DesignError(f"fold holds a value outside 0 to {FOLDS - 1}: number the units, modulo {FOLDS}")
