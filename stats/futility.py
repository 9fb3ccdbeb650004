"""Whether going on is worth it: the chance that the final test will still reject. It costs power, never
alpha, to stop for it (non-binding).

z_t: the statistic at information fraction t in [0, 1); the final one rejects above z_alpha, one-sided.
"""

import math

from stats.comparison import check_alpha
from stats.errors import DesignError
from stats.special import normal_isf, normal_sf


def conditional_power(z_t: float, fraction: float, drift: float, alpha_one_sided: float = 0.025) -> float:
    """P(final Z > z_alpha | z_t) if E[final Z] is `drift` (Lan and Wittes 1988). drift 0: under no effect."""
    critical = _critical(z_t, fraction, alpha_one_sided)
    left = 1.0 - fraction
    return normal_sf((critical - z_t * math.sqrt(fraction) - drift * left) / math.sqrt(left))


def trend_power(z_t: float, fraction: float, alpha_one_sided: float = 0.025) -> float | None:
    """Conditional power if the trend seen so far goes on, drift z_t / sqrt(t); None before any
    information.
    """
    _critical(z_t, fraction, alpha_one_sided)
    if fraction == 0.0:
        return None
    return conditional_power(z_t, fraction, z_t / math.sqrt(fraction), alpha_one_sided)


def predictive_power(z_t: float, fraction: float, alpha_one_sided: float = 0.025) -> float | None:
    """Conditional power averaged over what the drift may be, from a flat prior (Spiegelhalter, Freedman,
    Blackburn 1986); None before any information.
    """
    critical = _critical(z_t, fraction, alpha_one_sided)
    if fraction == 0.0:
        return None
    return normal_sf((critical * math.sqrt(fraction) - z_t) / math.sqrt(1.0 - fraction))


def _critical(z_t: float, fraction: float, alpha_one_sided: float) -> float:
    check_alpha(alpha_one_sided)
    if not (0.0 <= fraction < 1.0 and math.isfinite(z_t)):
        raise DesignError(f"z_t {z_t!r} at fraction {fraction!r}: give a finite z and a fraction in [0, 1)")
    return normal_isf(alpha_one_sided)
