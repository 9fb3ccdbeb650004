"""Choosers: the published vectors, the guide's coin, and a real service."""

import asyncio
import json
import time
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from abctl_client.client import Client
from abctl_client.errors import AbctlError

from arms.choosing import chosen_at_random, chosen_by_service, chosen_by_split
from arms.errors import ActError
from arms.strategies import HybridStrategy, RLStrategy, TransformerRLStrategy
from cli.own_service import OwnService

ROOT = Path(__file__).resolve().parents[2]
STARTERS = ROOT / "arms" / "starters"
GOLDEN_SPLITS = json.loads((ROOT / "tests" / "golden" / "assignment.json").read_text())
FIRST = "btc-updown-15m-1767225600"
ZEROS = np.zeros(18, dtype=np.float32)


def hybrid_of(choose):
    base = RLStrategy(seq_len=3, hidden_dim=32, temporal_dim=16).load(STARTERS / "base")
    sizes = {"seq_len": 10, "n_heads": 2, "n_layers": 1, "d_model": 32, "temporal_dim": 16}
    return HybridStrategy(base, TransformerRLStrategy(**sizes).load(STARTERS / "transformer"), choose)


def split_of(ranges, salt="main/arm"):
    weights = {}
    for arm, start, stop in ranges:
        weights[arm] = weights.get(arm, 0) + (stop - start) / 1_000_000
    rows = [{"arm": arm, "from": start, "to": stop} for arm, start, stop in ranges]
    return {
        "experiment": salt.partition("/")[0],
        "version": 7,
        "salt": salt,
        "weights": weights,
        "ranges": rows,
    }


def test_a_split_gives_the_arms_of_the_published_vectors():
    choosers = {}
    for table, salt, unit, arm in GOLDEN_SPLITS["arms"]:
        key = (table, salt)
        choosers.setdefault(key, chosen_by_split(split_of(GOLDEN_SPLITS["tables"][table], salt)))
        assert choosers[key](unit).arm == arm
    facts = chosen_by_split(split_of(GOLDEN_SPLITS["tables"]["ten percent"]))(FIRST).facts
    assert facts == {
        "experiment": "main",
        "split_version": 7,
        "bucket": 287043,
        "eligible": True,
        "propensity": {"transformer": 0.1, "base": 0.9},
    }


def test_a_gate_keeps_units_out_by_its_own_coin():
    split = split_of([["transformer", 0, 1_000_000]])
    inside = chosen_by_split(split, eligible_share=0.966596)(FIRST)  # its bucket at the gate is 966595
    outside = chosen_by_split(split, eligible_share=0.966595)(FIRST)
    assert (inside.arm, inside.facts["eligible"]) == ("transformer", True)
    assert (outside.arm, outside.facts["eligible"]) == ("base", False)
    assert outside.facts["propensity"] == {"base": 1.0}


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [["base", 0, 999_999]],
        [["base", 1, 1_000_000]],
        [["base", 0, 5], ["transformer", 4, 1_000_000]],
        [["base", 0, 5], ["transformer", 6, 1_000_000]],
    ],
)
def test_a_table_with_a_gap_or_an_overlap_is_refused(ranges):
    with pytest.raises(ValueError, match="must lie side by side from 0 to 1000000"):
        chosen_by_split(split_of(ranges))


def test_the_guides_coin_is_tossed_once_per_market():
    markets = [f"btc-updown-15m-{1767225600 + 900 * i}" for i in range(4000)]
    arms = [chosen_at_random(seed=3)(market).arm for market in markets]
    assert [chosen_at_random(0.5, seed=3)(market).arm for market in markets] == arms
    assert arms != [chosen_at_random(seed=4)(market).arm for market in markets]
    assert abs(arms.count("transformer") - 2000) < 158  # 5 standard deviations
    assert {chosen_at_random(0, seed=3)(market).arm for market in markets} == {"base"}
    assert {chosen_at_random(1, seed=3)(market).arm for market in markets} == {"transformer"}
    facts = chosen_at_random(0.1, seed=3)(FIRST).facts
    assert facts["propensity"] == {"base": 0.9, "transformer": 0.1}
    for share in (-0.1, 1.1, 0.12345678, float("nan")):
        with pytest.raises(ValueError, match=r"share is .*: it must be a multiple of 0.000001"):
            chosen_at_random(share)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    own = OwnService(tmp_path_factory.mktemp("strategies") / "data", {"ABCTL_SPLIT_LEAD_S": "1.1"})
    own.start()
    own.command("split", "set", "transformer", "0.5", "--reason", "half")
    yield own
    own.stop()


UNITS = [f"unit-{i}@strategies" for i in range(40)]


def test_the_service_and_its_split_choose_the_same(service):
    with urlopen(f"{service.url}/v1/experiments/main/split") as reply:
        by_split = chosen_by_split(json.load(reply))
    hybrid = hybrid_of(chosen_by_service(Client(service.url), "main"))
    for unit in UNITS[:6]:
        hybrid.act(ZEROS, unit)
    chosen = [hybrid.choice(unit) for unit in UNITS]
    assert [c.arm for c in chosen] == [by_split(unit).arm for unit in UNITS]
    assert {c.arm for c in chosen} == {"base", "transformer"}
    assert {c.by for c in chosen} == {"service"}
    facts = chosen[0].facts
    assert (facts["unit"], facts["propensity"]) == (UNITS[0], {"base": 0.5, "transformer": 0.5})
    assert facts["split_version"] == by_split(UNITS[0]).facts["split_version"]


def test_a_market_of_an_arm_that_the_service_killed_goes_to_the_one_that_serves(service):
    hybrid = hybrid_of(chosen_by_service(Client(service.url)))
    split = chosen_by_split(json.loads(service.command("split", "show", "--json")))
    before, after = [unit for unit in UNITS if split(unit).arm == "transformer"][-2:]
    assert hybrid.choice(before).arm == "transformer"
    service.command("split", "kill", "transformer", "--reason", "test")
    try:
        assert (hybrid.choice(after).arm, hybrid.choice(after).facts["arm"]) == ("base", "transformer")
        assert hybrid.choice(before).arm == "transformer"
    finally:
        service.command("split", "lift", "transformer")


def test_a_bot_in_an_event_loop_enters_a_market(service):
    opened_ms = time.time_ns() // 1_000_000 - 500

    async def play():
        async with Client(service.url) as client:
            hybrid = hybrid_of(chosen_by_service(client, started_at=lambda market: opened_ms))
            with pytest.raises(ActError, match=r"block the event loop: write `await hybrid.enter\(market\)`"):
                hybrid.act(ZEROS, "entered@strategies")
            entered = await hybrid.enter("entered@strategies")
            assert hybrid.act(ZEROS, "entered@strategies").ticks == 2
            assert await hybrid.enter("entered@strategies") is entered is hybrid.choice("entered@strategies")
            return entered

    entered = asyncio.run(play())
    assert entered.facts["started_at_ms"] == opened_ms
    alone = hybrid_of(chosen_by_service(Client(service.url))).choice("entered@strategies")
    assert (alone.arm, alone.facts["started_at_ms"]) == (entered.arm, opened_ms)


def test_asking_in_a_thread_leaves_the_open_client_open(service):
    async def play():
        async with Client(service.url) as client:
            hybrid = hybrid_of(chosen_by_service(client))
            chosen = await asyncio.to_thread(hybrid.choice, UNITS[1])
            assert (await client.assign(UNITS[1])).arm == chosen.arm

    asyncio.run(play())


def test_entering_needs_no_service_where_none_chooses():
    hybrid = hybrid_of(chosen_at_random(seed=1))
    assert asyncio.run(hybrid.enter(FIRST)) is hybrid.choice(FIRST)


def test_what_the_service_refuses_is_no_silence_and_has_no_fallback(service):
    choose = chosen_by_service(Client(service.url), "no-such-experiment", fallback="base")
    with pytest.raises(AbctlError, match="does not exist") as refused:
        hybrid_of(choose).act(ZEROS, FIRST)
    assert refused.value.status == 404


def test_a_service_that_is_away_is_said_and_falls_back_only_where_told():
    away = Client("http://127.0.0.1:9", timeout_s=1.0)
    with pytest.raises(
        AbctlError, match=r"http://127.0.0.1:9 cannot be reached .* is `abctl serve`"
    ) as said_so:
        hybrid_of(chosen_by_service(away)).act(ZEROS, FIRST)
    assert said_so.value.__notes__ == [
        f"So market {FIRST!r} has no arm, and none is taken in silence: ask again."
    ]
    hybrid = hybrid_of(chosen_by_service(away, fallback="base"))
    hybrid.act(ZEROS, FIRST)
    assert (hybrid.choice(FIRST).arm, hybrid.choice(FIRST).by) == ("base", "fallback")
    assert hybrid.choice(FIRST).facts["code"] == "no_answer"
