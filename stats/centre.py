"""The predictable centre: what a unit was expected to bring, from the days before its own.

Subtracting it takes the drift of the market out of the comparison. It uses past days only, so that a unit's
centre is fixed before the unit's coin is thrown; any such centre keeps the comparison unbiased.
"""

import numpy as np
import numpy.typing as npt

DECAY_PER_DAY = 0.8
PRIOR_UNITS = 20.0


def daily_centre(
    sums: npt.NDArray[np.float64],
    trials: npt.NDArray[np.float64],
    prior: float,
    prior_units: float,
    decay: float,
) -> npt.NDArray[np.float64]:
    """Centre of each day, from the day's sums and trials: an EWMA that moves only when a day with units
    closes.

    It starts at `prior` with the weight of `prior_units` units.
    """
    centres = np.empty(len(sums))
    mean, weight = prior, prior_units
    for index in range(len(sums)):
        centres[index] = mean
        kept = decay * weight
        weight = kept + float(trials[index])
        if weight > 0.0:
            mean += (float(sums[index]) - mean * float(trials[index])) / weight
    return centres
