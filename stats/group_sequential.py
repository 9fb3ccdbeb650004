"""A few planned looks that share one error budget: Lan and DeMets' group sequential test.

At information fractions t of a maximum fixed beforehand, Z moves like B(t)/sqrt(t), B a Brownian motion with
drift; the chance to cross a boundary is integrated numerically (Armitage, McPherson, Rowe 1969), panel by
panel, to about 1e-12. Looks may come at other times than planned, never because of what was seen.

sided 1: alpha is spent on crossing upwards; sided 2: on leaving a symmetric band, either way.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from stats.comparison import check_alpha
from stats.errors import DesignError
from stats.root import crossing
from stats.special import normal_cdf, normal_isf, normal_quantile, normal_sf, normal_sfs, student_t_quantile

Floats = npt.NDArray[np.float64]
Sided = Literal[1, 2]
Spending = Callable[[float, float], float]

NEAREST_LOOKS = 0.005
_FARTHEST = 9.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


@dataclass(frozen=True, slots=True)
class Boundaries:
    """critical: z to reach at each look. spent: alpha spent up to and with it. An infinite z: nothing worth a
    float may be spent yet.
    """

    fractions: tuple[float, ...]
    critical: tuple[float, ...]
    spent: tuple[float, ...]
    sided: Sided


def obrien_fleming_like(fraction: float, alpha: float) -> float:
    """Alpha spent by t, 2(1 - Phi(z_{alpha/2} / sqrt t)): almost all of it late (Lan and DeMets 1983)."""
    return min(alpha, 2.0 * normal_sf(normal_isf(alpha / 2.0) / math.sqrt(fraction)))


def pocock_like(fraction: float, alpha: float) -> float:
    """alpha ln(1 + (e - 1) t): evenly (Lan and DeMets 1983)."""
    return alpha * math.log1p((math.e - 1.0) * fraction)


def power_spending(fraction: float, alpha: float) -> float:
    """alpha t^2 (Kim and DeMets 1987, gamma = 2): between the two."""
    return alpha * fraction**2


def spending_boundaries(
    fractions: Sequence[float], alpha: float, spending: Spending, sided: Sided = 2
) -> Boundaries:
    """Boundaries for the looks taken so far; those of earlier looks do not change when later ones move."""
    times = _checked(fractions, alpha)
    path, critical, before = _start(0.0), list[float](), 0.0
    spent = [sided * spending(time, alpha / sided) for time in times]
    for place, time in enumerate(times):
        critical.append(_edge(path, time, (spent[place] - before) / sided))
        before = spent[place]
        path = _within(path, times, place, (_floor(critical[-1], sided), critical[-1]))
    return Boundaries(times, tuple(critical), tuple(spent), sided)


def pocock(fractions: Sequence[float], alpha: float, sided: Sided = 2) -> Boundaries:
    """The same z at every look (Pocock 1977)."""
    return _shaped(fractions, alpha, sided, lambda _time: 1.0)


def obrien_fleming(fractions: Sequence[float], alpha: float, sided: Sided = 2) -> Boundaries:
    """z falling as 1/sqrt t (O'Brien and Fleming 1979)."""
    return _shaped(fractions, alpha, sided, lambda time: 1.0 / math.sqrt(time))


def power_of(bounds: Boundaries, drift: float) -> float:
    """Chance to cross upwards at one of the looks, if E[final Z] is `drift`."""
    return _crossed(bounds.fractions, bounds.critical, bounds.sided, drift)[-1]


def crossed_by(bounds: Boundaries, drift: float) -> tuple[float, ...]:
    """Chance to have crossed upwards by each look, if E[final Z] is `drift`."""
    return tuple(_crossed(bounds.fractions, bounds.critical, bounds.sided, drift))


def drift_for(bounds: Boundaries, power: float) -> float:
    """E[final Z] that is found with this chance."""
    if not 0.0 < power < 1.0:
        raise DesignError(f"power is {power!r}: choose one inside (0, 1), say 0.8")
    return crossing(lambda drift: power_of(bounds, drift) - power, 0.0, 2.0 * _FARTHEST)


def inflation(bounds: Boundaries, power: float) -> float:
    """Units at the last look over those of one fixed test with the same alpha and power."""
    fixed = normal_isf(bounds.spent[-1] / bounds.sided) + normal_quantile(power)
    return (drift_for(bounds, power) / fixed) ** 2


def futility_bounds(bounds: Boundaries, spending: Spending, beta: float = 0.2) -> tuple[float, ...]:
    """z to give up below at each look but the last, spending `beta` on missing the drift that meets the
    critical value exactly at the last look. Not binding: the critical values stay as they are.
    """
    check_alpha(beta)
    if bounds.sided == 2:
        raise DesignError("bounds are two-sided: giving up is one-sided, give bounds with sided=1")
    lost = [spending(time, beta) for time in bounds.fractions]

    def last(drift: float) -> float:
        return _given_up(bounds, lost, drift)[-1] - bounds.critical[-1]

    drift = crossing(last, 0.5, _FARTHEST)
    return _given_up(bounds, lost, drift)[:-1]


def in_student_t(critical: float, df: float) -> float:
    """The t with as much beyond it as the z has: what to compare a clustered statistic with on few units."""
    return student_t_quantile(normal_cdf(critical), df) if critical < _FARTHEST else math.inf


@dataclass(frozen=True, slots=True)
class _Path:
    """Where the motion is at `time`, not having stopped: places with their chances."""

    time: float
    places: Floats
    chances: Floats
    drift: float

    def above(self, time: float, level: float) -> float:
        """P(B(time) > level and not stopped before)."""
        return float(self.chances @ normal_sfs(self._standard(level, time)))

    def below(self, time: float, level: float) -> float:
        return float(self.chances @ normal_sfs(-self._standard(level, time)))

    def _standard(self, level: float, time: float) -> Floats:
        gap = time - self.time
        result: Floats = (level - self.places - self.drift * gap) / math.sqrt(gap)
        return result


def _start(drift: float) -> _Path:
    return _Path(0.0, np.zeros(1), np.ones(1), drift)


def _within(path: _Path, times: tuple[float, ...], place: int, band: tuple[float, float]) -> _Path:
    """Go on to look `place` where z stayed inside `band`; panels as fine as the nearer neighbour needs."""
    time, root = times[place], math.sqrt(times[place])
    gap = time - path.time
    after = times[place + 1] - time if place + 1 < len(times) else gap
    middle = path.drift * time
    low = max(band[0] * root, middle - _FARTHEST * root)
    high = min(band[1] * root, middle + _FARTHEST * root)
    if not low < high:
        return _Path(time, np.zeros(1), np.zeros(1), path.drift)
    panels = max(1, math.ceil((high - low) / (1.5 * math.sqrt(min(gap, after)))))
    half = 0.5 * (high - low) / panels
    middles = low + half * (2.0 * np.arange(panels) + 1.0)
    places = (middles[:, None] + half * _NODES).ravel()
    steps = (places[:, None] - path.places - path.drift * gap) / math.sqrt(gap)
    density = np.exp(-0.5 * steps**2) @ path.chances / math.sqrt(2.0 * math.pi * gap)
    return _Path(time, places, density * np.tile(half * _WEIGHTS, panels), path.drift)


def _edge(path: _Path, time: float, budget: float) -> float:
    """z above which the motion gets at `time` with chance `budget`; infinite where a float cannot tell."""
    root = math.sqrt(time)
    if budget <= 0.0 or path.above(time, _FARTHEST * root) >= budget:
        return math.inf
    return crossing(
        lambda z: math.log(max(path.above(time, z * root), 1e-300) / budget), -_FARTHEST, _FARTHEST
    )


def _shaped(
    fractions: Sequence[float], alpha: float, sided: Sided, shape: Callable[[float], float]
) -> Boundaries:
    times = _checked(fractions, alpha)

    def at(scale: float) -> tuple[float, ...]:
        return tuple(scale * shape(time) for time in times)

    def excess(scale: float) -> float:
        return sided * _crossed(times, at(scale), sided, 0.0)[-1] / alpha - 1.0

    critical = at(crossing(excess, 0.1, _FARTHEST))
    return Boundaries(
        times, critical, tuple(sided * chance for chance in _crossed(times, critical, sided, 0.0)), sided
    )


def _crossed(
    times: tuple[float, ...], critical: tuple[float, ...], sided: Sided, drift: float
) -> list[float]:
    """Chance to have crossed upwards by each look."""
    path, crossed = _start(drift), [0.0]
    for place, time in enumerate(times):
        crossed.append(crossed[-1] + path.above(time, critical[place] * math.sqrt(time)))
        if place + 1 < len(times):
            path = _within(path, times, place, (_floor(critical[place], sided), critical[place]))
    return crossed[1:]


def _given_up(bounds: Boundaries, lost: Sequence[float], drift: float) -> tuple[float, ...]:
    """Infinite from where giving up would begin above the critical value: the drift is too large."""
    path, bands, before = _start(drift), list[float](), 0.0
    for place, time in enumerate(bounds.fractions):
        bands.append(_fall(path, time, lost[place] - before))
        before = lost[place]
        if bands[-1] > bounds.critical[place] and place + 1 < len(bounds.fractions):
            return (*bands, math.inf)
        path = _within(path, bounds.fractions, place, (bands[-1], bounds.critical[place]))
    return tuple(bands)


def _fall(path: _Path, time: float, budget: float) -> float:
    """z below which the motion gets at `time` with chance `budget`."""
    root = math.sqrt(time)
    return crossing(
        lambda z: math.log(max(path.below(time, z * root), 1e-300) / budget),
        -2.0 * _FARTHEST,
        2.0 * _FARTHEST,
    )


def _floor(critical: float, sided: Sided) -> float:
    return -critical if sided == 2 else -math.inf


def _checked(fractions: Sequence[float], alpha: float) -> tuple[float, ...]:
    check_alpha(alpha)
    times = tuple(float(fraction) for fraction in fractions)
    gaps = np.diff((0.0, *times))
    if not times or times[-1] > 1.0 or not np.all(gaps >= NEAREST_LOOKS):
        raise DesignError(
            f"fractions are {list(times)}: give rising information fractions up to 1,"
            f" at least {NEAREST_LOOKS} apart"
        )
    return times
