"""Tables with other shares: exact, with as few moves as there can be, and as `split set` has them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import splits
from router.assignment import BUCKETS, Range, Table, arm_at, millionths
from router.errors import BadTable
from router.retiling import retiled
from router.splits import Change

ARMS = ("base", "second", "third")
NOW = Change(actor="t", reason="", now_us=1, lead_us=0)


@st.composite
def shares(draw):
    cuts = sorted(draw(st.lists(st.integers(0, BUCKETS), min_size=2, max_size=2)))
    return dict(zip(ARMS, (cuts[0], cuts[1] - cuts[0], BUCKETS - cuts[1]), strict=True))


FIRST = Table((Range("base", 0, BUCKETS),))


def moved(was, now):
    """Buckets that changed hands."""
    edges = sorted({*was.starts, *now.starts, BUCKETS})
    return sum(stop - start for start, stop in pairwise(edges) if arm_at(was, start) != arm_at(now, start))


@given(st.lists(shares(), min_size=1, max_size=6))
def test_every_arm_gets_what_it_should_and_no_bucket_moves_that_need_not(wanted):
    table = FIRST
    for each in wanted:
        now = Table(retiled(table, each, "base"))
        owned, had = millionths(now.ranges), millionths(table.ranges)
        assert {arm: owned.get(arm, 0) for arm in ARMS} == each
        assert moved(table, now) == sum(max(0, each[arm] - had.get(arm, 0)) for arm in ARMS)
        table = now


@given(st.lists(st.integers(0, BUCKETS), min_size=1, max_size=6))
def test_two_arms_are_as_split_set_has_them(wanted):
    history = (splits.first("main", ("base", "second"), "base", NOW),)
    for count in wanted:
        found = retiled(history[-1].table, {"base": BUCKETS - count, "second": count}, "base")
        assert found == splits.set_share(history, "second", count / BUCKETS, "base")
        history = (*history, splits.next_split(history, found, NOW))


@pytest.mark.parametrize("wanted", [{"base": BUCKETS - 1}, {"base": BUCKETS + 1, "second": -1}])
def test_what_is_no_table_is_refused(wanted):
    with pytest.raises(BadTable, match="whole buckets"):
        retiled(FIRST, wanted, "base")
