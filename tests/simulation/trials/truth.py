"""What a world's truth is for units: how often more than half of a unit's decisions are won."""

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, gammaln

from trials.world import Drawn, World

Floats = npt.NDArray[np.float64]

_STEPS = 100


def unit_effect(world: World, run: Drawn) -> float:
    """The difference that overlap weights estimate: of each unit's chance to win, under its own rate."""
    if world.effect == 0.0:
        return 0.0
    changed = unit_rate(run.rates + world.effect, run.sizes, world.unknown_icc)
    gain = changed - unit_rate(run.rates, run.sizes, world.unknown_icc)
    weight = run.e * (1.0 - run.e)
    return float(np.sum(weight * gain) / np.sum(weight))


def unit_rate(rates: Floats, sizes: Floats, icc: float) -> Floats:
    """P(more than half of `sizes` decisions are won), straight between hundredths of a rate."""
    size, place = sizes.astype(np.int64), rates * _STEPS
    left = np.minimum(place.astype(np.int64), _STEPS - 1)
    table = _table(icc, 64 * (int(size.max()) // 64 + 1))
    found: Floats = table[size, left] + (place - left) * (table[size, left + 1] - table[size, left])
    return found


@cache
def _table(icc: float, most: int) -> Floats:
    """Sizes 0..most-1 by rates in hundredths; beta-binomial, which needs an ICC above 0."""
    rates = np.clip(np.linspace(0.0, 1.0, _STEPS + 1), 1e-9, 1.0 - 1e-9)
    firmness = 1.0 / icc - 1.0
    return np.array([_row(size, rates * firmness, (1.0 - rates) * firmness) for size in range(most)])


def _row(size: int, a: Floats, b: Floats) -> Floats:
    wins = np.arange(size // 2 + 1, size + 1)[:, np.newaxis]
    choose = gammaln(size + 1.0) - gammaln(wins + 1.0) - gammaln(size - wins + 1.0)
    chances = np.exp(choose + betaln(wins + a, size - wins + b) - betaln(a, b))
    total: Floats = chances.sum(axis=0)
    return total
