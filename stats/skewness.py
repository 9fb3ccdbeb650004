"""How far an estimate of money is from normal while rare losses (or gains) are still too few to be seen.

The bound is asymptotic. With rare large losses an arm that has met none looks both better and more certain
than it is, so an interval is withheld until n > 5 G^2: Cochran's rule (Sampling Techniques, 1977, section
2.15) with 5 for his 25, chosen on the simulated grid of tests/stats/test_peeking.py and with the demo in view
(docs/statistics.md says how); another payoff may need more. The third moment is taken from both arms
together: one arm's rare losses warn of the other's that have not come yet.
"""

import numpy as np
import numpy.typing as npt

from stats.moments import group_sums

UNITS_PER_SQUARE = 5.0

Floats = npt.NDArray[np.float64]


def running_third(
    day: npt.NDArray[np.int64], days: int, treated: npt.NDArray[np.bool_], sums: Floats
) -> Floats:
    """Third central moment of a unit up to the end of each day 0..days-1, both arms pooled, each around its
    own mean (so that a true difference is no skewness).

    sums must be near 0 against their spread, as `Scores.sums` are: raw powers are added.
    """
    cells = 2 * day + treated
    columns = (np.ones_like(sums), sums, sums * sums, sums * sums * sums)
    powers = np.stack([group_sums(cells, column, 2 * days).reshape(days, 2) for column in columns])
    count, first, second, third = np.cumsum(powers, axis=1)
    mean = first / np.maximum(count, 1.0)
    central = third - 3.0 * mean * second + 3.0 * mean**2 * first - mean**3 * count
    result: Floats = central.sum(axis=1) / np.maximum(count.sum(axis=1), 1.0)
    return result
