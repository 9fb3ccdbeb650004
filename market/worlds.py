"""Simulated markets whose truth is known: a decoy, and noise that looks the same.

The decoy plants what a long memory can see and a short one cannot. A signed spike shows for one tick, in the
book imbalances only. With probability 1/2 an unsigned cue follows `lag` ticks later, `reaction_ticks` after
it the price jumps against the spike, stays for `plateau_ticks` and takes `retrace_share` of the jump back;
else nothing happens. Everything else that a state shows is independent of spike and price, so the price is
seen only through `position_pnl`, by a holder.

Let c be the round-trip cost at the jump (spread + both fees; entering alone costs c/2), J = jump_ratio * c,
r = retrace_share. Settlement costs nothing, so holding to the end is the cheapest exit, and no simple
strategy gains as long as

    entering at the spike, any exit:      (1 - r) * J / 2 - c / 2 < 0     <=>  (1 - r) * J < c
    trading the retrace after the jump:    r * J - c / 2          < 0     <=>  2 * r * J   < c
    entering at the cue, sign unknown:     0 - c / 2              < 0

while the right sign at the cue earns J - c > 0 by selling on the plateau. Between events the price is a
martingale, and the outcome is drawn with the last mid, so waiting for luck costs c/2 or more as well.
"""

import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from arms.fills import CRYPTO_2026_07, MICRO, FeeSchedule
from arms.schema import MARKET_V1
from market.errors import WorldError
from market.tape import SESSION_FILLS, Tape

WORLD_EPOCH_US: Final = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z: where simulated time begins."""
GRID_MICRO: Final = 1_000
SPIKED: Final = tuple(MARKET_V1.names.index(name) for name in ("ob_imbalance_l1", "ob_imbalance_l5"))
CUED: Final = tuple(MARKET_V1.names.index(name) for name in ("trade_intensity", "large_trade_flag"))
REGIMES: Final = tuple(MARKET_V1.names.index(name) for name in ("vol_regime", "trend_regime"))
UNSIGNED: Final = tuple(
    MARKET_V1.names.index(name) for name in ("spread_pct", "trade_intensity", "large_trade_flag", "vol_5m")
)


@dataclass(frozen=True, slots=True)
class World:
    """A market recipe; `jump_ratio` 0 makes noise: spikes and cues, and a price that ignores them.

    step_micro: size of the quiet price's one-tick move, which happens with probability step_share.
    """

    name: str
    lag_low: int
    lag_high: int
    events_low: int
    events_high: int
    jump_ratio: float = 1.35
    retrace_share: float = 0.33
    reaction_ticks: int = 2
    plateau_ticks: int = 4
    spread_micro: int = 20_000
    step_micro: int = 1_000
    step_share: float = 0.1
    ticks: int = 150
    tradable_ticks: int = 110
    tick_us: int = MARKET_V1.tick_us
    fees: FeeSchedule = CRYPTO_2026_07

    def __post_init__(self) -> None:
        if self.jump_ratio and not 1 < self.jump_ratio < 1 / (1 - self.retrace_share):
            raise WorldError(
                f"world {self.name}: jump_ratio must lie above 1 and below 1 / (1 - retrace_share)"
            )
        if 2 * self.retrace_share * self.jump_ratio >= 1:
            raise WorldError(
                f"world {self.name}: 2 * retrace_share * jump_ratio must be below 1: the retrace pays"
            )
        if self.events_high * self.event_ticks + 3 > self.tradable_ticks:
            raise WorldError(
                f"world {self.name}: {self.events_high} events of {self.event_ticks} ticks do not fit"
            )

    @property
    def event_ticks(self) -> int:
        """Ticks that one event owns, from its spike to two quiet ticks after the retrace."""
        return self.lag_high + self.reaction_ticks + self.plateau_ticks + 2


@dataclass(frozen=True, slots=True)
class Event:
    """A spike, and if `cued` the cue `lag_ticks` later that announces a jump against `sign`."""

    spike_tick: int
    sign: int
    lag_ticks: int
    cued: bool

    @property
    def cue_tick(self) -> int:
        return self.spike_tick + self.lag_ticks


DECOY_FAST: Final = World("decoy-fast", lag_low=6, lag_high=9, events_low=3, events_high=5)
"""For a window of 10 against 3 (or 5) ticks."""
DECOY: Final = World("decoy", lag_low=6, lag_high=15, events_low=3, events_high=4)
"""For a window of 20 against 5 ticks."""
NOISE_FAST: Final = World(
    "noise-fast", 6, 9, 3, 5, jump_ratio=0.0, retrace_share=0.0, step_micro=4_000, step_share=0.5
)
NOISE: Final = World(
    "noise", 6, 15, 3, 4, jump_ratio=0.0, retrace_share=0.0, step_micro=4_000, step_share=0.5
)


def tape_of(world: World, seed: int) -> Tape:
    """The market number `seed` of a world; the same arguments always give the same bytes."""
    events = events_of(world, seed)
    mid = _mid_micro(world, events, _stream(world, seed, "price"))
    book = _stream(world, seed, "book")
    start_us = WORLD_EPOCH_US + seed * world.ticks * world.tick_us
    half = world.spread_micro // 2
    return Tape(
        market=f"{world.name}-{seed:06d}",
        tick_us=start_us + np.arange(world.ticks, dtype=np.int64) * world.tick_us,
        end_us=start_us + world.ticks * world.tick_us,
        prices=np.stack((mid - half, mid + half, MICRO - mid - half, MICRO - mid + half), axis=1),
        depths=book.integers(1_000, 5_000, (world.ticks, 4)) * MICRO,
        features=_features(world, events, _stream(world, seed, "features")),
        mask=np.ones(MARKET_V1.width, dtype=np.bool_),
        up_won=bool(book.random() < mid[-1] / MICRO),
        fees=world.fees,
    )


def events_of(world: World, seed: int) -> tuple[Event, ...]:
    """The planted truth of a market, in time order; events never overlap."""
    rng = _stream(world, seed, "events")
    count = int(rng.integers(world.events_low, world.events_high + 1))
    slack = world.tradable_ticks - 3 - count * world.event_ticks
    waits = np.sort(rng.integers(0, slack + 1, count))
    return tuple(
        Event(
            spike_tick=3 + int(wait) + i * world.event_ticks,
            sign=1 if rng.random() < 0.5 else -1,
            lag_ticks=int(rng.integers(world.lag_low, world.lag_high + 1)),
            cued=bool(rng.random() < 0.5),
        )
        for i, wait in enumerate(waits)
    )


def round_trip_micro(mid_micro: int, world: World) -> int:
    """c: what opening and closing one share at an unchanged mid costs, spread and both fees."""
    chance = mid_micro / MICRO
    fee = world.fees.rate_ppm * (chance * (1 - chance)) ** world.fees.exponent
    return world.spread_micro + round(2 * fee)


def _mid_micro(world: World, events: tuple[Event, ...], rng: np.random.Generator) -> NDArray[np.int64]:
    """UP mid per tick, on a 0.001 USD grid: quiet steps plus jumps, sized by the cost where they happen."""
    steps = world.step_micro * rng.choice((-1, 1), world.ticks) * (rng.random(world.ticks) < world.step_share)
    mid = (rng.integers(450, 551) * GRID_MICRO + np.cumsum(steps)).astype(np.int64)
    for event in events:
        if event.cued and world.jump_ratio:
            jump_tick = event.cue_tick + world.reaction_ticks
            jump = _on_grid(world.jump_ratio * round_trip_micro(int(mid[jump_tick - 1]), world))
            mid[jump_tick:] -= event.sign * jump
            mid[jump_tick + world.plateau_ticks :] += event.sign * _on_grid(world.retrace_share * jump)
    return mid


def _features(world: World, events: tuple[Event, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Drifting noise, one-tick spikes and cues. Signs enter the spiked columns at spike ticks only."""
    noise = rng.normal(0.0, 0.1, (world.ticks, MARKET_V1.width))
    for tick in range(1, world.ticks):
        noise[tick] += 0.8 * noise[tick - 1]
    features = np.clip(noise, -0.5, 0.5)
    features[:, UNSIGNED] = np.abs(features[:, UNSIGNED])
    for event in events:
        features[event.spike_tick, SPIKED] = event.sign * rng.uniform(0.8, 1.0, len(SPIKED))
        if event.cued:
            features[event.cue_tick, CUED] = rng.uniform(0.8, 1.0, len(CUED))
    features[:, REGIMES] = rng.integers(0, 2, len(REGIMES))
    features[:, SESSION_FILLS] = 0.0
    return features.astype(np.float32)


def _on_grid(micro: float) -> int:
    return round(micro / GRID_MICRO) * GRID_MICRO


def _stream(world: World, seed: int, purpose: str) -> np.random.Generator:
    """Streams of their own, so that what a state shows cannot depend on what the price does."""
    return np.random.default_rng((zlib.crc32(f"{world.name}:{purpose}".encode()), seed))
