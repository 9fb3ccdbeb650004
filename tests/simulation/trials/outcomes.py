"""What comes of many runs of a world: alarms, where they point, coverage where they stop, and how soon.

Every boundary, centre and weight is the report's own code, and every scale but that of "decisions".
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean
from typing import Literal

import numpy as np

from stats.boundary import log_e_one_sided, tuned_rho
from stats.centre import DECAY_PER_DAY, PRIOR_UNITS, daily_centre
from stats.design import Design, History
from stats.effect import Effect, Pair, effect_on, path_of
from stats.forecast import centred, forecast
from stats.gate import lower_bound, upper_bound
from stats.hybrid import Hybrid, crosses, hybrid, surprises
from stats.metric_effect import pair_of, unit_variance_of
from stats.moments import group_sums
from stats.scale import PLAN_SHARE, PROMOTION_SHARE, ROLLBACK_SHARE, gate_rho, plan_variance, rate_variance
from stats.scores import Scores
from stats.sequence import Look, looks
from stats.special import normal_quantile
from trials.truth import unit_effect
from trials.world import Drawn, Floats, World, drawn

ALPHA = 0.05
GATE_METRICS = {"decisions": 2, "units": 2, "PnL": 1}
"""Over how many metrics a rollback divides its 5%: money is watched beside a rate."""
PLAN_UNITS = 2000
NAMED = (0.5, 0.75, 1.0)
"""The days of the named looks, as shares of the run."""
Metric = Literal["decisions", "units", "PnL"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A world, and the metric that is judged in it. margin: how much worse still counts as not worse."""

    name: str
    world: World
    metric: Metric = "decisions"
    margin: float = 0.0

    @property
    def seed(self) -> int:
        """Its own, the same on every machine."""
        return zlib.crc32(self.name.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Shares of the runs. up, down: a two-sided alarm at any look, and its side. covered: the interval at the
    first alarm, or at the end, holds the truth. days: until the first alarm, or all. gate_up, gate_down: the
    promotion's bound ever passes -margin, the rollback's 0 downwards, each with its own rho and level.
    named_up, named_down, named_days: as the first, of the hybrid. fixed_up: of a test at the last look
    alone. explained: R^2 of the forecast in a unit's score.
    """

    runs: int
    up: float
    down: float
    covered: float
    days: float
    gate_up: float
    gate_down: float
    named_up: float
    named_down: float
    named_days: float
    fixed_up: float
    explained: float

    @property
    def alarms(self) -> float:
        """Either side."""
        return self.up + self.down

    @property
    def named_alarms(self) -> float:
        """Either side, of the hybrid."""
        return self.named_up + self.named_down


def allowed(runs: int, level: float = ALPHA) -> float:
    """The level, of a share of 1, and two Monte Carlo standard errors."""
    return level + 2.0 * math.sqrt(level * (1.0 - level) / runs)


def rollback_level(metric: Metric) -> float:
    """The metric's part of the 5% that all rollbacks may err with."""
    return ALPHA / GATE_METRICS[metric]


def outcome(cell: Cell, runs: int) -> Outcome:
    """Runs of one cell, by its own seed."""
    rng = np.random.default_rng(cell.seed)
    found = [_run(cell, drawn(cell.world, rng)) for _ in range(runs)]
    return Outcome(
        runs=runs,
        up=fmean(one.ours.side > 0 for one in found),
        down=fmean(one.ours.side < 0 for one in found),
        covered=fmean(one.covered for one in found),
        days=fmean(one.ours.days for one in found),
        gate_up=fmean(one.gate_up for one in found),
        gate_down=fmean(one.gate_down for one in found),
        named_up=fmean(one.named.side > 0 for one in found),
        named_down=fmean(one.named.side < 0 for one in found),
        named_days=fmean(one.named.days for one in found),
        fixed_up=fmean(one.fixed_up for one in found),
        explained=fmean(one.explained for one in found),
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
    gate_up: bool
    gate_down: bool
    fixed_up: bool
    explained: float


def _run(cell: Cell, run: Drawn) -> _Run:
    scores = scores_of(cell, run)
    pair, doors = pair_for(cell, scores), gates_for(cell, scores)
    path = path_at_looks(cell.world, scores, pair)
    said = [place for place, look in enumerate(path) if _speaks(cell, look)] if pair.rho else []
    stops = [place for place in said if _excludes(path[place], pair)]
    told = effect_on(path, scores, pair)
    if told.status == "ok":
        _same_interval(cell, told, pair, alarmed=bool(stops))
        _same_gates(cell, path[-1], pair, doors)
    truth = unit_effect(cell.world, run) if cell.metric == "units" else cell.world.effect
    last = path[-1]
    return _Run(
        ours=_stop(path, stops[:1], cell.world),
        named=_stop(path, _named(path, said, cell.world, pair), cell.world),
        covered=_covers(path[stops[0]] if stops else last, pair, truth),
        gate_up=any(_promoted(path[place], doors) for place in said),
        gate_down=any(_rolled_back(path[place], doors) for place in said),
        fixed_up=last.effect > normal_quantile(1.0 - ALPHA / 2.0) * last.error,
        explained=_explained(cell, run, scores),
    )


def scores_of(cell: Cell, run: Drawn) -> Scores:
    """What the report judges; where something is known beforehand, less the forecast learned of it."""
    bare = bare_scores(cell, run)
    if cell.world.known == 0.0:
        return bare
    return centred(bare, forecast(bare, run.forecast[:, np.newaxis]))


def bare_scores(cell: Cell, run: Drawn) -> Scores:
    """Decisions: their win rate, the unit being their cluster. Units: won where more than half of their
    decisions were.
    """
    ones = np.ones(len(run.e))
    if cell.metric == "decisions":
        return _scores(cell.world, run, run.sizes, run.wins)
    if cell.metric == "units":
        return _scores(cell.world, run, ones, (2.0 * run.wins > run.sizes).astype(np.float64))
    return _scores(cell.world, run, ones, run.pnl_micro.astype(np.float64))


def _scores(world: World, run: Drawn, trials: Floats, sums: Floats) -> Scores:
    traded = np.ones(len(run.e), dtype=np.bool_)
    return Scores(world.look, run.treated, traded, run.e, trials, sums, 0.0, 0)


_DESIGN = Design(
    arms=("old", "new"), control="old", treatment="new", metric="win_rate", started_us=0, attribution_s=0,
    alpha=ALPHA, v_plan_units=PLAN_UNITS,
)  # fmt: skip


def pair_for(cell: Cell, scores: Scores) -> Pair:
    """Units and money as the report judges them without a plan; decisions by their plan."""
    if cell.metric == "decisions":
        return Pair("win_rate", "new", "old", ALPHA, 0.5, PRIOR_UNITS, _rho_of_decisions(cell.world))
    return pair_of(_DESIGN, "win_rate" if cell.metric == "units" else "pnl", scores, History())


@dataclass(frozen=True, slots=True)
class Doors:
    """The gates of a cell, in the unit of its scores, each rho its own. rollback_level: the metric's part of
    5%.
    """

    v_plan: float
    margin: float
    rollback_level: float
    promote_rho: float
    rollback_rho: float


def gates_for(cell: Cell, scores: Scores) -> Doors:
    """As the report's gates have them. Before the scale of money is known no look speaks: v_plan is 1."""
    v_plan, level = _v_plan(cell, scores), rollback_level(cell.metric)
    promote = gate_rho(v_plan, PROMOTION_SHARE, ALPHA)
    return Doors(v_plan, cell.margin, level, promote, gate_rho(v_plan, ROLLBACK_SHARE, level))


def _v_plan(cell: Cell, scores: Scores) -> float:
    if cell.metric == "decisions":
        return _plan_of_decisions(cell.world)
    variance = unit_variance_of("win_rate" if cell.metric == "units" else "pnl", scores, History())
    return 1.0 if variance is None else plan_variance(variance, PLAN_UNITS)


@cache
def _rho_of_decisions(world: World) -> float:
    return tuned_rho(PLAN_SHARE * _plan_of_decisions(world), ALPHA)


@cache
def _plan_of_decisions(world: World) -> float:
    """V_plan: the planned split and sizes, with the ICC that the incumbent's history has."""
    extra = (world.mean_size - 1.0) ** 2 / world.shape + world.mean_size - 1.0  # variance of a size
    squares = world.mean_size**2 + extra
    variance = rate_variance() * (world.mean_size + world.icc * (squares - world.mean_size))
    even = float(np.sum(world.planned * (1.0 - world.planned))) / 0.25
    return plan_variance(variance * world.together, round(even))


def path_at_looks(world: World, scores: Scores, pair: Pair) -> list[Look]:
    """What the report would have seen at every look: within a day, the centre is that of the days before."""
    if world.looks == 1:
        return path_of(scores, pair)
    sums, trials = (group_sums(world.day, column, world.days) for column in (scores.sums, scores.trials))
    centres = daily_centre(sums, trials, pair.prior, pair.prior_units, DECAY_PER_DAY)
    centred = replace(scores, sums=scores.sums - centres[world.day] * scores.trials)
    return looks(centred, 0.0, math.inf, DECAY_PER_DAY)  # a centre of endless weight stays where it is


def _speaks(cell: Cell, look: Look) -> bool:
    """Whether the report gives an interval: `_same_as_the_report` holds it to that."""
    return look.has_both and look.ready and (cell.metric != "PnL" or look.near_normal)


def _excludes(look: Look, pair: Pair) -> bool:
    return pair.rho is not None and abs(look.effect) >= look.half_width(pair.rho, pair.alpha)


def _covers(look: Look, pair: Pair, truth: float) -> bool:
    return pair.rho is None or abs(look.effect - truth) <= look.half_width(pair.rho, pair.alpha)


def _promoted(look: Look, doors: Doors) -> bool:
    """Whether the bound from below is above -margin: it is where ln E against that is ln(1/alpha)."""
    total = look.total + doors.margin * look.information
    return log_e_one_sided(total, look.variance, doors.promote_rho) >= -math.log(ALPHA)


def _rolled_back(look: Look, doors: Doors) -> bool:
    """Whether the bound from above is below 0."""
    return log_e_one_sided(-look.total, look.variance, doors.rollback_rho) >= -math.log(doors.rollback_level)


def _same_interval(cell: Cell, said: Effect, pair: Pair, *, alarmed: bool) -> None:
    """At the last look the report says what was counted; where it says nothing, nothing can be compared."""
    assert said.p is not None
    assert (said.p <= pair.alpha) == alarmed, (cell.name, said)


def _same_gates(cell: Cell, look: Look, pair: Pair, doors: Doors) -> None:
    """The gates' own bounds pass where ours do."""
    low = lower_bound(look, pair.metric, doors.v_plan, PROMOTION_SHARE, ALPHA)
    high = upper_bound(look, pair.metric, doors.v_plan, ROLLBACK_SHARE, doors.rollback_level)
    assert (low >= -doors.margin) == _promoted(look, doors), (cell.name, low)
    assert (high <= 0.0) == _rolled_back(look, doors), (cell.name, high)


def _stop(path: Sequence[Look], stops: Sequence[int], world: World) -> _Stop:
    if not stops:
        return _Stop(0, float(world.days))
    return _Stop(1 if path[stops[0]].effect > 0 else -1, (stops[0] + 1) / world.looks)


def _named(path: Sequence[Look], said: Sequence[int], world: World, pair: Pair) -> list[int]:
    """The first alarm of the hybrid: the sequence at every look, the named ones at their days."""
    plan = _plan(world)
    named = {round(share * world.days) * world.looks - 1: place for place, share in enumerate(NAMED)}
    for place in said:
        assert pair.rho is not None
        look = path[place]
        if surprises(look, plan, pair.rho) or (place in named and crosses(look, plan, named[place])):
            return [place]
    return []


@cache
def _plan(world: World) -> Hybrid:
    """Information as planned: sum e(1-e) up to each named day, of that of all days."""
    information = np.cumsum(world.planned * (1.0 - world.planned))
    places = [round(share * world.days) * world.per_day - 1 for share in NAMED]
    return hybrid([float(information[place] / information[-1]) for place in places], ALPHA)


def _explained(cell: Cell, run: Drawn, scores: Scores) -> float:
    """R^2: how much of a unit's spread around the mean rate the forecast takes away."""
    if cell.world.known == 0.0:
        return 0.0
    return 1.0 - _spread(scores) / _spread(bare_scores(cell, run))


def _spread(scores: Scores) -> float:
    mean = float(scores.sums.sum() / scores.trials.sum())
    return float(np.mean((scores.sums - mean * scores.trials) ** 2))
