import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.errors import HistoryError
from arms.schema import MARKET_V1, Feature, StateSchema

INSIDE = np.zeros((3, 18), dtype=np.float32)


def test_the_contract_of_market_v1_is_pinned():
    assert MARKET_V1.hash == "8c0a8311df1391f4"
    assert MARKET_V1.width == 18
    assert MARKET_V1.names[0] == "returns_1m"
    assert MARKET_V1.names[15] == "time_remaining"
    assert [f.name for f in MARKET_V1.features if f.endogenous] == [
        "has_position",
        "position_side",
        "position_pnl",
    ]


def test_the_hash_covers_order_range_and_tick():
    a, b = Feature("a", "x", 0, 1), Feature("b", "x", 0, 1)
    schemas = [
        StateSchema("s", (a, b), 1),
        StateSchema("s", (b, a), 1),
        StateSchema("s", (a, Feature("b", "x", 0, 2)), 1),
        StateSchema("s", (a, b), 2),
    ]
    assert len({schema.hash for schema in schemas}) == 4


@given(st.integers(1, 64), st.integers(0, 2**32 - 1))
def test_everything_in_range_passes(rows, seed):
    share = np.random.default_rng(seed).random((rows, 18), dtype=np.float32)
    MARKET_V1.validate(MARKET_V1.low + share * (MARKET_V1.high - MARKET_V1.low))


@given(
    st.integers(0, 2),
    st.integers(0, 17),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 2.5, -1.5]),
)
def test_one_bad_number_is_named(row, column, value):
    history = INSIDE.copy()
    history[row, column] = value
    with pytest.raises(HistoryError) as caught:
        MARKET_V1.validate(history)
    assert f"history[{row}][{column}] ({MARKET_V1.names[column]})" in str(caught.value)


@pytest.mark.parametrize("shape", [(0, 18), (3, 17), (18,), (1, 1, 18)])
def test_a_wrong_shape_is_refused(shape):
    with pytest.raises(HistoryError, match="rows of 18 numbers"):
        MARKET_V1.validate(np.zeros(shape, dtype=np.float32))


def test_time_remaining_may_lie_outside_the_window():
    history = INSIDE.copy()
    history[:, 15] = (-1, 1.5, 2)
    MARKET_V1.validate(history)


def test_rows_become_an_array():
    assert MARKET_V1.history_of([[0.0] * 18, [0] * 18]).shape == (2, 18)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[0.0] * 18, [0.0] * 17], r"history\[1\] has 17 numbers"),
        ([["x"] * 18], "plain numbers"),
        ([1.0, [1.0]], r"history\[0\]"),
    ],
)
def test_ragged_rows_are_named(rows, said):
    with pytest.raises(HistoryError, match=said):
        MARKET_V1.history_of(rows)
