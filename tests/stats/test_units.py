"""Columns are checked in one place, with one sentence each."""

import numpy as np
import pytest

from stats.errors import DesignError, UnitsError
from stats.units import Stage, Units

GOOD = {
    "arm": [0, 1],
    "stage": [0, 0],
    "e": [0.5, float("nan")],
    "day": [3, 4],
    "traded": [True, False],
    "won": [True, False],
    "pnl_micro": [5, 0],
    "stake_micro": [9, 0],
    "fee_micro": [1, 0],
    "decisions": [150, 150],
    "fallbacks": [0, 1],
    "trades": [2, 0],
    "trade_wins": [1, 0],
}


def test_good_columns_and_taking_rows():
    units = Units.of(GOOD)
    assert len(units) == 2 and len(units.take(units.traded)) == 1
    assert len(Units.empty()) == 0


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("pnl_micro", [5], "has 1 rows and units.arm has 2"),
        ("pnl_micro", [0.5, 1.5], "holds float64"),
        ("won", [1, 0], "holds int64, which is not bool"),
        ("e", [0.5, 1.5], r"outside \[0, 1\]"),
        ("arm", [0, -1], "negative"),
        ("day", [4, 3], "sort the units by maturity"),
        ("trade_wins", [3, 0], "more trade_wins than trades"),
        ("pnl_micro", [[5], [0]], r"2 dimension\(s\)"),
    ],
)
def test_bad_columns(column, values, says):
    with pytest.raises(UnitsError, match=says):
        Units.of(GOOD | {column: values})


def test_absent_column_and_plain_list():
    with pytest.raises(UnitsError, match=r"lack the column\(s\) e"):
        Units.of({name: values for name, values in GOOD.items() if name != "e"})
    with pytest.raises(UnitsError, match=r"units\.won is a list"):
        Units(**{**{name: getattr(Units.of(GOOD), name) for name in GOOD}, "won": [True, False]})


def test_stage_needs_a_weight_and_a_count_per_arm():
    with pytest.raises(DesignError, match="one of each per arm"):
        Stage(version=7, weights=(0.5, 0.5), counts=(1,), started_us=0)
    with pytest.raises(DesignError, match="negative"):
        Stage(version=7, weights=(1.5, -0.5), counts=(1, 0), started_us=0)


def test_wide_integers_stay_exact():
    units = Units.of(GOOD | {"pnl_micro": np.array([2**61, -(2**61)])})
    assert int(units.pnl_micro[0]) == 2**61
    with pytest.raises(UnitsError, match=r"units\.pnl_micro goes beyond"):
        Units.of(GOOD | {"pnl_micro": np.array([-(2**63), 0])})
