"""What a bandit saves against an even split, and which intervals hold on its units. Prints a table.

    python bench/bandit.py --runs 400

The shares are made by `stats.bandit`, once a day, from the units of the days before; the interval is the
report's. Both arms share a level that wanders from day to day.
"""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stats.bandit import GRID, ArmTotals, shares, totals_of
from stats.design import Design, History
from stats.metric_effect import metric_effect
from stats.scores import pair_scores
from stats.special import normal_quantile
from stats.status import Metric
from stats.units import Units

ALPHA = 0.05
DESIGN = Design(
    arms=("base", "transformer"),
    control="base",
    treatment="transformer",
    metric="profit_rate",
    started_us=0,
    attribution_s=900,
    alpha=ALPHA,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """gap: the transformer's rate of profits minus base's. wander: sd of a day's step of both arms' level."""

    days: int = 30
    per_day: int = 48
    gap: float = 0.0
    wander: float = 0.02
    floor_millionths: int = 50_000


def played(world: World, metric: Metric, rng: np.random.Generator) -> Units:
    """All units of a bandit, in the order of their days."""
    levels, done, share = _levels(world, rng), [], GRID // 2
    for day, level in enumerate(levels):
        done.append(_day(world, day, level, share, rng))
        share = shares(metric, _totals(joined(done)), world.floor_millionths).millionths[1]
    return joined(done)


def even(world: World, rng: np.random.Generator) -> Units:
    """The same of a split that stays at one half."""
    levels = _levels(world, rng)
    return joined([_day(world, day, level, GRID // 2, rng) for day, level in enumerate(levels)])


def joined(parts: list[Units]) -> Units:
    """All of them, in order."""
    return Units(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Units.__slots__}
    )


def lost(world: World, units: Units) -> float:
    """Expected wins that the worse arm's units did not bring."""
    worse = 0 if world.gap > 0.0 else 1
    return abs(world.gap) * int(np.count_nonzero(units.arm == worse))


def ever_alarms(metric: Metric, units: Units) -> bool:
    """Whether the report's interval left 0 at the end of any day."""
    found = metric_effect(DESIGN, metric, pair_scores(units, 1, 0, metric), History())
    return found.p is not None and found.p <= ALPHA


def raw_alarms(metric: Metric, units: Units) -> bool:
    """Whether a z-test of the raw means, looked at once at the end, alarms: as if shares had been fixed."""
    value = units.pnl_micro.astype(np.float64) if metric == "pnl" else units.won.astype(np.float64)
    arms = [value[units.arm == place] for place in (0, 1)]
    error = math.sqrt(sum(float(arm.var(ddof=1)) / len(arm) for arm in arms))
    gap = float(arms[1].mean() - arms[0].mean())
    return abs(gap) > normal_quantile(1.0 - ALPHA / 2.0) * error


def _levels(world: World, rng: np.random.Generator) -> list[float]:
    walk = 0.5 + np.cumsum(rng.normal(0.0, world.wander, world.days))
    return [float(level) for level in np.clip(walk, 0.25, 0.75)]


def _day(world: World, day: int, level: float, share: int, rng: np.random.Generator) -> Units:
    count, e = world.per_day, share / GRID
    arm = (rng.random(count) < e).astype(np.int64)
    won = rng.random(count) < level + world.gap * arm
    size = rng.standard_t(4, count) ** 2
    zeros, ones = np.zeros(count, np.int64), np.ones(count, np.int64)
    return Units(
        arm=arm,
        stage=zeros,
        e=np.full(count, e),
        day=np.full(count, day, np.int64),
        traded=np.ones(count, np.bool_),
        won=won,
        pnl_micro=np.round(np.where(won, size, -size) * 1e6).astype(np.int64),
        stake_micro=ones,
        fee_micro=zeros,
        decisions=ones,
        fallbacks=zeros,
        trades=ones,
        trade_wins=won.astype(np.int64),
    )


def _totals(units: Units) -> list[ArmTotals]:
    return [totals_of(units.take(units.arm == place)) for place in (0, 1)]


def _saved(gap: float, runs: int) -> str:
    world = World(gap=gap)
    rngs = ([np.random.default_rng(seed) for seed in range(runs)] for _ in range(2))
    own, other = (
        np.array([lost(world, units) for units in made])
        for made in (
            (played(world, "profit_rate", rng) for rng in next(rngs)),
            (even(world, rng) for rng in next(rngs)),
        )
    )
    words = f"{own.mean():.1f} | {other.mean():.1f} | {100 * np.mean(own < other):.0f}%"
    return f"| {100 * gap:+.0f} points | {words} |"


def _held(metric: Metric, wander: float, runs: int) -> str:
    world = World(wander=wander)
    made = [played(world, metric, np.random.default_rng(10_000 + seed)) for seed in range(runs)]
    held, raw = (np.mean([told(metric, units) for units in made]) for told in (ever_alarms, raw_alarms))
    return f"| {metric} | {100 * wander:.0f} points | {100 * held:.1f}% | {100 * raw:.1f}% |"


def main() -> None:
    """Two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    print("| transformer against base | bandit loses (wins) | even split loses | bandit loses less in |")
    print("|---|---|---|---|")
    for gap in (0.02, 0.05, 0.1, 0.2, -0.1):
        print(_saved(gap, runs), flush=True)
    print("\n| metric | level wanders, a day | report's interval, any day | raw z-test, once |")
    print("|---|---|---|---|")
    metrics: tuple[Metric, ...] = ("profit_rate", "pnl")
    for metric in metrics:
        for wander in (0.0, 0.02, 0.05):
            print(_held(metric, wander, runs), flush=True)


if __name__ == "__main__":
    main()
