"""The special functions in use, typed. scipy.special only: scipy.stats triples the import time, so the exact
and the rank tests load it when they are asked.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import special as _scipy

Floats = npt.NDArray[np.float64]


def normal_quantile(p: float) -> float:
    return float(_scipy.ndtri(p))


def normal_cdf(x: float) -> float:
    return float(_scipy.ndtr(x))


def normal_sf(x: float) -> float:
    return float(_scipy.ndtr(-x))


def normal_isf(p: float) -> float:
    """The x above which p lies; exact for the smallest p."""
    return float(-_scipy.ndtri(p))


def log_normal_cdf(x: float) -> float:
    return float(_scipy.log_ndtr(x))


def normal_sfs(x: Floats) -> Floats:
    return np.asarray(_scipy.ndtr(-x), dtype=np.float64)


def normal_cdfs(x: Floats) -> Floats:
    return np.asarray(_scipy.ndtr(x), dtype=np.float64)


def normal_quantiles(p: Floats) -> Floats:
    return np.asarray(_scipy.ndtri(p), dtype=np.float64)


def student_t_quantile(p: float, df: float) -> float:
    return float(_scipy.stdtrit(df, p))


def student_t_sf(x: float, df: float) -> float:
    return float(_scipy.stdtr(df, -x))


def noncentral_t_cdf(x: float, df: float, shift: float) -> float:
    """scipy answers nan in far tails: 0 or 1 to within 1e-15 there."""
    found = float(_scipy.nctdtr(df, shift, x))
    if math.isnan(found):
        return 0.0 if x < shift else 1.0
    return found


def chi_square_sf(x: float, df: int) -> float:
    return float(_scipy.chdtrc(df, x))


def f_sf(x: float, df_1: float, df_2: float) -> float:
    return float(_scipy.fdtrc(df_1, df_2, x))


def lambert_w_lower(x: float) -> float:
    """Lower real branch W₋₁ on [-1/e, 0)."""
    return float(_scipy.lambertw(x, -1).real)


def beta_cdf(x: Floats, a: float, b: float) -> Floats:
    return np.asarray(_scipy.betainc(a, b, x), dtype=np.float64)


def beta_sf(x: Floats, a: float, b: float) -> Floats:
    return np.asarray(_scipy.betaincc(a, b, x), dtype=np.float64)


def beta_quantiles(p: Floats, a: float, b: float) -> Floats:
    return np.asarray(_scipy.betaincinv(a, b, p), dtype=np.float64)


def beta_quantile(p: float, a: float, b: float) -> float:
    return float(_scipy.betaincinv(a, b, p))


def gamma_share(shape: float, x: float) -> float:
    """Regularised lower incomplete gamma."""
    return float(_scipy.gammainc(shape, x))


def zeta(s: float) -> float:
    return float(_scipy.zeta(s))


def log_beta(a: float, b: float) -> float:
    return float(_scipy.betaln(a, b))


def binomial_quantile(p: float, trials: int, share: float) -> int:
    """The least k with P(X <= k) >= p, for 0 < share < 1."""
    k = max(0, math.ceil(float(_scipy.bdtrik(p, trials, share))) - 1)
    while float(_scipy.bdtr(k, trials, share)) < p:
        k += 1
    return k
