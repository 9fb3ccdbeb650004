"""Where a function of one number changes its sign."""

from collections.abc import Callable

_HUGE = 1e3
_RELATIVE = 1e-15
_ABSOLUTE = 1e-16


def crossing(function: Callable[[float], float], low: float, high: float) -> float:
    """The x in [low, high] where `function` changes sign (Brent 1973), to about 1e-15; an end when it does
    not.

    Values beyond 1000 are cut there: the ends of a range are often infinite.
    """
    from scipy.optimize import brentq

    def finite(x: float) -> float:
        return min(max(function(x), -_HUGE), _HUGE)

    at_low, at_high = finite(low), finite(high)
    if at_low * at_high >= 0.0:
        return low if abs(at_low) <= abs(at_high) else high
    return float(brentq(finite, low, high, xtol=_ABSOLUTE, rtol=_RELATIVE, maxiter=300))
