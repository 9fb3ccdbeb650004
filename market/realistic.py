"""A simulated market with natural features: an underlying that moves, a book that leans, flow that follows.

The UP price is the chance that the underlying ends above its opening, given what it did so far; quotes are on
a 0.01 grid, one or two ticks wide, and DOWN's book is quoted apart. Book and flow know `lead_share` of the
move of the next `lead_ticks`, the rest is noise: a weak edge, as markets have, and the state comes from the
very functions that recordings use.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from arms.fills import CRYPTO_2026_07, MICRO, FeeSchedule
from arms.schema import MARKET_V1
from market.features import Feed, features_of
from market.tape import Tape
from market.worlds import WORLD_EPOCH_US

CENT_MICRO: Final = 10_000
OPENING_USD: Final = 90_000.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RealisticWorld:
    """hourly_std: standard deviation of the underlying's log return in an hour."""

    name: str = "realistic"
    hourly_std: float = 0.006
    lead_share: float = 0.3
    lead_ticks: int = 6
    ticks: int = 150
    tick_us: int = MARKET_V1.tick_us
    fees: FeeSchedule = CRYPTO_2026_07


def realistic_tape(world: RealisticWorld, seed: int) -> Tape:
    """The market number `seed` of the world; the same arguments always give the same bytes."""
    rng = np.random.default_rng((zlib.crc32(world.name.encode()), seed))
    tick_us = WORLD_EPOCH_US + (seed * world.ticks + np.arange(world.ticks, dtype=np.int64)) * world.tick_us
    end_us = int(tick_us[0]) + world.ticks * world.tick_us
    steps = _steps(world, rng)
    level = np.concatenate(([0.0], np.cumsum(steps)))
    lead = _lead(world, level, rng)
    prices = _prices(_chance_up(world, level), rng)
    depths = _depths(lead, rng)
    feed = _feed(level, lead, depths, rng)
    features, mask = features_of(tick_us, prices, depths, feed)
    return Tape(
        f"{world.name}-{seed:06d}",
        tick_us,
        end_us,
        prices,
        depths,
        features,
        mask,
        bool(level[-1] >= 0),
        world.fees,
    )


def _steps(world: RealisticWorld, rng: np.random.Generator) -> Floats:
    """Log returns per tick; the volatility drifts by e^0.3 over a market."""
    volatility = np.exp(rng.normal(0.0, 0.3 / world.ticks**0.5, world.ticks).cumsum())
    return np.asarray(_tick_std(world) * volatility * rng.standard_normal(world.ticks))


def _lead(world: RealisticWorld, level: Floats, rng: np.random.Generator) -> Floats:
    """What book and flow lean on, in standard deviations: the coming move, diluted with noise."""
    ahead = np.minimum(np.arange(world.ticks) + world.lead_ticks, world.ticks)
    coming = (level[ahead] - level[: world.ticks]) / (_tick_std(world) * world.lead_ticks**0.5)
    noise = rng.standard_normal(world.ticks)
    return np.asarray(world.lead_share * coming + (1 - world.lead_share**2) ** 0.5 * noise)


def _chance_up(world: RealisticWorld, level: Floats) -> Floats:
    left = np.arange(world.ticks, 0, -1)
    return np.asarray(ndtr(level[: world.ticks] / (_tick_std(world) * left**0.5)))


def _prices(chance: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """[T,4] micro-USD. Where a side would leave (0, 1) nobody quotes it."""
    wide = rng.random((2, len(chance))) < 0.2
    up_bid = np.floor(chance * 100) * CENT_MICRO
    down_bid = np.floor((1 - chance) * 100) * CENT_MICRO
    sides = (up_bid, up_bid + CENT_MICRO * (1 + wide[0]), down_bid, down_bid + CENT_MICRO * (1 + wide[1]))
    prices = np.stack(sides, axis=1).astype(np.int64)
    prices[(prices <= 0) | (prices >= MICRO)] = 0
    return prices


def _depths(lead: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """[T,4] micro-shares: log-normal, leaning to UP bids and DOWN asks when the lead is up."""
    lean = 0.4 * lead[:, None] * np.array((1, -1, -1, 1))
    shares = np.exp(7.0 + 0.5 * rng.standard_normal((len(lead), 4)) + lean)
    return np.asarray(np.rint(shares * 100) * (MICRO // 100), dtype=np.int64)


def _feed(level: Floats, lead: Floats, depths: NDArray[np.int64], rng: np.random.Generator) -> Feed:
    trades = rng.poisson(np.exp(1.5 + 0.3 * np.abs(lead)))
    bought = rng.binomial(trades, 1 / (1 + np.exp(-0.5 * lead))).astype(np.float64)
    sizes_usd = np.exp(5.0 + rng.standard_normal((len(lead), 2)))
    best_share = rng.uniform(0.1, 0.4, (len(lead), 2))
    return Feed(
        reference_usd=OPENING_USD * np.exp(level[: len(lead)]),
        best_sizes=depths[:, :2] / MICRO * best_share,
        flow_usd=np.stack((bought, trades - bought), axis=1) * sizes_usd,
        trade_count=trades.astype(np.float64),
    )


def _tick_std(world: RealisticWorld) -> float:
    return world.hourly_std / math.sqrt(3600 * MICRO / world.tick_us)
