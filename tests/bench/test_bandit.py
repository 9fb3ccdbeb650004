"""A bandit on simulated units: it loses less than an even split, and the report's interval holds on them."""

import numpy as np
import pytest
from bandit import World, even, ever_alarms, lost, played


def test_a_bandit_loses_less_than_an_even_split():
    world = World(gap=0.1)
    seeds = range(20)
    own = np.array([lost(world, played(world, "profit_rate", np.random.default_rng(s))) for s in seeds])
    other = np.array([lost(world, even(world, np.random.default_rng(s))) for s in seeds])
    assert own.mean() < 0.6 * other.mean()
    assert np.mean(own < other) >= 0.9


@pytest.mark.parametrize("metric", ["profit_rate", "pnl"])
def test_the_reports_interval_holds_its_level_on_a_bandits_units(metric):
    """Ever, at the end of any day, without an effect. 120 runs: 5% and two standard errors are 10."""
    rngs = (np.random.default_rng(1000 + seed) for seed in range(120))
    assert sum(ever_alarms(metric, played(World(), metric, rng)) for rng in rngs) <= 10


def test_where_there_is_an_effect_the_interval_finds_it():
    rngs = (np.random.default_rng(seed) for seed in range(10))
    made = (played(World(gap=0.3), "profit_rate", rng) for rng in rngs)
    assert sum(ever_alarms("profit_rate", units) for units in made) >= 9
