"""The seven special functions in use, typed. scipy.special only: scipy.stats triples the import time."""

from scipy import special as _scipy


def normal_quantile(p: float) -> float:
    return float(_scipy.ndtri(p))


def normal_sf(x: float) -> float:
    return float(_scipy.ndtr(-x))


def log_normal_cdf(x: float) -> float:
    return float(_scipy.log_ndtr(x))


def student_t_quantile(p: float, df: float) -> float:
    return float(_scipy.stdtrit(df, p))


def student_t_sf(x: float, df: float) -> float:
    return float(_scipy.stdtr(df, -x))


def chi_square_sf(x: float, df: int) -> float:
    return float(_scipy.chdtrc(df, x))


def lambert_w_lower(x: float) -> float:
    """Lower real branch W₋₁ on [-1/e, 0)."""
    return float(_scipy.lambertw(x, -1).real)
