"""The worlds are what they say, and what is counted in them is what the report says."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import betabinom
from trials.cells import forecasts, forecasts_of_nothing, margins, power, section_5, variations
from trials.outcomes import Cell, Metric, pair_for, path_at_looks, scores_of
from trials.tables import markdown
from trials.truth import unit_effect, unit_rate
from trials.world import STAGES, Bools, Drawn, World, drawn

from stats.effect import path_of
from stats.scores import Scores


def many(world: World, runs: int = 60) -> list[Drawn]:
    rng = np.random.default_rng(20260901)
    return [drawn(world, rng) for _ in range(runs)]


def test_the_design_of_ci_has_at_most_45_cells_without_an_effect() -> None:
    cells = section_5() + variations()
    assert len(section_5()) == 20
    assert len(cells) <= 45
    every = cells + power() + margins() + forecasts() + forecasts_of_nothing()
    assert len({cell.name for cell in every}) == len(every)
    assert len({cell.seed for cell in every}) == len(every)


def test_the_ramp_is_the_one_whose_information_the_design_prints() -> None:
    """15% more than enrolled halves, 19% more than inverse propensities."""
    e = np.array(STAGES["ramp"])
    overlap = float(np.mean(e * (1.0 - e)))
    assert overlap / float(np.mean(e / 2.0)) == pytest.approx(1.15, abs=0.005)
    assert overlap * float(np.mean(1.0 / (e * (1.0 - e)))) == pytest.approx(1.19, abs=0.005)


@pytest.mark.parametrize("known", [0.0, 0.65])
def test_decisions_of_a_unit_are_as_correlated_as_said(known: float) -> None:
    """Var(S - pN) = p(1-p) sum N (1 + (N-1) ICC), whatever part of it is known."""
    for icc, world in ((0.1, World(drift=0.0, known=known)), (0.0, World(drift=0.0, icc=0.0))):
        runs = many(world)
        seen = sum(float(np.sum((run.wins - 0.5 * run.sizes) ** 2)) for run in runs)
        expected = sum(0.25 * float(np.sum(run.sizes * (1.0 + (run.sizes - 1.0) * icc))) for run in runs)
        assert seen / expected == pytest.approx(1.0, abs=0.02)


def test_sizes_have_their_mean_and_their_tail() -> None:
    for shape in (1.0, 0.3):
        sizes = np.concatenate([run.sizes for run in many(World(shape=shape), 30)])
        assert float(sizes.mean()) == pytest.approx(15.0, rel=0.03)
        assert float(sizes.var()) == pytest.approx(14.0 + 14.0**2 / shape, rel=0.1)


def test_without_an_effect_a_unit_wins_the_same_under_either_arm() -> None:
    world = World(schedule="adaptive")
    run = many(world, 1)[0]
    assert set(np.unique(run.e)) <= {0.1, 0.25, 0.5}
    assert unit_effect(world, run) == 0.0


def test_units_win_as_often_as_the_beta_binomial_says() -> None:
    rates, sizes = np.array([0.31, 0.5, 0.74]), np.array([4.0, 15.0, 30.0])
    exact = betabinom.sf(sizes // 2, sizes, 9.0 * rates, 9.0 * (1.0 - rates))
    assert unit_rate(rates, sizes, 0.1) == pytest.approx(exact, abs=1e-9)


def test_markets_of_a_window_are_one_unit() -> None:
    world = World(together=4, window_sd=0.08)
    run = many(world, 1)[0]
    assert len(run.e) == world.units == 400
    assert world.per_day == 10
    assert float(run.sizes.mean()) == pytest.approx(60.0, rel=0.15)


@pytest.mark.parametrize("metric", ["decisions", "units"])
def test_a_look_within_a_day_is_what_the_report_says_then(metric: Metric) -> None:
    """Its units so far, the centre of the days before: the report at that hour, which knows days alone."""
    world = World(looks=24, markets_per_day=48)
    cell = Cell("hourly", world, metric)
    scores = scores_of(cell, many(world, 1)[0])
    pair = pair_for(cell, scores)
    path = path_at_looks(world, scores, pair)
    assert len(path) == 40 * 24
    for hour in (200, 517, 959):
        then = up_to(scores, world.look <= hour, world)
        seen = path_of(then, pair)[-1]
        assert path[hour].effect == pytest.approx(seen.effect, abs=1e-12)
        assert path[hour].variance == pytest.approx(seen.variance, rel=1e-9)


def up_to(scores: Scores, kept: Bools, world: World) -> Scores:
    columns = {name: getattr(scores, name)[kept] for name in ("treated", "traded", "e", "trials", "sums")}
    return replace(scores, day=world.day[kept], **columns)


def test_a_table_has_a_line_for_every_row() -> None:
    text = markdown(("cell", "up"), [("a", "0.010"), ("b", "0.020")])
    assert text.splitlines() == ["| cell | up |", "| --- | ---: |", "| a | 0.010 |", "| b | 0.020 |"]
