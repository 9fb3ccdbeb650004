"""How long outcomes take, per arm: an arm that holds its losers longer must not look better early."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SHARES = tuple(step / 20 for step in range(21))

Ints = npt.NDArray[np.int64]


def delay_quantiles(arm: Ints, delay_us: Ints, arms: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Seconds within which each of SHARES of an arm's outcomes had come; empty for an arm without any.

    Quantiles are delays that occurred (the inverse of the empirical distribution).
    """
    return {name: _quantiles(delay_us[arm == index]) for index, name in enumerate(arms)}


def _quantiles(delay_us: Ints) -> tuple[float, ...]:
    if not len(delay_us):
        return ()
    ordered = np.sort(delay_us)
    at = [max(0, -(-len(ordered) * step // 20) - 1) for step in range(21)]
    return tuple(value / 1e6 for value in ordered[at].tolist())
