"""The laws of changing a split, over random histories of two to five arms."""

from dataclasses import replace
from decimal import Decimal, localcontext
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from router import splits
from router.assignment import BUCKETS, Range, Table, arm_at, check_history, millionths
from router.errors import BadShare, RouterError, UnknownArm, UnknownVersion
from router.splits import Change, set_share, share_millionths

ARMS = ("base", "transformer", "c", "d", "e")
CHANGE = Change(actor="test", reason="because", now_us=0, lead_us=2_000_000)


def begun(count=2):
    return (splits.first("main", ARMS[:count], "base", CHANGE),)


def after(history, arm, share, from_arms=None):
    return (*history, splits.next_split(history, set_share(history, arm, share, "base", from_arms), CHANGE))


def restored(history, version):
    return (*history, splits.restore(history, version, CHANGE))


def had(history, arm):
    return millionths(history[-1].ranges).get(arm, 0)


def owned_by(history, arm, at=-1):
    """The buckets of an arm as a set of single buckets would be slow: as a set of joined ranges."""
    return {(r.start, r.stop) for r in history[at].ranges if r.arm == arm}


def flows(before, now):
    """(from, to) -> buckets that went that way."""
    edges = sorted({*before.table.starts, *now.table.starts, BUCKETS})
    moved = {}
    for start, stop in pairwise(edges):
        way = (arm_at(before.table, start), arm_at(now.table, start))
        if way[0] != way[1]:
            moved[way] = moved.get(way, 0) + stop - start
    return moved


def contains(outer, inner):
    """Whether every bucket of `inner` (ranges of one arm) is one of `outer`."""
    return all(any(a <= start and stop <= b for a, b in outer) for start, stop in inner)


def some_of(arms):
    return st.none() | st.lists(st.sampled_from(arms), min_size=1, unique=True)


@st.composite
def moves(draw, history):
    """One more version: a share set (from control or named arms) or a restore; refused, none."""
    arms = list(history[0].weights)
    if len(history) > 1 and draw(st.integers(0, 4)) == 0:
        return restored(history, draw(st.integers(1, len(history))))
    arm = draw(st.sampled_from(arms[1:]))
    named = draw(some_of([a for a in arms if a != arm]))
    share = draw(st.sampled_from([0, 1, 50_000, 100_000, 333_333, 500_000]) | st.integers(0, BUCKETS))
    try:
        return after(history, arm, Decimal(share) / BUCKETS, named)
    except BadShare:
        return history


@st.composite
def histories(draw, most=8):
    history = begun(draw(st.integers(2, 5)))
    for _ in range(draw(st.integers(0, most))):
        history = draw(moves(history))
    return history


def more(history, arm, partners):
    """How many buckets `arm` could still take from `partners`."""
    held = splits.holdings(history)
    return sum(h.stop - h.start for h in held if h.arm in partners and h.taken_from != arm)


@given(histories())
def test_every_version_covers_the_buckets_exactly_and_sums_to_one_million(history):
    check_history(history)
    for split in history:
        assert sum(millionths(split.ranges).values()) == BUCKETS
        assert sum(round(w * BUCKETS) for w in split.weights.values()) == BUCKETS
        assert tuple(split.weights) == tuple(history[0].weights)
        assert all(a.arm != b.arm for a, b in pairwise(split.ranges))


@given(histories(), st.data())
def test_only_the_arm_and_the_named_trade_and_only_one_way(history, data):
    arms = list(history[0].weights)
    arm = data.draw(st.sampled_from(arms[1:]))
    named = data.draw(some_of([a for a in arms if a != arm]))
    share = data.draw(st.integers(0, BUCKETS))
    try:
        longer = after(history, arm, Decimal(share) / BUCKETS, named)
    except BadShare:
        return
    assert had(longer, arm) == share
    moved = flows(history[-1], longer[-1])
    partners = set(named or ["base"])
    raised = share > had(history, arm)
    assert all((to if raised else source) == arm for source, to in moved)
    assert all((source if raised else to) in partners for source, to in moved)
    assert sum(moved.values()) == abs(share - had(history, arm))


@given(histories(), st.data())
def test_raising_then_lowering_is_the_identity_also_for_what_comes_later(history, data):
    arms = list(history[0].weights)
    arm = data.draw(st.sampled_from(arms[1:]))
    named = data.draw(st.lists(st.sampled_from([a for a in arms if a != arm]), min_size=1, unique=True))
    room = more(history, arm, named)
    assume(room > 0)
    raised = after(
        history, arm, Decimal(had(history, arm) + data.draw(st.integers(1, room))) / BUCKETS, named
    )
    lowered = after(raised, arm, Decimal(had(history, arm)) / BUCKETS, named)
    assert lowered[-1].ranges == history[-1].ranges
    assert pieces(lowered) == pieces(history)


def pieces(history):
    """Holdings with equal neighbours joined: what later changes depend on."""
    joined = []
    for h in splits.holdings(history):
        if joined and joined[-1][2] == h.owners:
            joined[-1] = (joined[-1][0], h.stop, h.owners)
        else:
            joined.append((h.start, h.stop, h.owners))
    return joined


@given(histories(), st.data())
def test_lowering_gives_back_the_last_gained_first_to_its_previous_owner(history, data):
    arm = data.draw(st.sampled_from(list(history[0].weights)[1:]))
    partners = data.draw(st.sampled_from([["base"], [a for a in history[0].weights if a != arm]]))
    mine = [h for h in splits.holdings(history) if h.arm == arm and h.taken_from in partners]
    owed = sum(h.stop - h.start for h in mine)
    assume(owed > 0)
    back = data.draw(st.integers(1, owed))
    longer = after(history, arm, Decimal(had(history, arm) - back) / BUCKETS, partners)
    expected = []
    for h in sorted(mine, key=lambda h: (-h.owners[-1].version, -h.start)):
        taken = min(back - sum(stop - start for start, stop, _ in expected), h.stop - h.start)
        expected += [(h.stop - taken, h.stop, h.taken_from)] if taken else []
    for start, stop, owner in expected:
        assert arm_at(longer[-1].table, start) == arm_at(longer[-1].table, stop - 1) == owner
    assert sum(flows(history[-1], longer[-1]).values()) == sum(stop - start for start, stop, _ in expected)


@given(st.lists(st.integers(0, BUCKETS), min_size=1, max_size=8, unique=True), st.integers(2, 5), st.data())
def test_a_ramp_is_monotone(stages, count, data):
    history = begun(count)
    for other in ARMS[2:count]:
        history = after(history, other, Decimal(data.draw(st.integers(0, 100_000))) / BUCKETS)
    room = had(history, "base")
    for stage in sorted(s for s in stages if s <= room):
        raised = after(history, "transformer", Decimal(stage) / BUCKETS)
        assert contains(owned_by(raised, "transformer"), owned_by(history, "transformer")) or count > 2
        assert set(flows(history[-1], raised[-1])) <= {("base", "transformer")}
        history = raised
    for stage in sorted((s for s in stages if s <= had(history, "transformer")), reverse=True):
        lowered = after(history, "transformer", Decimal(stage) / BUCKETS)
        assert set(flows(history[-1], lowered[-1])) <= {("transformer", "base")}
        history = lowered


@given(st.lists(st.integers(0, BUCKETS), min_size=1, max_size=6))
def test_with_two_arms_a_share_is_one_set_of_units_whatever_the_way_there(stages):
    history = begun()
    for stage in stages:
        history = after(history, "transformer", Decimal(stage) / BUCKETS)
        assert owned_by(history, "transformer") == ({(0, stage)} if stage else set())


@given(histories(), st.data())
def test_restore_is_exact_in_table_salt_and_past(history, data):
    version = data.draw(st.integers(1, len(history)))
    longer = restored(history, version)
    new, old = longer[-1], history[version - 1]
    assert (new.ranges, new.salt, new.weights) == (old.ranges, old.salt, old.weights)
    assert (new.version, new.restored_from) == (len(history) + 1, version)
    assert pieces(longer) == pieces(history[:version])
    check_history(longer)


@given(histories(), st.data())
def test_what_follows_a_restore_is_what_would_have_followed_its_source(history, data):
    version = data.draw(st.integers(1, len(history)))
    arm = data.draw(st.sampled_from(list(history[0].weights)[1:]))
    share = Decimal(data.draw(st.integers(0, BUCKETS))) / BUCKETS
    past, present = history[:version], restored(history, version)
    assert outcome(past, arm, share) == outcome(present, arm, share)


def outcome(history, arm, share):
    try:
        return set_share(history, arm, share, "base")
    except BadShare as error:
        return str(error)


def test_a_restore_in_the_middle_of_several_raises():
    history = after(after(after(begun(3), "transformer", "0.1"), "c", "0.1"), "transformer", "0.3")
    history = restored(history, 2)  # transformer 0.1, c nothing
    history = after(history, "c", "0.05")
    assert owned_by(history, "c") == {(100_000, 150_000)}
    history = after(history, "transformer", "0.05")
    assert owned_by(history, "transformer") == {(0, 50_000)}
    history = after(restored(history, 4), "transformer", "0.1")
    assert history[-1].ranges == history[2].ranges


def test_what_was_taken_from_a_named_arm_goes_back_to_it():
    history = after(after(begun(3), "c", "0.2"), "transformer", "0.1")
    history = after(history, "transformer", "0.15", ["c"])
    assert history[-1].weights == {"base": 0.7, "transformer": 0.15, "c": 0.15}
    with pytest.raises(BadShare, match=r"0\.050000 more than transformer took from base: name also .*\(c\)"):
        after(history, "transformer", "0")
    history = after(history, "transformer", "0", ["base", "c"])
    assert history[-1].ranges == history[1].ranges


def test_a_loan_is_returned_by_lowering_the_borrower_not_by_raising_the_lender():
    history = after(after(begun(3), "c", "0.2"), "transformer", "0.2", ["c"])
    with pytest.raises(BadShare, match="more than c and transformer have to trade"):
        after(history, "c", "0.1", ["transformer"])
    assert after(history, "transformer", "0", ["c"])[-1].ranges == history[1].ranges


def test_the_same_share_again_moves_nothing():
    history = after(begun(), "transformer", "0.1")
    assert after(history, "transformer", 0.1)[-1].ranges == history[-1].ranges


@pytest.mark.parametrize(("share", "buckets"), [
    (0, 0), (1, 1_000_000), (0.1, 100_000), ("0.1", 100_000), (Decimal("0.10"), 100_000), (0.3, 300_000),
    (0.1 + 0.2, None), ("1e-6", 1), (1e-6, 1), ("0.999999", 999_999), ("1.0", 1_000_000), (".5", 500_000),
    ("-0", 0),
    (0.1234567, None), ("0.10000000000000000000000000000000001", None), (1e-7, None), (1e-300, None),
    (-0.1, None), (1.000001, None), ("nan", None), (float("inf"), None), ("10%", None), ("", None),
    (" 0.1", None),
    ("0_1", None), (True, None), ("1e999999999", None), ("1e-999999999", None),
    ("\u0660", None), (None, None),
])  # fmt: skip
def test_shares_are_exact_or_refused(share, buckets):
    with localcontext(prec=3):
        if buckets is None:
            with pytest.raises(BadShare, match=r"^share must be .*: write"):
                splits.share_millionths(share)
        else:
            assert splits.share_millionths(share) == buckets


@given(st.integers(0, BUCKETS))
def test_every_float_share_reads_back(buckets):
    assert splits.share_millionths(buckets / BUCKETS) == buckets
    assert splits.share_millionths(str(buckets / BUCKETS)) == buckets


@pytest.mark.parametrize(("call", "error", "says"), [
    (lambda h: set_share(h, "transfomer", "0.1", "base"), UnknownArm, "must be one of base, transformer, c"),
    (lambda h: set_share(h, "c", "0.1", "base", ["x"]), UnknownArm, "not 'x'"),
    (lambda h: set_share(h, "c", "0.1", "control"), UnknownArm, "not 'control'"),
    (lambda h: set_share(h, "base", "0.1", "base"), BadShare, "set transformer or c instead"),
    (lambda h: set_share(h, "c", "0.1", "base", ["c"]), BadShare, "from_arms must name at least one arm"),
    (lambda h: set_share(h, "c", "0.1", "base", []), BadShare, "from_arms must name at least one arm"),
    (lambda h: set_share(h, "c", "0.95", "base"), BadShare, "0.050000 more than c and base have to trade"),
    (lambda h: splits.restore(h, 0, CHANGE), UnknownVersion, "version must be between 1 and 2, not 0"),
    (lambda h: splits.restore(h, 3, CHANGE), UnknownVersion, "version must be between 1 and 2, not 3"),
    (lambda h: splits.first("x", ["a"], "b", CHANGE), UnknownArm, "arm must be one of a, not 'b'"),
])  # fmt: skip
def test_refusals_name_the_field_the_rule_and_the_remedy(call, error, says):
    history = after(begun(3), "transformer", "0.1")
    with pytest.raises(error) as caught:
        call(history)
    assert says in str(caught.value)
    assert isinstance(caught.value, RouterError)
    assert caught.value.field
    assert caught.value.remedy


def test_an_arm_that_joins_later():
    history = after(begun(2), "transformer", "0.1")
    ranges = set_share(history, "late", "0.2", "base", arms=("base", "transformer", "late"))
    history += (splits.next_split(history, ranges, CHANGE),)
    assert history[-1].weights == {"base": 0.7, "transformer": 0.1, "late": 0.2}
    check_history(history)


def test_a_change_takes_effect_a_lead_after_it_was_made_and_never_before_its_predecessor():
    late = Change(actor="a", reason="r", now_us=10_000_000, lead_us=2_000_000)
    slow_clock = Change(actor="b", reason="r", now_us=9_000_000, lead_us=2_000_000)
    history = begun()
    history += (splits.next_split(history, history[0].ranges, late),)
    history += (splits.next_split(history, history[0].ranges, slow_clock),)
    assert [s.effective_at_us for s in history] == [0, 12_000_000, 12_000_000]
    assert history[2].created_at_us == 9_000_000
    check_history(history)


@settings(max_examples=20)
@given(histories())
def test_ranges_survive_their_json(history):
    for split in history:
        assert splits.ranges_of(splits.ranges_shape(split.ranges)) == split.ranges


def test_the_published_shape():
    split = after(begun(), "transformer", "0.1")[-1]
    assert splits.split_shape(split) == {
        "experiment": "main",
        "version": 2,
        "salt": "main/arm",
        "weights": {"base": 0.9, "transformer": 0.1},
        "ranges": [
            {"arm": "transformer", "from": 0, "to": 100_000},
            {"arm": "base", "from": 100_000, "to": BUCKETS},
        ],
        "effective_at": "1970-01-01T00:00:02.000000Z",
        "actor": "test",
        "reason": "because",
        "restored_from": None,
        "created_at": "1970-01-01T00:00:00.000000Z",
    }


def test_repainting_joins_neighbours():
    table = Table((Range("a", 0, 10), Range("b", 10, BUCKETS)))
    assert splits.repainted(table, (Range("a", 10, 20),)) == (Range("a", 0, 20), Range("b", 20, BUCKETS))
    assert splits.repainted(table, (Range("b", 0, 10),)) == (Range("b", 0, BUCKETS),)
    assert splits.repainted(table, ()) == table.ranges


def test_a_restore_brings_back_the_salt():
    history = after(begun(), "transformer", "0.1")
    resalted = (*history, replace(splits.next_split(history, history[1].ranges, CHANGE), salt="new/arm"))
    assert after(resalted, "transformer", "0.2")[-1].salt == "new/arm"
    assert restored(resalted, 2)[-1].salt == "main/arm"


@pytest.mark.parametrize(("share", "remedy"), [
    ("1e-7", "write 0 or 0.000001 instead"), ("0.9999999", "write 0.999999 or 1 instead"),
    ("0.1234567", "write 0.123457 instead"),
])  # fmt: skip
def test_a_share_between_two_buckets_is_never_rounded_to_none_or_all(share, remedy):
    with pytest.raises(BadShare) as error:
        share_millionths(share)
    assert error.value.remedy == remedy
