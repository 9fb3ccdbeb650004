"""Blocks as rows: sums by hand, and levels that hold where units of a block share everything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.design import Design, History
from stats.errors import UnitsError
from stats.metric_effect import metric_effect
from stats.scores import Scores, pair_scores
from stats.switchback import Blocks, blocked, lagged, switchback
from stats.units import ArmCounts, Stage, Units

DESIGN = Design(
    arms=("base", "transformer"),
    control="base",
    treatment="transformer",
    metric="profit_rate",
    started_us=0,
    attribution_s=900,
)
PER_DAY, UNITS, DAYS, BURN_IN = 12, 8, 40, 2
BLOCKS = PER_DAY * DAYS


def scores_of(day, treated, sums):
    count = len(day)
    return Scores(
        day=np.array(day, np.int64),
        treated=np.array(treated, bool),
        traded=np.ones(count, bool),
        e=np.full(count, 0.5),
        trials=np.ones(count),
        sums=np.array(sums, float),
        reference=0.0,
        unlogged=0,
    )


def test_blocks_by_hand():
    """Families 0 and 1; block 2 follows block 0; block 3 has two arms and is left out."""
    of = np.array([0, 1, 0, 2, 3, 1, 3])
    scores = scores_of([0, 0, 0, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0, 0], [1, 2, 4, 8, 16, 32, 64])
    found = blocked(scores, of)
    assert found.at.tolist() == [0, 2, 1]
    assert found.divided == 1
    assert (found.scores.sums * 7 / 4).tolist() == pytest.approx([5.0, 8.0, 34.0])
    assert (found.scores.trials * 7 / 4).tolist() == pytest.approx([2.0, 1.0, 2.0])
    assert found.scores.treated.tolist() == [True, False, False]
    assert found.scores.day.tolist() == [0, 1, 1]
    after = lagged(found, np.array([-1, -1, 0, -1]))
    assert (after.sums * 7 / 4).tolist() == pytest.approx([8.0])
    assert after.treated.tolist() == [True]


def test_without_a_unit_there_is_no_block():
    nothing = np.zeros(0, np.int64)
    found = blocked(scores_of([], [], []), nothing)
    assert (len(found.at), found.divided) == (0, 0)
    assert len(lagged(found, nothing).sums) == 0


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.randoms())
def test_nothing_is_lost_and_a_block_comes_when_its_last_unit_did(of, rng):
    arms = [rng.random() < 0.5 for _ in range(7)]
    sums = [float(rng.randrange(100)) for _ in of]
    scores = scores_of(sorted(rng.randrange(5) for _ in of), [arms[block] for block in of], sums)
    found = blocked(scores, np.array(of))
    assert found.scores.trials.sum() == pytest.approx(len(found.at))
    assert found.scores.sums.sum() / found.scores.trials.sum() == pytest.approx(sum(sums) / len(of))
    assert found.divided == 0
    last = [max(row for row, block in enumerate(of) if block == own) for own in found.at.tolist()]
    assert last == sorted(last)
    assert found.scores.treated.tolist() == [arms[block] for block in found.at.tolist()]
    assert np.all(np.diff(found.scores.day) >= 0)


@pytest.mark.parametrize(("of", "before"), [([2], [-1, 0]), ([-1], [-1]), ([0], [1]), ([0], [-2])])
def test_blocks_that_are_not_there_are_refused(of, before):
    with pytest.raises(UnitsError, match="blocks"):
        Blocks(np.array(of), np.array(before))


def world(rng, early, late, lasting):
    """Units of one family: all of a block share its weather; what the block before did acts on the first
    `BURN_IN` units of a block (early) and on the others (late); lasting: the own arm's effect.
    """
    coin = rng.random(BLOCKS) < 0.5
    weather = rng.normal(0.0, 0.3, BLOCKS)
    of = np.repeat(np.arange(BLOCKS), UNITS)
    place = np.tile(np.arange(UNITS), BLOCKS)
    was = np.concatenate([[False], coin[:-1]])
    rate = 0.5 + weather[of] + lasting * coin[of]
    rate = rate + np.where(place < BURN_IN, early, late) * was[of]
    won = rng.random(len(of)) < np.clip(rate, 0.02, 0.98)
    return of, place, coin, won


def units_of(of, coin, won):
    count = len(of)
    ones, zeros = np.ones(count, np.int64), np.zeros(count, np.int64)
    pnl = np.where(won, 1_000_000, -1_000_000)
    return Units(
        arm=coin[of].astype(np.int64),
        stage=zeros,
        e=np.full(count, 0.5),
        day=of // PER_DAY,
        traded=np.ones(count, bool),
        won=won,
        pnl_micro=pnl,
        stake_micro=ones,
        fee_micro=zeros,
        decisions=ones,
        fallbacks=zeros,
        trades=ones,
        trade_wins=won.astype(np.int64),
    )


def judged(rng, early=0.0, late=0.0, lasting=0.0):
    of, place, coin, won = world(rng, early, late, lasting)
    kept = place >= BURN_IN
    units = units_of(of[kept], coin, won[kept])
    blocks = Blocks(of[kept], np.arange(BLOCKS) - 1)
    treated = int(coin.sum())
    counts = {
        "base": ArmCounts(units=int(np.count_nonzero(units.arm == 0))),
        "transformer": ArmCounts(units=int(np.count_nonzero(units.arm == 1))),
    }
    stages = [Stage(1, (0.5, 0.5), (BLOCKS - treated, treated), 0)]
    return switchback(DESIGN, units, blocks, counts, stages, History()), units


def alarms(found):
    return found.p is not None and found.p <= DESIGN.alpha


def test_blocks_hold_their_level_under_carry_over_within_the_burn_in_and_units_do_not():
    """Ever, at any day's end, 150 runs: 5% and two standard errors are 12."""
    runs = [judged(np.random.default_rng(seed), early=0.3) for seed in range(150)]
    assert sum(alarms(found.report.effect) for found, _ in runs) <= 12
    assert sum(alarms(found.carry_over) for found, _ in runs) <= 12
    by_unit = [
        metric_effect(DESIGN, "profit_rate", pair_scores(units, 1, 0, "profit_rate"), History())
        for _, units in runs
    ]
    assert sum(map(alarms, by_unit)) > 12


def test_a_lasting_effect_is_found_and_is_no_carry_over():
    runs = [judged(np.random.default_rng(seed), early=0.3, lasting=0.25)[0] for seed in range(20)]
    assert sum(found.report.verdict.verdict == "better" for found in runs) >= 18
    assert sum(alarms(found.carry_over) for found in runs) <= 3
    assert runs[0].blocks["base"] + runs[0].blocks["transformer"] == BLOCKS


def test_carry_over_beyond_the_burn_in_is_told_and_no_verdict_given():
    runs = [judged(np.random.default_rng(seed), early=0.3, late=0.25)[0] for seed in range(20)]
    assert sum(alarms(found.carry_over) for found in runs) >= 18
    said = next(found for found in runs if alarms(found.carry_over)).report.verdict
    assert said.verdict == "cannot say: assignment is broken"
    assert "longer burn_in_s" in said.reason
