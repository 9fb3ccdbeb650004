"""PnL held within caps that were fixed before the experiment: less noise from rare trades, for a small bias.

Caps come from the incumbent's history and are the same for both arms. Caps found in each arm's own data
would move with what is compared: never do that.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.clusters import check_finite, pair_of_values
from stats.comparison import Comparison
from stats.errors import DesignError
from stats.ratio import ratio_t

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Caps:
    """In the unit of the values."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise DesignError(
                f"caps are {self.low!r} and {self.high!r}: the low one may not be above the high one"
            )

    def hold(self, values: Floats) -> Floats:
        check_finite("values", values)
        return np.clip(values, self.low, self.high)

    def touched(self, values: Floats) -> int:
        """How many values the caps change."""
        return int(np.count_nonzero((values < self.low) | (values > self.high)))


@dataclass(frozen=True, slots=True)
class Winsorised:
    """The capped comparison beside the raw one, and how many values of each arm the caps changed."""

    capped: Comparison
    raw: Comparison
    touched_treatment: int
    touched_control: int


def caps_from(history: Floats, share: float) -> Caps | None:
    """Caps that leave a `share` of the history (rounded down) beyond either end; None without history."""
    if not 0.0 <= share < 0.5:
        raise DesignError(f"share is {share!r}: choose how much lies beyond each cap, in [0, 0.5), say 0.005")
    check_finite("history", history)
    if len(history) == 0:
        return None
    ordered, beyond = np.sort(history), int(share * len(history))
    return Caps(float(ordered[beyond]), float(ordered[len(ordered) - 1 - beyond]))


def winsorised(treatment: Floats, control: Floats, caps: Caps, alpha: float = 0.05) -> Winsorised:
    """Difference of the means of capped values, one per unit, by Welch's t."""
    return Winsorised(
        ratio_t(*pair_of_values(caps.hold(treatment), caps.hold(control)), alpha),
        ratio_t(*pair_of_values(treatment, control), alpha),
        caps.touched(treatment),
        caps.touched(control),
    )
