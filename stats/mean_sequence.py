"""The mean of outcomes in [0, 1] watched as they come, one by one: bounds that hold at every look together.

For independent outcomes with a fixed mean (or fixed given the past). The betting interval is the tightest of
the exact ones; the others are its cross-checks. None is defined before the first outcome: then (0, 1).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats import boundary
from stats.comparison import check_alpha
from stats.errors import UnitsError
from stats.interval import Interval
from stats.root import crossing
from stats.subexponential import gamma_exponential_radius

Floats = npt.NDArray[np.float64]

_EDGE = 1e-12
_MOST_STAKED = 0.5


def betting_bounds(outcomes: Floats, alpha: float = 0.05) -> Interval:
    """Means that two gamblers, one betting upwards and one downwards with half the money each, have not
    refuted now (Waudby-Smith and Ramdas, JRSS B 2024, hedged capital, predictable plug-in bets).
    """
    return _betting(outcomes, alpha, _last)


def running_betting_bounds(outcomes: Floats, alpha: float = 0.05) -> Interval:
    """Means never refuted so far: the intersection over all looks. Empty (low > high) proves that the mean
    moved, and is given as it is.
    """
    return _betting(outcomes, alpha, _largest)


@dataclass(frozen=True, slots=True)
class Guess:
    """What is expected before the first outcome, on the side of each bound, and its weight in outcomes."""

    outcome: float = 0.5
    weight: float = 1.0


def empirical_bernstein_bounds(outcomes: Floats, alpha: float = 0.05, guess: Guess = Guess()) -> Interval:
    """Closed form, adapts to the variance (same paper, theorem 2)."""
    return _bernstein(outcomes, alpha, guess, _last)


def running_empirical_bernstein_bounds(
    outcomes: Floats, alpha: float = 0.05, guess: Guess = Guess()
) -> Interval:
    """The intersection over all looks."""
    return _bernstein(outcomes, alpha, guess, _largest)


def conjugate_bernstein_bounds(outcomes: Floats, alpha: float, v_opt: float) -> Interval:
    """By the gamma-exponential mixture, tightest where the squares around past means add up to `v_opt`
    (Howard et al. 2021, theorem 4).
    """
    _check(outcomes, alpha)
    count = len(outcomes)
    if count == 0:
        return Interval(0.0, 1.0)
    past = np.cumsum(outcomes)[:-1] / np.arange(1, count)
    squares = float(np.sum((outcomes - np.append(0.5, past)) ** 2))
    rho = boundary.tuned_rho_one_sided(v_opt, alpha / 2.0)
    half, middle = gamma_exponential_radius(squares, rho, alpha / 2.0, 1.0) / count, float(outcomes.mean())
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def hoeffding_bounds(outcomes: Floats, alpha: float, n_opt: float) -> Interval:
    """The normal mixture with the widest variance, 1/4 an outcome; tightest at `n_opt` outcomes."""
    _check(outcomes, alpha)
    count = len(outcomes)
    if count == 0:
        return Interval(0.0, 1.0)
    half = boundary.radius(count / 4.0, boundary.tuned_rho(n_opt / 4.0, alpha), alpha) / count
    middle = float(outcomes.mean())
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def asymptotic_bounds(outcomes: Floats, alpha: float, n_opt: float) -> Interval | None:
    """The normal mixture with the variance seen; right for many outcomes only (Waudby-Smith et al. 2024).
    None without variation.
    """
    _check(outcomes, alpha)
    count = len(outcomes)
    spread = float(outcomes.std(ddof=1)) if count > 1 else 0.0
    if spread == 0.0:
        return None
    half = spread * boundary.radius(float(count), boundary.tuned_rho(n_opt, alpha), alpha) / count
    middle = float(outcomes.mean())
    return Interval(middle - half, middle + half)


def _betting(outcomes: Floats, alpha: float, judged: Callable[[Floats], float]) -> Interval:
    _check(outcomes, alpha)
    if len(outcomes) == 0:
        return Interval(0.0, 1.0)
    return Interval(_lower(outcomes, alpha, judged), 1.0 - _lower(1.0 - outcomes, alpha, judged))


def _lower(outcomes: Floats, alpha: float, judged: Callable[[Floats], float]) -> float:
    """The mean above which the upward gambler is not rich enough; his wealth falls as the mean rises."""
    stakes = _stakes(outcomes, alpha)

    def riches(mean: float) -> float:
        staked = np.minimum(stakes, _MOST_STAKED / mean)
        return judged(np.cumsum(np.log1p(staked * (outcomes - mean)))) - math.log(2.0 / alpha)

    return crossing(riches, _EDGE, 1.0) if riches(_EDGE) > 0.0 else 0.0


def _last(path: Floats) -> float:
    return float(path[-1])


def _largest(path: Floats) -> float:
    return float(path.max())


def _bernstein(outcomes: Floats, alpha: float, guess: Guess, judged: Callable[[Floats], float]) -> Interval:
    _check(outcomes, alpha)
    if len(outcomes) == 0:
        return Interval(0.0, 1.0)
    low, rest = (judged(_bernstein_path(side, alpha, guess)) for side in (outcomes, 1.0 - outcomes))
    return Interval(max(0.0, low), min(1.0, 1.0 - rest))


def _bernstein_path(outcomes: Floats, alpha: float, guess: Guess) -> Floats:
    """The lower bound after each outcome."""
    stakes = np.minimum(_stakes(outcomes, alpha), _MOST_STAKED)
    count = np.arange(1, len(outcomes) + 1)
    past = (guess.weight * guess.outcome + np.cumsum(outcomes)) / (count + guess.weight)
    squares = (outcomes - np.append(guess.outcome, past[:-1])) ** 2
    width = math.log(2.0 / alpha) + np.cumsum(squares * (-np.log1p(-stakes) - stakes))
    result: Floats = (np.cumsum(stakes * outcomes) - width) / np.cumsum(stakes)
    return result


def _stakes(outcomes: Floats, alpha: float) -> Floats:
    """lambda_t = sqrt(2 ln(2/alpha) / (t ln(1+t) variance so far)), from what came before each outcome."""
    count = np.arange(1, len(outcomes) + 1)
    mean = (0.5 + np.cumsum(outcomes)) / (count + 1)
    variance = (0.25 + np.cumsum((outcomes - mean) ** 2)) / (count + 1)
    before = np.append(0.25, variance[:-1])
    result: Floats = np.sqrt(2.0 * math.log(2.0 / alpha) / (count * np.log1p(count) * before))
    return result


def _check(outcomes: Floats, alpha: float) -> None:
    check_alpha(alpha)
    if not np.all((outcomes >= 0.0) & (outcomes <= 1.0)):
        raise UnitsError("an outcome lies outside [0, 1]: these bounds need outcomes that are held within it")
