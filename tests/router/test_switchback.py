"""Switchback coins: one a block, by a published rule, independent of each other, before any treatment."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import pytest
from abctl_client.bucket import block_coin
from hypothesis import given
from hypothesis import strategies as st

from router import change, splits
from router.assignment import bucket, check_history
from router.definition import experiment_of
from router.problems import Problem
from router.switchback import US, assign_block, block_start_us, coin_of, in_burn_in
from store.clock import wall_clock_us

GOLDEN_PATH = Path(__file__).parents[1] / "golden" / "switchback.json"
GOLDEN = json.loads(GOLDEN_PATH.read_text())
SPEC = (Path(__file__).parents[2] / "docs" / "assignment.md").read_text()
START_S = 1_767_225_600
PATTERN = "(?P<family>.+)-(?P<window>[0-9]+[smhd])-(?P<start>[0-9]+)"
FIELDS = {
    "key": "blocks",
    "arms": ["base", "transformer"],
    "control": "base",
    "assignment": "switchback",
    "unit_pattern": PATTERN,
    "burn_in_s": 900,
}


def history_at(*steps):
    """A history of (time in s, share of the transformer)."""
    now = splits.Change(actor="test", reason="because", now_us=0, lead_us=0)
    history = (splits.first("blocks", ("base", "transformer"), "base", now),)
    for at_s, share in steps:
        ranges = splits.set_share(history, "transformer", share, "base")
        step = splits.Change(actor="test", reason="because", now_us=at_s * US, lead_us=0)
        history += (splits.next_split(history, ranges, step),)
    return check_history(history)


EVEN = history_at((1, 0.5))


def arm(family, at_s, history=EVEN, block_s=14_400):
    return assign_block(history, family, at_s * US, block_s).arm


def test_the_golden_file_is_the_published_one():
    digest = hashlib.sha256(GOLDEN_PATH.read_bytes()).hexdigest()
    assert digest == "385766135ceb3de63172ea634957e1c99fdd652005a37a047f5b1f900bddc332"


@pytest.mark.parametrize("row", GOLDEN["coins"], ids=str)
def test_published_coins(row):
    salt, family, at_us, block_s, coin, number = row
    start_us = block_start_us(at_us, block_s)
    assert coin_of(family, start_us) == coin == block_coin(family, at_us, block_s)
    assert bucket(salt, coin) == number


def test_the_page_shows_published_coins():
    for salt, family, at_us, block_s, coin, number in GOLDEN["coins"][:3]:
        assert f"| `{salt}` | `{family}` | {at_us} | {block_s} | `{coin}` | {number} |" in SPEC


@given(st.text(min_size=0, max_size=20), st.integers(0, 2**52), st.integers(60, 10**6), st.data())
def test_all_units_of_a_family_that_start_in_a_block_have_one_arm(family, at_us, block_s, data):
    family = family.encode("utf-8", "ignore").decode()
    start_us = block_start_us(at_us, block_s)
    assert start_us <= at_us < start_us + block_s * US
    other_us = start_us + data.draw(st.integers(0, block_s * US - 1))
    assert assign_block(EVEN, family, at_us, block_s) == assign_block(EVEN, family, other_us, block_s)


def test_a_change_of_the_split_waits_for_the_next_block():
    changed = history_at((1, 0.0), (START_S + 100, 1.0))
    assert arm("btc", START_S + 50, changed) == "base"
    assert arm("btc", START_S + 14_399, changed) == "base"
    assert arm("btc", START_S + 14_400, changed) == "transformer"
    found = assign_block(changed, "btc", (START_S + 200) * US, 14_400)
    assert (found.split_version, found.weights["transformer"]) == (2, 0.0)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_coins_are_independent(share):
    """The share is met, neighbours and families say nothing, nor do a day's first five about its sixth."""
    history = history_at((1, share))
    blocks = range(12_000)
    drawn = {f: [arm(f, START_S + 14_400 * b, history) == "transformer" for b in blocks] for f in ("a", "b")}
    four_se = 4 * (share * (1 - share) / 12_000) ** 0.5
    rates = [sum(drawn["a"]) / 12_000, sum(drawn["b"]) / 12_000]
    assert rates == pytest.approx([share] * 2, abs=four_se)
    square = share**2
    for pairs in (pairwise(drawn["a"]), zip(drawn["a"], drawn["b"], strict=True)):
        both = sum(one and other for one, other in pairs) / 12_000
        assert both == pytest.approx(square, abs=4 * (square * (1 - square) / 12_000) ** 0.5)
    days = [drawn["a"][6 * day : 6 * day + 6] for day in range(2000)]
    for few in (True, False):
        last = [day[5] for day in days if (sum(day[:5]) <= 5 * share) == few]
        assert sum(last) / len(last) == pytest.approx(share, abs=4 * (share * (1 - share) / len(last)) ** 0.5)


@given(st.integers(0, 2**52), st.integers(60, 10**6), st.integers(0, 1000))
def test_burn_in_is_the_begin_of_a_block(at_us, block_s, burn_in_s):
    into_us = at_us - block_start_us(at_us, block_s)
    assert in_burn_in(at_us, block_s, burn_in_s) == (into_us < burn_in_s * US)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"burn_in_s": 899}, "burn_in_s"),
        ({"block_s": 2699}, "block_s"),
        ({"unit_pattern": None}, "unit_pattern"),
        ({"unit_pattern": "x-(?P<start>[0-9]+)"}, "unit_pattern"),
        ({"mode": "bandit"}, "mode"),
        ({"gate": "planned", "looks": [1.0]}, "gate"),
        ({"eligible_share": 0.5}, "eligible_share"),
        ({"assignment": "unit"}, "burn_in_s"),
        ({"assignment": "unit", "burn_in_s": 0, "block_s": 60}, "block_s"),
        ({"assignment": "unit", "burn_in_s": 0, "block_by": "all"}, "block_by"),
    ],
)
def test_a_definition_that_breaks_a_rule_names_it(more, field):
    assert experiment_of(FIELDS, 1).block_s == 14_400
    with pytest.raises(Problem) as caught:
        experiment_of(FIELDS | more, 1)
    assert caught.value.field == field


def test_a_service_gives_a_family_one_arm_a_block(node):
    """Markets of a family that start in one block share its coin; a name without a family is refused."""
    fields = {"assignment": "switchback", "unit_pattern": PATTERN, "unit_duration_s": 1, "burn_in_s": 1}
    made = node.create("blocks", block_s=6, **fields)
    changed = node.set_share(0.5, key="blocks")
    node.wait(lambda: block_start_us(wall_clock_us() - US, 6) > changed.split.effective_at_us, timeout_s=15)
    start_s = block_start_us(wall_clock_us() - US, 6) // US
    history = change.history(node.engine, "blocks")
    for family in ("btc", "eth", "sol", "xrp", "ada", "doge"):
        expected = assign_block(history, family, start_s * US, made.block_s)
        for second in (0, 1):
            told = node.decide(f"{family}-15m-{start_s + second}", experiment="blocks", started_at=None)
            assert (told["arm"], told["split_version"]) == (expected.arm, 2)
            assert told["propensity"] == {"base": 0.5, "transformer": 0.5}
    body = {"unit": "nonsense", "experiment": "blocks", "history": [[0.1] * 18]}
    problem = node.refused("/v1/decide", body)
    assert (problem["field"], "must match unit_pattern" in problem["detail"]) == ("unit", True)
