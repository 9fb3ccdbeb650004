"""Days as clusters: by hand, and its error rate where whole days go well for one arm by luck."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.day_blocks import day_block_low, day_places
from stats.scores import pair_scores
from stats.special import student_t_quantile
from stats.units import Units


def units_of(day, arm, won, e=None):
    count = len(day)
    columns = {
        name: np.zeros(count, dtype=np.int64)
        for name in ("stage", "pnl_micro", "stake_micro", "fee_micro", "decisions", "fallbacks", "trades")
    }
    return Units.of(
        columns
        | {
            "arm": np.asarray(arm, dtype=np.int64),
            "e": np.full(count, 0.5) if e is None else np.asarray(e, dtype=np.float64),
            "day": np.asarray(day, dtype=np.int64),
            "traded": np.ones(count, dtype=bool),
            "won": np.asarray(won, dtype=bool),
            "trade_wins": np.zeros(count, dtype=np.int64),
        }
    )


def low_of(units, alpha=0.05, prior=0.5):
    return day_block_low(pair_scores(units, 1, 0, "win_rate"), prior, alpha)


def test_by_hand():
    """Ten days, two of them won by everybody, a steady centre: scores added up with a pencil."""
    rng = np.random.default_rng(3)
    day = np.repeat(np.arange(10), 20)
    arm = rng.integers(0, 2, 200)
    won = rng.random(200) < 0.5
    found = low_of(units_of(day, arm, won))
    centre, weight, centres = 0.5, 20.0, []
    for index in range(10):
        centres.append(centre)
        kept = 0.8 * weight
        weight = kept + 20.0
        centre += (won[day == index].sum() - centre * 20.0) / weight
    score = won - np.array(centres)[day]
    treated, control = score[arm == 1], score[arm == 0]
    estimate = treated.mean() - control.mean()
    added = np.where(
        arm == 1, (score - treated.mean()) / len(treated), -(score - control.mean()) / len(control)
    )
    by_day = np.array([added[day == index].sum() for index in range(10)])
    error = math.sqrt(10 / 9 * (by_day**2).sum())
    assert found == pytest.approx(estimate - student_t_quantile(0.95, 9) * error, rel=1e-12)


def test_no_more_than_alpha_of_null_experiments_are_above_zero_though_days_differ():
    """The market of a day moves all its units, and one arm more than the other: no effect, on average."""
    rng = np.random.default_rng(4)
    above, units_above, runs = 0, 0, 1500
    for _ in range(runs):
        day = np.repeat(np.arange(20), 24)
        arm = rng.integers(0, 2, 480)
        tilt = rng.normal(0.0, 0.15, 20)[day]
        won = rng.random(480) < 0.5 + np.where(arm == 1, tilt, -tilt) / 2
        above += low_of(units_of(day, arm, won)) > 0.0
        rates = [won[arm == side].mean() for side in (1, 0)]
        error = math.sqrt(
            sum(rate * (1 - rate) / (arm == side).sum() for side, rate in zip((1, 0), rates, strict=True))
        )
        units_above += rates[0] - rates[1] > 1.645 * error
    assert above / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert units_above / runs > 0.08  # what units alone would have said: the test can fail


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_a_smaller_alpha_is_a_lower_bound_and_labels_change_sign(seed):
    rng = np.random.default_rng(seed)
    day, arm, won = np.repeat(np.arange(8), 15), rng.integers(0, 2, 120), rng.random(120) < 0.6
    found, strict = low_of(units_of(day, arm, won)), low_of(units_of(day, arm, won), alpha=0.01)
    assert strict < found
    swapped = low_of(units_of(day, 1 - arm, won))
    assert found + swapped < 1e-12  # below the estimate, and below minus the estimate


def test_what_cannot_be_said_is_none():
    one_arm = units_of(np.arange(30), np.ones(30), np.arange(30) % 2)
    assert low_of(one_arm) is None
    four_days = units_of(np.repeat(np.arange(4), 10), np.tile([0, 1], 20), np.tile([0, 1, 1], 14)[:40])
    assert low_of(four_days) is None
    nobody = Units.empty()
    assert low_of(nobody) is None
    certain = units_of(np.repeat(np.arange(9), 4), np.tile([0, 1], 18), np.tile([0, 1, 1], 12), np.zeros(36))
    assert low_of(certain) is None


@given(st.lists(st.integers(20_000, 20_050), max_size=60))
def test_a_day_has_its_place_among_those_with_units(days):
    """As sorting them would say."""
    column = np.array(days, dtype=np.int64)
    assert day_places(column).tolist() == np.unique(column, return_inverse=True)[1].tolist()
