"""Exact integer sums: int64 money adds up without overflow or rounding, in any order."""

import numpy as np
import numpy.typing as npt

_LOW_BITS = 32
_LOW_MASK = (1 << _LOW_BITS) - 1


def exact_sum(values: npt.NDArray[np.int64]) -> int:
    """Sum as a Python int. Two halves of 32 bits cannot overflow below 2**31 values."""
    high = int(np.sum(values >> _LOW_BITS, dtype=np.int64))
    low = int(np.sum(values & _LOW_MASK, dtype=np.int64))
    return (high << _LOW_BITS) + low
