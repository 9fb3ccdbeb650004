"""Boundaries for sums whose steps may be large on one side: wider than the normal mixture, and exact.

S is a sum of mean-zero steps that never fall below -scale, V its intrinsic time (a predictable sum of
squares). Howard, Ramdas, McAuliffe, Sekhon, Annals of Statistics 49(2) 2021. The report judges by the normal
mixture, asymptotic; these are its cross-checks.
"""

import math

from stats.comparison import check_alpha
from stats.errors import DesignError
from stats.root import crossing
from stats.special import gamma_share, zeta

_DOUBLINGS = 2000


def gamma_exponential_log_e(total: float, variance: float, rho: float, scale: float) -> float:
    """ln E of S = total >= 0 under the gamma-exponential mixture (proposition 9)."""
    unit = scale**2
    rest, place = (variance + rho) / unit, (scale * total + variance + rho) / unit
    return (
        _normaliser(rho / unit) - rho / unit + _log_gamma_below(rest, place) - rest * math.log(place) + place
    )


def gamma_exponential_radius(variance: float, rho: float, alpha: float, scale: float) -> float:
    """P(exists t: S_t >= radius(V_t)) <= alpha; rho as of the one-sided normal mixture."""
    check_alpha(alpha)
    if not (variance >= 0.0 and rho > 0.0 and scale > 0.0):
        raise DesignError("variance is 0 or more, rho and scale are above 0")
    level, high = -math.log(alpha), math.sqrt(variance + rho)
    for _ in range(_DOUBLINGS):
        if gamma_exponential_log_e(high, variance, rho, scale) >= level:
            break
        high *= 2.0
    return crossing(lambda s: gamma_exponential_log_e(s, variance, rho, scale) - level, 0.0, high)


def stitched_radius(variance: float, alpha: float, least: float, scale: float) -> float:
    """The closed form of the iterated logarithm, constant below V = least (theorem 1, eta = 2, s = 1.4)."""
    check_alpha(alpha)
    if not (least > 0.0 and scale >= 0.0):
        raise DesignError("least is above 0, scale is 0 or more")
    eta, power = 2.0, 1.4
    time = max(variance, least)
    root = (eta**0.25 + eta**-0.25) / math.sqrt(2.0)
    linear = scale * (math.sqrt(eta) + 1.0) / 2.0
    log = power * math.log(math.log(eta * time / least)) + math.log(
        zeta(power) / (alpha * math.log(eta) ** power)
    )
    return math.sqrt(root**2 * time * log + (linear * log) ** 2) + linear * log


def _normaliser(shape: float) -> float:
    """ln of shape^shape / lower incomplete gamma(shape, shape)."""
    return shape * math.log(shape) - _log_gamma_below(shape, shape)


def _log_gamma_below(shape: float, place: float) -> float:
    return math.lgamma(shape) + math.log(gamma_share(shape, place))
