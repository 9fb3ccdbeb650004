"""Two means of one value per unit, one look: Welch's t (1947) is `ratio_t` with N = 1.

`yuen` and `mann_whitney` ask other questions, of the middle of the values and of their order: a few large
losses do not move them, which is why money is judged by neither.
"""

import math

import numpy as np
import numpy.typing as npt

from stats.clusters import check_finite, pair_of_values
from stats.comparison import Comparison, by_student, no_variation, not_ready
from stats.errors import DesignError
from stats.ratio import ratio_t, satterthwaite

Floats = npt.NDArray[np.float64]


def welch(treatment: Floats, control: Floats, alpha: float = 0.05) -> Comparison:
    """mean(treatment) - mean(control). An offset of 1e9 common to both costs no digits."""
    return ratio_t(*pair_of_values(treatment, control), alpha)


def yuen(treatment: Floats, control: Floats, trimmed: float = 0.1, alpha: float = 0.05) -> Comparison:
    """Trimmed means, a share `trimmed` (rounded down) left out at either end (Yuen 1974)."""
    if not 0.0 < trimmed < 0.5:
        raise DesignError(f"trimmed is {trimmed!r}: leave out a share inside (0, 0.5) at either end")
    arms = [np.sort(arm.sums) for arm in pair_of_values(treatment, control)]
    kept = [len(values) - 2 * int(trimmed * len(values)) for values in arms]
    if min(kept) < 2:
        return not_ready("an arm has fewer than two values left")
    (middle_1, variance_1), (middle_0, variance_0) = (
        _trimmed(values, left) for values, left in zip(arms, kept, strict=True)
    )
    df = satterthwaite((variance_1, variance_0), (kept[0] - 1, kept[1] - 1))
    return by_student(middle_1 - middle_0, math.sqrt(variance_1 + variance_0), df, alpha)


def _trimmed(ordered: Floats, kept: int) -> tuple[float, float]:
    """(trimmed mean, its variance from the winsorised values)."""
    cut = (len(ordered) - kept) // 2
    inside = ordered[cut : cut + kept]
    held = np.clip(ordered, inside[0], inside[-1])
    return float(inside.mean()), float(np.sum((held - held.mean()) ** 2)) / (kept * (kept - 1))


def mann_whitney(treatment: Floats, control: Floats) -> Comparison:
    """Whether a treated value tends to be above a control's (Mann and Whitney 1947): estimate = P(above) +
    P(equal)/2 - 1/2.
    """
    check_finite("treatment", treatment)
    check_finite("control", control)
    if min(len(treatment), len(control)) < 1:
        return not_ready("an arm has no value yet")
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(treatment, control, alternative="two-sided")
    share = float(found.statistic) / (len(treatment) * len(control)) - 0.5
    p = float(found.pvalue)
    return (
        Comparison(estimate=share, statistic=None, p=min(1.0, p)) if np.isfinite(p) else no_variation(share)
    )
