"""Results in the shapes that the vectors use."""

import numpy as np

from stats.two_by_two import TwoByTwo


def table_of(given):
    return TwoByTwo(given["x1"], given["n1"], given["x0"], given["n0"])


def ends(found):
    """[low, high] of anything that has both."""
    return None if found is None else [found.low, found.high]


def floats(values):
    return np.array(values, dtype=np.float64)
