"""One look at a log with as many propensities as it likes: how often an honest coin is called broken."""

import math

import numpy as np
import pytest

from stats.srm import chi_square, srm, srm_once
from stats.units import Stage


def stage_of(at, weights, counts):
    return Stage(version=at + 1, weights=tuple(weights), counts=tuple(counts), started_us=0)


def a_stage_each(rng, low, high, units, bias=0.0):
    """Every unit has a propensity of its own, and a coin that falls a little too often."""
    e = np.round(rng.uniform(low, high, units), 6)
    treated = rng.random(units) < e + bias
    rows = enumerate(zip(e.tolist(), treated.tolist(), strict=True))
    return tuple(stage_of(at, (1.0 - p, p), (int(not own), int(own))) for at, (p, own) in rows)


@pytest.mark.parametrize(("low", "high"), [(0.02, 0.98), (0.01, 0.2), (0.02, 0.05)])
def test_an_honest_coin_is_seldom_called_broken(low, high):
    rng, runs = np.random.default_rng(5), 400
    said = sum(srm_once(a_stage_each(rng, low, high, 500)).alarm for _ in range(runs))
    print(f"e in [{low}, {high}]: {said} of {runs}, 1% asked")
    assert said <= runs * 0.01 + 3 * math.sqrt(runs * 0.01 * 0.99)


def test_a_coin_that_is_off_is_found_though_every_unit_has_its_own():
    found = srm_once(a_stage_each(np.random.default_rng(1), 0.1, 0.3, 2000, bias=0.08))
    assert found.alarm and found.p < 1e-6


def test_three_arms_of_many_splits():
    rng, runs = np.random.default_rng(2), 300
    said = 0
    for _ in range(runs):
        splits = rng.dirichlet((2.0, 2.0, 2.0), 200)
        counts = [rng.multinomial(1, split) for split in splits]
        said += srm_once(
            tuple(stage_of(at, w, c.tolist()) for at, (w, c) in enumerate(zip(splits, counts, strict=True)))
        ).alarm
    assert said <= runs * 0.01 + 3 * math.sqrt(runs * 0.01 * 0.99)


def test_large_stages_are_added_up_as_before():
    stages = (stage_of(0, (0.9, 0.1), (880, 120)), stage_of(1, (0.5, 0.5), (510, 490)))
    expected = chi_square([(stage.counts, stage.weights) for stage in stages]).p
    assert srm_once(stages).p == pytest.approx(expected)


def test_many_small_stages_of_one_split_are_judged_as_one_stage_is():
    """(O-E)'V^-1(O-E) is Pearson's statistic where all stages have one split."""
    rng = np.random.default_rng(3)
    coins = rng.random(900) < 0.37
    apart = tuple(stage_of(at, (0.7, 0.3), (int(not c), int(c))) for at, c in enumerate(coins.tolist()))
    whole = (stage_of(0, (0.7, 0.3), (int((~coins).sum()), int(coins.sum()))),)
    assert srm_once(apart).p == pytest.approx(srm_once(whole).p, rel=1e-9)


@pytest.mark.parametrize(
    "stages", [(), (stage_of(0, (0.5, 0.5), (1, 2)),), (stage_of(0, (0.0, 1.0), (3, 9)),)]
)
def test_too_few_to_judge_say_nothing(stages):
    assert (srm_once(stages).p, srm_once(stages).alarm) == (1.0, False)
    assert srm(stages).alarm is False
