"""Assignment is a pure function with published vectors: binding, propensities, the gate, independence."""

import hashlib
import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import splits
from router.assignment import (
    BUCKETS,
    Gate,
    Range,
    Split,
    Table,
    arm_at,
    arm_salt,
    assign,
    bucket,
    check_history,
    check_salt,
    check_unit,
    gate_salt,
    in_force,
    is_stale,
    propensity,
    shares,
)
from router.errors import BadHistory, BadSalt, BadTable, BadUnit

GOLDEN_PATH = Path(__file__).parents[1] / "golden" / "assignment.json"
GOLDEN = json.loads(GOLDEN_PATH.read_text())
SPEC = (Path(__file__).parents[2] / "docs" / "assignment.md").read_text()
LEAD_US = 2_000_000
OPEN = Gate(control="base", salt="main/gate")


def change(now_us=0):
    return splits.Change(actor="test", reason="because", now_us=now_us, lead_us=LEAD_US)


def history_at(*steps, experiment="main", arms=("base", "transformer")):
    """A history of (time in us, share of the transformer)."""
    history = (splits.first(experiment, arms, "base", change()),)
    for at_us, share in steps:
        ranges = splits.set_share(history, "transformer", share, "base")
        history += (splits.next_split(history, ranges, change(at_us)),)
    return check_history(history)


def test_the_golden_file_is_the_published_one():
    digest = hashlib.sha256(GOLDEN_PATH.read_bytes()).hexdigest()
    assert digest == "2c584889160139bd41b90e47aaa5e3e2c89c8c73d7297b7457ab5e2abf5d68e6"


def test_golden_buckets():
    assert len(GOLDEN["buckets"]) >= 700
    assert [bucket(salt, unit) for salt, unit, _ in GOLDEN["buckets"]] == [
        row[2] for row in GOLDEN["buckets"]
    ]


def test_golden_arms():
    tables = {
        name: Table(tuple(Range(arm, start, stop) for arm, start, stop in ranges))
        for name, ranges in GOLDEN["tables"].items()
    }
    got = [arm_at(tables[table], bucket(salt, unit)) for table, salt, unit, _ in GOLDEN["arms"]]
    assert got == [row[3] for row in GOLDEN["arms"]]


def test_the_vectors_in_the_document_are_right():
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| ([0-9]+) \|$", SPEC, re.MULTILINE)
    assert len(rows) >= 8
    assert [bucket(salt, json.loads(f'"{unit}"')) for salt, unit, _ in rows] == [int(row[2]) for row in rows]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.text("abc/", min_size=1))
def test_bucket_is_in_range(unit, salt):
    assert 0 <= bucket(salt, unit) < BUCKETS


@given(st.integers(0, 2**64 - 1))
def test_the_scaling_reaches_every_bucket_and_never_the_end(digest):
    scaled = (digest * BUCKETS) >> 64
    assert 0 <= scaled < BUCKETS
    assert scaled == math.floor(digest * BUCKETS / 2**64) or digest >= 2**53


def test_normalisation_is_not_ours():
    assert bucket("s", "\u00e9") != bucket("s", "e\u0301")


@pytest.mark.parametrize("ranges", [
    (),
    (Range("a", 0, 5),),
    (Range("a", 1, BUCKETS),),
    (Range("a", 0, BUCKETS + 1),),
    (Range("a", 0, 10), Range("b", 11, BUCKETS)),
    (Range("a", 0, 10), Range("b", 9, BUCKETS)),
    (Range("a", 0, 10), Range("b", 10, 10), Range("a", 10, BUCKETS)),
    (Range("a", 10, BUCKETS), Range("b", 0, 10)),
])  # fmt: skip
def test_ranges_must_tile_the_buckets(ranges):
    with pytest.raises(BadTable, match=r"^ranges must .*: give half-open ranges"):
        Table(ranges)


@given(st.lists(st.integers(1, BUCKETS - 1), max_size=8, unique=True), st.data())
def test_arm_at_agrees_with_a_search(cuts, data):
    edges = [0, *sorted(cuts), BUCKETS]
    ranges = tuple(Range(f"arm{i % 5}", a, b) for i, (a, b) in enumerate(pairwise(edges)))
    table = Table(ranges)
    for at in {0, BUCKETS - 1, *cuts, *(c - 1 for c in cuts), data.draw(st.integers(0, BUCKETS - 1))}:
        assert arm_at(table, at) == next(r.arm for r in ranges if r.start <= at < r.stop)
    assert sum(round(share * BUCKETS) for share in shares(table).values()) == BUCKETS
    assert all(share == round(share, 6) for share in shares(table).values())


def test_shares_name_the_arms_at_zero_and_keep_their_order():
    table = Table((Range("c", 0, 1), Range("a", 1, BUCKETS)))
    assert list(shares(table, ("a", "b", "c")).items()) == [("a", 0.999999), ("b", 0.0), ("c", 0.000001)]


def test_weights_must_be_the_shares():
    with pytest.raises(BadTable, match="weights must be the shares"):
        Split(
            experiment="e", version=1, salt="s", ranges=(Range("a", 0, BUCKETS),), weights={"a": 0.9},
            effective_at_us=0, actor="", reason="", restored_from=None, created_at_us=0,
        )  # fmt: skip


@pytest.mark.parametrize("unit", ["", " ", "\t", "a\nb", "a\x00", "\ud800", "a\x7f", "x" * 257, "é" * 129])
def test_units_that_cannot_be_stored_are_refused(unit):
    with pytest.raises(BadUnit, match=r"^unit must .*: send"):
        check_unit(unit)


@pytest.mark.parametrize("unit", ["a", "é" * 128, "👩‍👩‍👧‍👦", "btc updown", "\u200b"])
def test_units_that_can_be_stored_pass_unchanged(unit):
    assert check_unit(unit) is unit


def test_a_salt_cannot_make_two_coins_one():
    assert bucket("a:b", "c") == bucket("a", "b:c")
    for salt in ("a:b", "", ":"):
        with pytest.raises(BadSalt, match="without a colon"):
            check_salt(salt)
    with pytest.raises(BadSalt):
        Gate(control="base", salt="main:gate")


@given(st.text("abgate/rm", min_size=1), st.text("abgate/rm", min_size=1))
def test_no_gate_shares_a_salt_with_an_arm_coin(one, other):
    assert arm_salt(one) != gate_salt(other)


def test_in_force_is_the_last_version_that_took_effect():
    history = history_at((10_000_000, "0.1"), (20_000_000, "0.5"))
    at = {
        t: in_force(history, t).version
        for t in (-1, 0, 11_999_999, 12_000_000, 21_999_999, 22_000_000, 10**15)
    }
    assert at == {-1: 1, 0: 1, 11_999_999: 1, 12_000_000: 2, 21_999_999: 2, 22_000_000: 3, 10**15: 3}


def test_a_unit_keeps_its_arm_across_a_change_by_its_start():
    before = history_at((10_000_000, "0.1"))
    after = history_at((10_000_000, "0.1"), (20_000_000, "0.9"))
    units = [f"unit-{i}" for i in range(2000)]
    assert [assign(OPEN, before, u, 15_000_000) for u in units] == [
        assign(OPEN, after, u, 15_000_000) for u in units
    ]
    started_later = [assign(OPEN, after, u, 22_000_000) for u in units]
    assert {a.split_version for a in started_later} == {3}
    assert {a.weights["transformer"] for a in started_later} == {0.9}


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.sampled_from(["0", "0.1", "0.5", "1"])), max_size=6),
    st.data(),
)
def test_a_later_version_never_changes_the_past(steps, data):
    clock, timed = 0, []
    for wait_us, share in steps:
        clock += wait_us
        timed.append((clock, share))
    history = history_at(*timed)
    at_us = data.draw(st.integers(0, clock + 2 * LEAD_US))
    changed_us = data.draw(st.integers(max(at_us - LEAD_US + 1, clock), clock + 4 * LEAD_US))
    longer = (*history, splits.next_split(history, splits.set_share(history, "transformer", "0.3", "base"),
                                          change(changed_us)))  # fmt: skip
    assert in_force(longer, at_us) == in_force(history, at_us)


def test_staleness_is_about_the_binding_time_not_about_the_age_of_the_history():
    assert not is_stale(binding_at_us=0, confirmed_at_us=0, lead_us=LEAD_US)
    assert not is_stale(binding_at_us=-(10**12), confirmed_at_us=-(10**12), lead_us=LEAD_US)
    assert is_stale(binding_at_us=LEAD_US, confirmed_at_us=0, lead_us=LEAD_US)
    committed_us, confirmed_us = 1, 0
    history = history_at()
    unknown = splits.next_split(history, history[0].ranges, change(committed_us))
    first_affected_us = unknown.effective_at_us
    assert is_stale(first_affected_us, confirmed_us, LEAD_US)
    assert in_force((*history, unknown), first_affected_us - 1) == history[0]


def test_history_must_be_whole():
    history = history_at((0, "0.1"), (5, "0.2"))
    other = history_at((0, "0.1"), experiment="other")
    for broken in ((), history[1:], history[::2], history[::-1], (history[0], other[1])):
        with pytest.raises(BadHistory, match=r"^history must"):
            check_history(broken)


def test_history_refuses_a_restore_that_is_no_copy():
    history = history_at((0, "0.1"))
    forged = splits.next_split(history, history[1].ranges, change(), restored_from=1)
    with pytest.raises(BadHistory, match="version 3 must be a copy of version 1"):
        check_history((*history, forged))


def test_history_refuses_a_version_that_takes_effect_before_its_predecessor():
    history = history_at((0, "0.1"))
    with pytest.raises(BadHistory, match="out of order"):
        check_history((replace(history[0], effective_at_us=10**9), history[1]))


def within_binomial(successes, n, p, z=3.2905):
    """Two-sided 99.9% normal interval; n p is large in every use."""
    return abs(successes - n * p) <= z * math.sqrt(n * p * (1 - p)) + 0.5


@pytest.mark.parametrize("share", ["0.01", "0.1", "0.25", "0.5", "0.95"])
def test_shares_are_met_over_many_units(share):
    history = history_at((0, share))
    n = 40_000
    arms = [assign(OPEN, history, f"btc-updown-15m-{1767225600 + 900 * i}", LEAD_US).arm for i in range(n)]
    assert within_binomial(arms.count("transformer"), n, float(share))


def test_two_experiments_and_the_gate_are_independent():
    n = 40_000
    units = [f"btc-updown-15m-{1767225600 + 900 * i}" for i in range(n)]
    coins = [[bucket(salt, u) < BUCKETS // 2 for u in units] for salt in ("a/arm", "b/arm", "a/gate")]
    for one in range(3):
        for other in range(one):
            agree = sum(x == y for x, y in zip(coins[one], coins[other], strict=True))
            assert within_binomial(agree, n, 0.5)


def test_the_gate_lets_in_its_share_and_treats_in_the_arms_share():
    history = history_at((0, "0.5"))
    gate = Gate(control="base", salt=gate_salt("main"), open_millionths=200_000)
    n = 40_000
    assigned = [assign(gate, history, f"unit-{i}", LEAD_US) for i in range(n)]
    inside = [a for a in assigned if a.eligible]
    assert within_binomial(len(inside), n, 0.2)
    assert within_binomial(sum(a.arm == "transformer" for a in inside), len(inside), 0.5)
    outside = [a for a in assigned if not a.eligible]
    assert {(a.arm, a.split_version, tuple(a.weights.items())) for a in outside} == {
        ("base", 2, (("base", 1.0), ("transformer", 0.0)))
    }


def test_opening_the_gate_only_adds_units():
    history = history_at((0, "0.5"))
    units = [f"unit-{i}" for i in range(5000)]
    narrow, wide = (Gate(control="base", salt="main/gate", open_millionths=m) for m in (100_000, 400_000))
    for unit in units:
        before, after = (assign(gate, history, unit, LEAD_US) for gate in (narrow, wide))
        assert after == before if before.eligible else True
        assert after.eligible or not before.eligible


def test_a_closed_gate_lets_nobody_in():
    gate = Gate(control="base", salt="main/gate", open_millionths=0)
    assert not any(assign(gate, history_at((0, "1")), f"u{i}", LEAD_US).eligible for i in range(1000))


def test_propensity():
    assert propensity({"base": 0.9, "transformer": 0.1}, "base", "transformer") == 0.1
    assert propensity({"base": 0.7, "transformer": 0.1, "c": 0.2}, "base", "transformer") == 0.125
    assert propensity({"base": 0.0, "transformer": 0.0, "c": 1.0}, "base", "transformer") is None
    assert propensity({"base": 0.0, "transformer": 1.0}, "base", "transformer") == 1.0
    assert propensity({"base": 1.0}, "base", "transformer") == 0.0


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 500))
def test_equal_ratios_are_one_stratum(treated, controlled, times):
    one = propensity({"t": treated / BUCKETS, "b": controlled / BUCKETS}, "b", "t")
    assert one == propensity({"t": treated * times / BUCKETS, "b": controlled * times / BUCKETS}, "b", "t")


def test_the_gate_is_half_open():
    history, at = history_at((0, "0.5")), bucket("main/gate", "unit-1")
    outside, inside = (Gate(control="base", salt="main/gate", open_millionths=m) for m in (at, at + 1))
    assert not assign(outside, history, "unit-1", LEAD_US).eligible
    assert assign(inside, history, "unit-1", LEAD_US).eligible
