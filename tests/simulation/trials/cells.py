"""What comes of many runs of a world: alarms, where they point, coverage where they stop, and how soon."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from stats.centre import PRIOR_UNITS
from stats.effect import Pair, effect_on, path_of
from stats.hybrid import Hybrid, crosses, hybrid, surprises
from stats.scale import rate_variance, rho_of
from stats.scores import Scores
from stats.sequence import Look
from stats.special import normal_quantile
from trials.world import Drawn, World, drawn

ALPHA = 0.05
Metric = Literal["decisions", "units"]
PLAN_UNITS = 2000
NAMED = (0.5, 0.75, 1.0)
"""The days of the named looks, as shares of the run."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A world, and the metric that is judged in it."""

    name: str
    world: World
    metric: Metric = "decisions"

    @property
    def seed(self) -> int:
        """Its own, the same on every machine."""
        return zlib.crc32(self.name.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Shares of the runs. up, down: an alarm at any look, and its side. covered: the interval at the first
    alarm, or at the end, holds the truth. days: until the first alarm, or all. named_up, named_down,
    named_days: the same of the hybrid. fixed_up: of a test at the last look alone.
    """

    runs: int
    up: float
    down: float
    covered: float
    days: float
    named_up: float
    named_down: float
    named_days: float
    fixed_up: float

    @property
    def alarms(self) -> float:
        """Either side."""
        return self.up + self.down


def allowed(runs: int) -> float:
    """5% and two Monte Carlo standard errors."""
    return ALPHA + 2.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / runs)


def outcome(cell: Cell, runs: int) -> Outcome:
    """Runs of one cell, by its own seed."""
    rng = np.random.default_rng(cell.seed)
    found = [_run(cell, drawn(cell.world, rng)) for _ in range(runs)]
    ours, named = [one.ours for one in found], [one.named for one in found]
    return Outcome(
        runs=runs,
        up=sum(stop.side > 0 for stop in ours) / runs,
        down=sum(stop.side < 0 for stop in ours) / runs,
        covered=sum(one.covered for one in found) / runs,
        days=sum(stop.days for stop in ours) / runs,
        named_up=sum(stop.side > 0 for stop in named) / runs,
        named_down=sum(stop.side < 0 for stop in named) / runs,
        named_days=sum(stop.days for stop in named) / runs,
        fixed_up=sum(one.fixed_up for one in found) / runs,
    )


@dataclass(frozen=True, slots=True)
class _Stop:
    side: int
    days: float


@dataclass(frozen=True, slots=True)
class _Run:
    ours: _Stop
    named: _Stop
    covered: bool
    fixed_up: bool


def _run(cell: Cell, run: Drawn) -> _Run:
    world = cell.world
    scores = run.of_decisions(world) if cell.metric == "decisions" else run.of_units(world)
    pair = Pair("win_rate", "new", "old", ALPHA, 0.5, PRIOR_UNITS, _rho(cell))
    path = path_of(scores, pair)
    assert pair.rho is not None
    stops = [place for place, look in enumerate(path) if _excludes(look, pair.rho)]
    said = effect_on(path, scores, pair)
    if said.status == "ok":  # else the last look is withheld, whatever an earlier one said
        assert (said.p is not None and said.p <= ALPHA) == bool(stops), (cell.name, said, stops)
    place = stops[0] if stops else len(path) - 1
    look = path[place]
    half = look.half_width(pair.rho, ALPHA)
    truth = world.effect if cell.metric == "decisions" else _unit_effect(cell, scores)
    ours = _stop(path, place if stops else None, world)
    last = path[-1]
    fixed_up = last.effect > normal_quantile(1.0 - ALPHA / 2.0) * last.error
    return _Run(ours, _named(path, world, pair.rho), abs(look.effect - truth) <= half, fixed_up)


def _unit_effect(cell: Cell, scores: Scores) -> float:
    """Nobody knows it but where there is none."""
    del scores
    return 0.0 if cell.world.effect == 0.0 else math.nan


def _excludes(look: Look, rho: float) -> bool:
    return look.has_both and look.ready and abs(look.effect) >= look.half_width(rho, ALPHA)


def _stop(path: Sequence[Look], place: int | None, world: World) -> _Stop:
    if place is None:
        return _Stop(0, float(world.days))
    return _Stop(1 if path[place].effect > 0 else -1, (place + 1) / world.looks)


def _named(path: Sequence[Look], world: World, rho: float) -> _Stop:
    """The hybrid: the sequence at every look, the named ones at their days."""
    plan = _plan(world)
    named = {round(share * world.days) * world.looks - 1: place for place, share in enumerate(NAMED)}
    for place, look in enumerate(path):
        if surprises(look, plan, rho) or (place in named and crosses(look, plan, named[place])):
            return _stop(path, place, world)
    return _stop(path, None, world)


def _plan(world: World) -> Hybrid:
    """Information as planned: sum e(1-e) up to each named day, of that of all days."""
    information = np.cumsum(world.planned * (1.0 - world.planned))
    places = [round(share * world.days) * world.per_day - 1 for share in NAMED]
    return hybrid([float(information[place] / information[-1]) for place in places], ALPHA)


def _rho(cell: Cell) -> float:
    """Decisions: of the planned split with the ICC that the incumbent's history has. Units: the default."""
    world = cell.world
    if cell.metric == "units":
        return rho_of(rate_variance(), PLAN_UNITS, ALPHA)
    extra = (world.mean_size - 1.0) ** 2 / world.shape + world.mean_size - 1.0  # variance of a size
    squares = world.mean_size**2 + extra
    variance = rate_variance() * (world.mean_size + world.icc * (squares - world.mean_size))
    even = float(np.sum(world.planned * (1.0 - world.planned))) / 0.25
    return rho_of(variance, round(even), ALPHA)


ICCS = (0.0, 0.05, 0.1, 0.2, 0.3)


def section_5() -> list[Cell]:
    """The 20 cells: ICC by drift, of decisions and of units."""
    return [
        Cell(f"{metric}, ICC {icc:g}, drift {100 * drift:g} pp", World(icc=icc, drift=drift), metric)
        for metric in ("decisions", "units")
        for drift in (0.0, 0.08)
        for icc in ICCS
    ]


def variations() -> list[Cell]:
    """One thing at a time is different from ICC 0.1 under drift."""
    base = World()
    worlds = {
        "hourly looks": replace(base, looks=24, per_day=48),
        "heavy sizes": replace(base, shape=0.3),
        "few clusters": replace(base, per_day=10),
        "few clusters, heavy sizes": replace(base, per_day=10, shape=0.3),
        "always 10%": replace(base, schedule="10"),
        "always 50%": replace(base, schedule="50"),
        "adaptive split": replace(base, schedule="adaptive"),
        "markets differ for ever": replace(base, market_sd=0.06),
        "windows share a shock": replace(base, window_sd=0.08),
        "60 days": replace(base, days=60),
    }
    return [
        Cell(f"{metric}, {name}", world, metric)
        for name, world in worlds.items()
        for metric in ("decisions", "units")
    ]


def power() -> list[Cell]:
    """Section 5's table of power: decisions, ramp, drift 8 pp."""
    return [
        Cell(f"decisions, ICC {icc:g}, {100 * effect:+g} pp", World(icc=icc, effect=effect))
        for icc, effect in (
            (0.05, 0.02),
            (0.05, 0.04),
            (0.05, 0.06),
            (0.1, 0.04),
            (0.1, 0.06),
            (0.3, 0.04),
            (0.3, 0.06),
        )
    ]
