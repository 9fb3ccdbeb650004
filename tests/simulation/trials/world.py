"""Worlds whose truth is known: days of units, each a cluster of correlated decisions, and a moving split."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from stats.scores import Scores

Floats = npt.NDArray[np.float64]
Schedule = Literal["10", "50", "ramp", "adaptive"]
RAMP = (0.1, 0.25, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """icc: of decisions in a unit. drift: sd of the baseline's random walk over the run. effect: on the win
    rate of a decision. shape: of the gamma law of sizes, smaller is heavier. looks: a day. market_sd,
    window_sd: what units of a market share for ever, and units of a window.
    """

    icc: float = 0.1
    drift: float = 0.08
    schedule: Schedule = "ramp"
    per_day: int = 40
    days: int = 40
    mean_size: float = 15.0
    shape: float = 1.0
    effect: float = 0.0
    looks: int = 1
    market_sd: float = 0.0
    window_sd: float = 0.0

    @property
    def units(self) -> int:
        """Of both arms."""
        return self.per_day * self.days

    @property
    def day(self) -> npt.NDArray[np.int64]:
        """Of each unit."""
        return np.arange(self.units, dtype=np.int64) // self.per_day

    @property
    def look(self) -> npt.NDArray[np.int64]:
        """The look that each unit is first in."""
        return np.arange(self.units, dtype=np.int64) * self.looks // self.per_day

    @property
    def planned(self) -> Floats:
        """Propensities if the split goes as planned; an adaptive one is planned as a ramp."""
        if self.schedule in {"10", "50"}:
            return np.full(self.units, int(self.schedule) / 100)
        return np.array(RAMP)[np.minimum(self.day * 3 // self.days, 2)]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One run. sizes, wins: decisions of each unit, and those that were won, under the arm that it got."""

    e: Floats
    treated: npt.NDArray[np.bool_]
    sizes: Floats
    wins: Floats

    def of_decisions(self, world: World) -> Scores:
        """The win rate of decisions, a unit being their cluster."""
        return self._scores(world, self.sizes, self.wins)

    def of_units(self, world: World) -> Scores:
        """The win rate of units: won where more than half of the decisions were."""
        return self._scores(world, np.ones(world.units), (2.0 * self.wins > self.sizes).astype(np.float64))

    def _scores(self, world: World, trials: Floats, sums: Floats) -> Scores:
        traded = np.ones(world.units, dtype=np.bool_)
        return Scores(world.look, self.treated, traded, self.e, trials, sums, 0.0, 0)


def drawn(world: World, rng: np.random.Generator) -> Drawn:
    """Both outcomes of every unit are drawn before its coin, so that a split may follow what was seen."""
    base = _base(world, rng)
    sizes = 1.0 + rng.poisson(rng.gamma(world.shape, (world.mean_size - 1.0) / world.shape, world.units))
    control = _wins(sizes, base, world.icc, rng)
    treatment = control if world.effect == 0.0 else _wins(sizes, base + world.effect, world.icc, rng)
    coins = rng.random(world.units)
    is_planned = world.schedule != "adaptive"
    e = world.planned if is_planned else _adaptive(world, coins, (control, treatment), sizes)
    treated = coins < e
    return Drawn(e, treated, sizes, np.where(treated, treatment, control))


def _base(world: World, rng: np.random.Generator) -> Floats:
    steps = rng.normal(0.0, world.drift / np.sqrt(world.days), world.days)
    windows = rng.normal(0.0, world.window_sd, world.units // 4 + 1)[np.arange(world.units) // 4]
    markets = rng.normal(0.0, world.market_sd, world.per_day)[np.arange(world.units) % world.per_day]
    base: Floats = 0.5 + np.cumsum(steps)[world.day] + windows + markets
    return np.clip(base, 0.05, 0.9)


def _wins(sizes: Floats, rate: Floats, icc: float, rng: np.random.Generator) -> Floats:
    """Beta-binomial, or binomial without correlation."""
    chance = rate
    if icc > 0.0:
        firmness = 1.0 / icc - 1.0
        chance = rng.beta(rate * firmness, (1.0 - rate) * firmness)
    return rng.binomial(sizes.astype(np.int64), chance).astype(np.float64)


def _adaptive(world: World, coins: Floats, wins: tuple[Floats, Floats], sizes: Floats) -> Floats:
    """Every five days the share goes up where the treatment looks better so far, else down."""
    e, stage, block = np.empty(world.units), 0, 5 * world.per_day
    for start in range(0, world.units, block):
        stop = min(world.units, start + block)
        e[start:stop] = RAMP[stage]
        treated = coins[:stop] < e[:stop]
        rates = [_rate(treated == arm, wins[arm][:stop], sizes[:stop]) for arm in (0, 1)]
        stage = min(2, stage + 1) if rates[1] > rates[0] else max(0, stage - 1)
    return e


def _rate(own: npt.NDArray[np.bool_], wins: Floats, sizes: Floats) -> float:
    return float(wins[own].sum() / max(1.0, float(sizes[own].sum())))
