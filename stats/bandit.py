"""Shares of the arms of a bandit: each arm's chance to be the best, above a floor. Pure; no draw is made.

Probability matching (Thompson, Biometrika 1933; Scott, ASMBI 2010): a unit's coin is the draw, so an arm's
share is its posterior chance to be the best. The floor keeps every propensity away from 0, as inference
after a bandit asks (Zhang, Janson and Murphy, NeurIPS 2020, "clipping"). Totals of an arm are over mature
units that could have come to any arm. How the arms' levels drift while the shares move is not corrected
here: an arm that was favoured in good weeks looks better than it is, until both arms have seen others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stats.errors import DesignError
from stats.exact import exact_sum
from stats.special import beta_cdf, beta_quantiles, normal_cdfs, normal_quantiles
from stats.status import Metric
from stats.units import Units

Floats = npt.NDArray[np.float64]

GRID = 1_000_000
FEWEST_UNITS = 20
"""Of each arm, before a spread of money is believed."""
_LOGITS = 0.04 * np.arange(-500, 501)
_LEVELS: Floats = 1.0 / (1.0 + np.exp(-_LOGITS))
_WEIGHTS: Floats = _LEVELS * (1.0 - _LEVELS) / float(np.sum(_LEVELS * (1.0 - _LEVELS)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTotals:
    """What the mature units of one arm came to. traded: units with a fill; won: of all, with a profit.

    squares: sum of squared distances of a unit's net PnL from the arm's mean, in micro-USD squared.
    """

    units: int = 0
    traded: int = 0
    won: int = 0
    pnl_micro: int = 0
    squares: float = 0.0


@dataclass(frozen=True, slots=True)
class Shares:
    """millionths: of each arm, adding up to 1,000,000. reason: why they are even, or empty."""

    millionths: tuple[int, ...]
    chances: tuple[float, ...]
    reason: str = ""


class Posterior(Protocol):
    """What is believed of one arm's level."""

    def quantiles(self, levels: Floats) -> Floats:
        """Never falling in `levels`."""
        ...

    def cdf(self, values: Floats) -> Floats:
        """P(level <= value)."""
        ...


@dataclass(frozen=True, slots=True)
class Rate:
    """Beta(1 + wins, 1 + losses): the posterior of a rate from the uniform prior (Thompson 1933)."""

    wins: int
    losses: int

    def quantiles(self, levels: Floats) -> Floats:
        return beta_quantiles(levels, 1.0 + self.wins, 1.0 + self.losses)

    def cdf(self, values: Floats) -> Floats:
        return beta_cdf(values, 1.0 + self.wins, 1.0 + self.losses)


@dataclass(frozen=True, slots=True)
class Mean:
    """Normal posterior of a mean, from a prior N(m, s^2) that weighs as much as one unit: N((sum + m) /
    (n + 1), s^2 / (n + 1)) (Agrawal and Goyal, AISTATS 2013, with m = 0). m is the mean of all units, so
    that what is added to every unit changes nothing. In micro-USD a unit.
    """

    centre: float
    sd: float

    def quantiles(self, levels: Floats) -> Floats:
        result: Floats = self.centre + self.sd * normal_quantiles(levels)
        return result

    def cdf(self, values: Floats) -> Floats:
        return normal_cdfs((values - self.centre) / self.sd)


def totals_of(units: Units) -> ArmTotals:
    """Of one arm's rows."""
    count, total = len(units), exact_sum(units.pnl_micro)
    from_near = (units.pnl_micro - total // max(1, count)).astype(np.float64)
    squares = float(np.sum((from_near - from_near.mean()) ** 2)) if count else 0.0
    traded, won = int(np.count_nonzero(units.traded)), int(np.count_nonzero(units.won))
    return ArmTotals(units=count, traded=traded, won=won, pnl_micro=total, squares=squares)


def shares(metric: Metric, arms: Sequence[ArmTotals], floor_millionths: int) -> Shares:
    """The shares that the totals ask for; even ones, with the reason, where they say nothing yet.

    Law: a unit that won instead of losing, or that brought more money at the same spread, never lowers its
    arm's share. A share is never below the floor, and they add up to 1,000,000 exactly.
    """
    _check(arms, floor_millionths)
    why = _silence(metric, arms)
    if why:
        even = (1.0 / len(arms),) * len(arms)
        return Shares(gridded(even, floor_millionths), even, why)
    found = chances([_rate(metric, arm) for arm in arms] if metric != "pnl" else _means(arms))
    return Shares(gridded(found, floor_millionths), found)


def chances(posteriors: Sequence[Posterior]) -> tuple[float, ...]:
    """P(arm is the best), of each arm; they add up to 1 to rounding.

    E over the arm's own level of the product of the others' distribution functions, by the trapezoid rule in
    the logit of its quantile levels: the points do not move with the data, so a posterior that rises takes
    each of its terms up and none of anybody else's.
    """
    raw = [_chance(posteriors, place) for place in range(len(posteriors))]
    whole = math.fsum(raw)
    return tuple(chance / whole for chance in raw)


def gridded(wanted: Sequence[float], floor_millionths: int) -> tuple[int, ...]:
    """Floor plus a part of what is left above all floors, in whole buckets, the largest remainders first."""
    room = GRID - floor_millionths * len(wanted)
    exact = [chance * room for chance in wanted]
    whole = [math.floor(part) for part in exact]
    by_rest = sorted(range(len(exact)), key=lambda arm: (whole[arm] - exact[arm], arm))
    favoured = set(by_rest[: room - sum(whole)])
    return tuple(floor_millionths + part + (arm in favoured) for arm, part in enumerate(whole))


def _chance(posteriors: Sequence[Posterior], place: int) -> float:
    values = posteriors[place].quantiles(_LEVELS)
    below = np.ones_like(values)
    for other, posterior in enumerate(posteriors):
        if other != place:
            below = below * posterior.cdf(values)
    return float(_WEIGHTS @ below)


def _silence(metric: Metric, arms: Sequence[ArmTotals]) -> str:
    """A rate has a prior that is a distribution; a spread of money must have been seen."""
    if metric != "pnl":
        return ""
    fewest = min(arm.units for arm in arms)
    if fewest < FEWEST_UNITS:
        return f"an arm has {fewest} mature units, and the spread of PnL takes {FEWEST_UNITS} of each"
    if not math.fsum(arm.squares for arm in arms) > 0.0:
        return "no unit's PnL differs from its arm's mean: nothing says how far means may lie apart"
    return ""


def _rate(metric: Metric, arm: ArmTotals) -> Rate:
    trials = arm.traded if metric == "win_rate" else arm.units
    return Rate(arm.won, trials - arm.won)


def _means(arms: Sequence[ArmTotals]) -> list[Mean]:
    """With the spread within arms, the same for all: an arm is not favoured for being the wilder one."""
    units = sum(arm.units for arm in arms)
    spread = math.sqrt(math.fsum(arm.squares for arm in arms) / (units - len(arms)))
    level, each = sum(arm.pnl_micro for arm in arms) / units, [arm.units + 1 for arm in arms]
    sums = [arm.pnl_micro + level for arm in arms]
    return [Mean(total / n, spread / math.sqrt(n)) for total, n in zip(sums, each, strict=True)]


def _check(arms: Sequence[ArmTotals], floor_millionths: int) -> None:
    if len(arms) < 2:
        raise DesignError(f"a bandit of {len(arms)} arm(s) has nothing to choose: give two or more")
    if not 0 <= floor_millionths * len(arms) <= GRID:
        raise DesignError(
            f"floor_millionths is {floor_millionths} for {len(arms)} arms: together at most 1,000,000"
        )
    for arm in arms:
        if not (0 <= arm.won <= arm.traded <= arm.units and arm.squares >= 0.0):
            raise DesignError(f"totals are {arm}: units won are of those traded, and those of all units")
