"""Worlds whose truth is known: days of units, each a cluster of correlated decisions, and a moving split.

A clock, a coin and a market are all that is random. What a unit would bring under either arm is drawn before
its coin, so that a split may follow what was seen.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Schedule = Literal["10", "50", "ramp", "thirds", "adaptive"]
STAGES: dict[Schedule, tuple[float, ...]] = {
    "10": (0.1,),
    "50": (0.5,),
    "ramp": (0.1, 0.25, 0.5, 0.5),
    "thirds": (0.1, 0.25, 0.5),
    "adaptive": (0.1, 0.25, 0.5, 0.5),
}
"""Parts of equal length. An adaptive split is planned as the ramp. Half of the ramp is spent at 50%: only
then do overlap weights hold 15% more information than enrolled halves and 19% more than weights of 1/e, as
the design says of its own ramp; of thirds it would have said 24% and 20%.
"""
RAMP = (0.1, 0.25, 0.5)
GATE_DAYS = 5
MARKETS_PER_WINDOW = 4
TYPICAL_RATE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """icc: of decisions in a market. drift: sd of the baseline's random walk over the run. effect: on the win
    rate of a decision. shape: of the gamma law of sizes, smaller is heavier. looks: a day. market_sd,
    window_sd: what units of a market share for ever, and units of a window. together: markets under one coin,
    which are one unit then. known: share of what a market's decisions have in common that is forecast before
    the coin. tails: degrees of freedom of a unit's PnL, 0 for none.
    """

    icc: float = 0.1
    drift: float = 0.08
    schedule: Schedule = "ramp"
    markets_per_day: int = 40
    days: int = 40
    mean_size: float = 15.0
    shape: float = 1.0
    effect: float = 0.0
    looks: int = 1
    market_sd: float = 0.0
    window_sd: float = 0.0
    together: int = 1
    known: float = 0.0
    tails: float = 0.0

    @property
    def per_day(self) -> int:
        """Units of both arms."""
        return self.markets_per_day // self.together

    @property
    def units(self) -> int:
        return self.per_day * self.days

    @property
    def markets(self) -> int:
        return self.markets_per_day * self.days

    @property
    def day(self) -> Ints:
        """Of each unit."""
        return np.arange(self.units, dtype=np.int64) // self.per_day

    @property
    def look(self) -> Ints:
        """The look that each unit is first in."""
        return np.arange(self.units, dtype=np.int64) * self.looks // self.per_day

    @property
    def planned(self) -> Floats:
        """Propensities if the split goes as planned."""
        stages = STAGES[self.schedule]
        return np.array(stages)[self.day * len(stages) // self.days]

    @property
    def unknown_icc(self) -> float:
        """Of what the forecast leaves: both together are `icc`."""
        return (1.0 - self.known) * self.icc / (1.0 - self.known * self.icc)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One run. sizes, wins: decisions of each unit, and those that were won, under the arm that it got.
    rates: of a decision of each market under the control, before chance; forecast: what of the unit's rate
    was known, as a difference from the day's. pnl_micro: the same under either arm.
    """

    e: Floats
    treated: Bools
    sizes: Floats
    wins: Floats
    rates: Floats
    forecast: Floats
    pnl_micro: Ints


def drawn(world: World, rng: np.random.Generator) -> Drawn:
    """Draw one run."""
    base = _base(world, rng)
    rates = _forecast(world, base, rng)
    sizes = _sizes(world, rng)
    control = _wins(sizes, rates, world.unknown_icc, rng)
    treatment = control if world.effect == 0.0 else _wins(sizes, rates + world.effect, world.unknown_icc, rng)
    coins = rng.random(world.units)
    sizes, control, treatment = (_by_unit(world, column) for column in (sizes, control, treatment))
    is_planned = world.schedule != "adaptive"
    e = world.planned if is_planned else _adaptive(world, coins, (control, treatment), sizes)
    treated = coins < e
    wins = np.where(treated, treatment, control)
    forecast = _by_unit(world, rates - base) / world.together
    return Drawn(e, treated, sizes, wins, rates, forecast, _pnl_micro(world, base, rng))


def _sizes(world: World, rng: np.random.Generator) -> Floats:
    """One decision at least, and a gamma-mixed Poisson number more."""
    means = rng.gamma(world.shape, (world.mean_size - 1.0) / world.shape, world.markets)
    return (1 + rng.poisson(means)).astype(np.float64)


def _by_unit(world: World, of_markets: Floats) -> Floats:
    total: Floats = of_markets.reshape(world.units, world.together).sum(axis=1)
    return total


def _base(world: World, rng: np.random.Generator) -> Floats:
    """The day's rate, with what a market or a window has of its own."""
    market = np.arange(world.markets)
    steps = rng.normal(0.0, world.drift / np.sqrt(world.days), world.days)
    shocks = rng.normal(0.0, world.window_sd, world.markets // MARKETS_PER_WINDOW + 1)
    kinds = rng.normal(0.0, world.market_sd, world.markets_per_day)
    base: Floats = TYPICAL_RATE + np.cumsum(steps)[market // world.markets_per_day]
    base = base + shocks[market // MARKETS_PER_WINDOW] + kinds[market % world.markets_per_day]
    return np.clip(base, 0.05, 0.9)


def _forecast(world: World, base: Floats, rng: np.random.Generator) -> Floats:
    """The rates that were known before the coin."""
    if world.known == 0.0:
        return base
    sd = np.sqrt(world.known * world.icc * base * (1.0 - base))
    return np.clip(base + rng.normal(0.0, 1.0, world.markets) * sd, 0.02, 0.92)


def _wins(sizes: Floats, rate: Floats, icc: float, rng: np.random.Generator) -> Floats:
    """Beta-binomial, or binomial without correlation."""
    chance = rate
    if icc > 0.0:
        firmness = 1.0 / icc - 1.0
        chance = rng.beta(rate * firmness, (1.0 - rate) * firmness)
    return rng.binomial(sizes.astype(np.int64), chance).astype(np.float64)


def _adaptive(world: World, coins: Floats, wins: tuple[Floats, Floats], sizes: Floats) -> Floats:
    """Every five days the share goes up where the treatment looks better so far, else down."""
    e, stage, block = np.empty(world.units), 0, GATE_DAYS * world.per_day
    for start in range(0, world.units, block):
        stop = min(world.units, start + block)
        e[start:stop] = RAMP[stage]
        treated = coins[:stop] < e[:stop]
        rates = [_rate(treated == arm, wins[arm][:stop], sizes[:stop]) for arm in (0, 1)]
        stage = min(2, stage + 1) if rates[1] > rates[0] else max(0, stage - 1)
    return e


def _rate(own: Bools, wins: Floats, sizes: Floats) -> float:
    return float(wins[own].sum() / max(1.0, float(sizes[own].sum())))


def _pnl_micro(world: World, base: Floats, rng: np.random.Generator) -> Ints:
    """USD with heavy tails around what the day brings, in micro-USD."""
    if world.tails == 0.0:
        return np.zeros(world.units, dtype=np.int64)
    usd = 10.0 * _by_unit(world, base - TYPICAL_RATE) + rng.standard_t(world.tails, world.units)
    return np.round(1e6 * usd).astype(np.int64)
