"""A forecast of each unit in the centre of the comparison, from what was known of it before its coin.

CUPED (Deng, Xu, Kohavi, Walker, WSDM 2013) and CUPAC (Tang et al. 2020) for looks at any time: the forecast
of a unit is fixed by its own covariates and by units of the days before its own, so it is one more
predictable centre. Whatever it says, the score (A - e)(S - (m + g) N) keeps mean 0 where the treatment
changes nothing; a good one takes noise out (Ham, Bojinov, Lindon, Tingley 2023; Waudby-Smith et al. 2024).

What must not be in a covariate is the unit's arm or anything that came of it: such a leak would look like a
good forecast and take the effect out.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stats.centre import PRIOR_UNITS
from stats.errors import UnitsError
from stats.scores import Scores

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Past:
    """All units before a day, by trials: their weight, the mean of x, and the sums of x x' and of x times the
    result around the means of each day.
    """

    units: int
    weight: float
    mean: Floats
    squares: Floats
    products: Floats


def forecast(scores: Scores, known: Floats) -> Floats:
    """g of each unit, per trial, on the scale of `sums`: how far its result is expected from the day's level.

    known: covariates, units x k, finite. By ridge regression on the days before, x being scaled to variance
    1, with the weight of 20 units for a slope of 0 (Hoerl, Kennard 1970); 0 on the first day, and for a
    covariate that never varied. Each day is compared with its own mean: drift is not taken for a slope.
    """
    _check(scores, known)
    day = np.cumsum(np.diff(scores.day, prepend=scores.day[:1]) != 0, dtype=np.int64)
    expected, past = np.zeros(len(day)), _nothing(known.shape[1])
    stops = np.append(np.flatnonzero(np.diff(day)) + 1, len(day))
    start = 0
    for stop in stops.tolist():
        rows = slice(start, stop)
        expected[rows] = (known[rows] - past.mean) @ _slopes(past)
        past = _with_day(past, known[rows], scores.sums[rows], scores.trials[rows])
        start = stop
    return expected


def centred(scores: Scores, expected: Floats) -> Scores:
    """The scores of the same units, less what was expected of each: to be judged as any other scores."""
    if expected.shape != scores.sums.shape or not np.all(np.isfinite(expected)):
        raise UnitsError("expected needs one finite number per unit: see forecast(scores, known)")
    return replace(scores, sums=scores.sums - expected * scores.trials)


def _check(scores: Scores, known: Floats) -> None:
    if known.ndim != 2 or len(known) != len(scores.day):
        raise UnitsError(
            f"known has the shape {known.shape}: give a row of covariates for each of {len(scores.day)} units"
        )
    bad = np.flatnonzero(~np.isfinite(known).all(axis=1))
    if len(bad):
        raise UnitsError(
            f"known has no finite number in row {bad[0]}: put in what stands for 'unknown' there"
        )


def _nothing(width: int) -> _Past:
    return _Past(0, 0.0, np.zeros(width), np.zeros((width, width)), np.zeros(width))


def _slopes(past: _Past) -> Floats:
    """Result per unit of each covariate. The penalty is 20 units' weight on covariates of variance 1."""
    spread = np.sqrt(np.diag(past.squares) / max(past.weight, 1.0))
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0.0)
    penalty = PRIOR_UNITS * past.weight / max(past.units, 1)
    scaled = past.squares * np.outer(scale, scale) + (penalty or 1.0) * np.eye(len(scale))
    return np.asarray(scale * np.linalg.solve(scaled, scale * past.products), dtype=np.float64)


def _with_day(past: _Past, known: Floats, sums: Floats, trials: Floats) -> _Past:
    weight = float(trials.sum())
    if weight == 0.0:
        return past
    mean, level = trials @ known / weight, float(sums.sum()) / weight
    around = known - mean
    share = weight / (past.weight + weight)
    return _Past(
        units=past.units + len(sums),
        weight=past.weight + weight,
        mean=past.mean + (mean - past.mean) * share,
        squares=past.squares + (around * trials[:, None]).T @ around,
        products=past.products + around.T @ (sums - level * trials),
    )
