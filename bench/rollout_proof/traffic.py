"""Simulated markets whose truth is known: four assets a window, what both arms would bring, and when it is
known.

What the markets of a window would bring under either arm comes from the same draw with the chance `paired`,
else from another of the same law: so that is the correlation of what equal arms bring, and the money that an
arm costs is known market by market. Coins are drawn with the traffic, never by it.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
By = Literal["market", "window"]

ASSETS = 4
WINDOWS_A_DAY = 96
MARKETS_A_DAY = ASSETS * WINDOWS_A_DAY
WINDOW_S = 900
ATTRIBUTION_S = 900
BEFORE_DAYS = 7
"""Days of the control alone: its history."""
BASE_RATE = 0.55
LEAST_RATE, MOST_RATE = 0.2, 0.8
WIN_USD, LOSS_USD = 0.36, -0.42
SIZE_SHAPE = 8.0
"""Of the gamma law of sizes, of mean 1: PnL of a market has a standard deviation of 0.4 USD."""
DELAY_S = 60.0
PAPER_SD_USD = 0.1
"""By how much live PnL of a market is off paper, at random."""
PAIRED = 0.3
LOST = 0.0002
"""Of the outcomes: never come, in either arm. A bound takes each at its worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """correlation: of wins in a window, where wins are as likely as losses. drift: sd of the daily rate's
    random walk over a quarter of a year. effect: on a market's win rate; swings: added and taken away in
    turns of `regime_days`; regime_shift: of the base rate from `regime_day` on, in both arms. win_usd,
    loss_usd: the treatment's. slow_losers: mean delay of the treatment's losing outcomes, in seconds. outage:
    first day, and days. lost: of the outcomes. paired: correlation of what both arms would bring in a market,
    where they are alike. too_kind_usd: what paper makes more of every market of the treatment than it brings.
    """

    correlation: float = 0.1
    drift: float = 0.08
    effect: float = 0.0
    swings: float = 0.0
    regime_shift: float = 0.0
    regime_day: int = 5
    regime_days: int = 3
    win_usd: float = WIN_USD
    loss_usd: float = LOSS_USD
    slow_losers: float = DELAY_S
    outage: tuple[float, float] | None = None
    lost: float = LOST
    paired: float = PAIRED
    too_kind_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Potential:
    """What each unit brings under one arm. settled_s: after its start; beyond the attribution it is lost."""

    won: Bools
    pnl_micro: Ints
    settled_s: Floats


@dataclass(frozen=True, slots=True)
class Traffic:
    """Units in the order of their start, in days since the rollout's start; negative: before it.

    arms: potentials of (control, treatment). away: the treatment could not answer, and the control did.
    bots: of each unit. paper_usd: of the treatment less the control, both on paper; live_less_paper_usd: of
    the control.
    """

    start_day: Floats
    coin: Floats
    arms: tuple[Potential, Potential]
    away: Bools
    bots: int
    paper_usd: Floats
    live_less_paper_usd: Floats

    def until(self, days: float) -> int:
        """Units that had started by then."""
        return int(np.searchsorted(self.start_day, days, side="right"))


def drawn(world: World, by: By, days: int, rng: np.random.Generator) -> Traffic:
    """days: after the rollout's start."""
    count = (BEFORE_DAYS + days) * WINDOWS_A_DAY
    start = np.arange(count) / WINDOWS_A_DAY - BEFORE_DAYS
    rate = _rates(world, start, rng)[:, None]
    latent = _latent(world.correlation, count, rng)
    size = rng.gamma(SIZE_SHAPE, 1.0 / SIZE_SHAPE, (count, ASSETS))
    late, lost = rng.exponential(1.0, (count, ASSETS)), rng.random((count, ASSETS)) < world.lost
    away = _away(world, start)
    effect = np.where(away, 0.0, world.effect + _swing(world, start))[:, None]
    control = _brought(latent < ndtri(rate), size, WIN_USD, LOSS_USD)
    better = np.clip(rate + effect, LEAST_RATE, MOST_RATE)
    own, own_size = _another(world, latent, size, rng.spawn(1)[0])
    won, usd = _brought(own < ndtri(better), own_size, world.win_usd, world.loss_usd)
    absent = away[:, None]
    treatment = np.where(absent, control[0], won), np.where(absent, control[1], usd)
    slow = np.where(treatment[0] | absent, DELAY_S, world.slow_losers)
    settled = [np.where(lost, np.inf, WINDOW_S + late * mean) for mean in (DELAY_S, slow)]
    coins = rng.random((count, ASSETS))
    paper = usd - control[1] + world.too_kind_usd
    gap = rng.spawn(1)[0].normal(0.0, PAPER_SD_USD, (count, ASSETS))
    if by == "market":
        arms = [_each(*arm, when) for arm, when in zip((control, treatment), settled, strict=True)]
        at = np.repeat(np.arange(count), ASSETS)
        return Traffic(start[at], coins.ravel(), (arms[0], arms[1]), away[at], 1, paper.ravel(), gap.ravel())
    arms = [_together(*arm, when) for arm, when in zip((control, treatment), settled, strict=True)]
    sums = paper.sum(axis=1), gap.sum(axis=1)
    return Traffic(start, coins[:, 0], (arms[0], arms[1]), away, ASSETS, *sums)


def _another(world: World, latent: Floats, size: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The treatment's draws: the control's in windows where they are alike, else others of the same law. By
    whole windows, so that markets of a window are as alike under either arm.
    """
    alike = rng.random((len(latent), 1)) < world.paired
    own = _latent(world.correlation, len(latent), rng)
    sizes = rng.gamma(SIZE_SHAPE, 1.0 / SIZE_SHAPE, latent.shape)
    return np.where(alike, latent, own), np.where(alike, size, sizes)


def _latent(correlation: float, count: int, rng: np.random.Generator) -> Floats:
    """(count, assets), normal; signs of two in a row have that correlation (Sheppard, 1899)."""
    common = np.sin(0.5 * np.pi * correlation)
    shared, own = rng.normal(size=(count, 1)), rng.normal(size=(count, ASSETS))
    found: Floats = np.sqrt(common) * shared + np.sqrt(1.0 - common) * own
    return found


def _rates(world: World, start: Floats, rng: np.random.Generator) -> Floats:
    """Of a win under the control, of each window: a random walk from day to day, and the regime."""
    day = np.floor(start).astype(np.int64) + BEFORE_DAYS
    walk = np.cumsum(rng.normal(0.0, world.drift / np.sqrt(90.0), int(day.max()) + 1))[day]
    shifted: Floats = BASE_RATE + walk + np.where(start >= world.regime_day, world.regime_shift, 0.0)
    return np.clip(shifted, LEAST_RATE + 0.1, MOST_RATE - 0.1)


def _swing(world: World, start: Floats) -> Floats:
    turn = np.floor(start / world.regime_days) % 2
    return np.where(turn == 0, world.swings, -world.swings)


def _away(world: World, start: Floats) -> Bools:
    if world.outage is None:
        return np.zeros(len(start), dtype=np.bool_)
    first, days = world.outage
    return (start >= first) & (start < first + days)


def _brought(won: Bools, size: Floats, win_usd: float, loss_usd: float) -> tuple[Bools, Floats]:
    return won, size * np.where(won, win_usd, loss_usd)


def _each(won: Bools, pnl_usd: Floats, settled_s: Floats) -> Potential:
    return Potential(won.ravel(), _micro(pnl_usd.ravel()), settled_s.ravel())


def _together(won: Bools, pnl_usd: Floats, settled_s: Floats) -> Potential:
    """A window is won where its net PnL is above 0; it is settled with its last market."""
    del won
    net = _micro(pnl_usd.sum(axis=1))
    return Potential(net > 0, net, settled_s.max(axis=1))


def _micro(usd: Floats) -> Ints:
    return np.round(usd * 1e6).astype(np.int64)


def cost_usd(traffic: Traffic, treated: Bools) -> float:
    """What the treated units brought less than they would have under the control."""
    old, new = (arm.pnl_micro[: len(treated)] for arm in traffic.arms)
    return float((old - new)[treated].sum()) / 1e6


def with_correlation(world: World, correlation: float) -> World:
    """The same world, its windows more or less alike."""
    return replace(world, correlation=correlation)
