"""The client against the real service: `abctl serve` as its user starts it."""

import asyncio
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import numpy as np
import pytest
from abctl_client.bucket import BUCKETS, bucket
from abctl_client.client import Client
from abctl_client.errors import AbctlError
from abctl_client.messages import DecideRequest, MarketOutcome, TradeOutcome

HISTORY = np.full((3, 18), 0.1, dtype=np.float32)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    environment = {**os.environ, "ABCTL_DATA_DIR": str(folder / "data"), "ABCTL_PORT": "0"}
    program = [sys.executable, "-c", "from cli.main import main; main()", "serve"]
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        with service:
            line = service.stdout.readline()
            try:
                assert "serves at" in line, (folder / "log").read_text()[-2000:]
                yield line.split()[3]
            finally:
                service.terminate()
                service.wait(30)


def talk(url, conversation, **settings):
    async def whole():
        async with Client(url, **settings) as client:
            return await conversation(client)

    return asyncio.run(whole())


def test_a_market_from_the_first_tick_to_its_outcome(url):
    async def conversation(client):
        now = datetime.now(UTC)
        first = await client.decide("market-1", HISTORY, started_at=now, bot="b")
        again = await client.decide(
            "market-1", HISTORY, started_at=now, bot="b", decision_id=first.decision_id
        )
        assert again == first
        told = await client.assign("market-1")
        assert (told.arm, told.propensity, told.eligible) == (first.arm, first.propensity, True)
        results = await client.outcomes(
            [
                TradeOutcome(decision_id=first.decision_id, pnl_usd=1.25, fill="paper", closed_at=now),
                MarketOutcome(unit="market-1", bot="b", pnl_usd=1.25, fill="paper", closed_at=now),
                MarketOutcome(unit="", pnl_usd=1, fill="paper", closed_at=now),
            ]
        )
        assert [r.status for r in results] == ["accepted", "accepted", "rejected"]
        assert results[0].pnl_micro == 1_250_000
        assert results[2].error["field"] == "unit"
        verdict = await client.report_verdict()
        assert verdict["verdict"]
        return first

    first = talk(url, conversation)
    assert first.binding == "started_at"
    assert first.history_used == 3


def test_a_batch_answers_in_order_with_errors_as_values(url):
    async def conversation(client):
        asked = [DecideRequest(unit=f"batch-{i}" if i != 1 else " ", history=HISTORY) for i in range(3)]
        return await client.decide_batch(asked)

    first, second, third = talk(url, conversation)
    assert (first.unit, third.unit) == ("batch-0", "batch-2")
    assert isinstance(second, AbctlError)
    assert (second.status, second.field) == (422, "unit")


def test_what_the_service_refuses_is_an_error_with_field_and_code(url):
    async def conversation(client):
        for options, status, code, field in (
            ({"experiment": "nope"}, 404, "unknown_experiment", "experiment"),
            ({"force_arm": "nope"}, 422, "invalid_field", "force_arm"),
            ({"deadline_ms": -5.0}, 422, "invalid_field", "deadline_ms"),
            ({"started_at": 5}, 422, "invalid_field", "started_at"),
        ):
            with pytest.raises(AbctlError) as refused:
                await client.decide("refused", HISTORY, **options)
            assert (refused.value.status, refused.value.code, refused.value.field) == (status, code, field)
        with pytest.raises(AbctlError) as refused:
            await client.decide("refused", HISTORY * np.nan)
        assert refused.value.field == "history[0][0]"

    talk(url, conversation)


def test_the_clients_own_bucket_says_which_arm_the_service_gives(url):
    import json
    import urllib.request

    body = json.dumps({"arm": "transformer", "share": "0.5"}).encode()
    request = urllib.request.Request(
        f"{url}/v1/experiments/main/split", body, {"content-type": "application/json"}, method="PUT"
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        split = json.load(reply)
    effective = datetime.fromisoformat(split["effective_at"])
    time.sleep(max(0.0, (effective - datetime.now(UTC)).total_seconds()) + 0.7)

    async def conversation(client):
        now = datetime.now(UTC)
        return [await client.decide(f"coin-{i}", HISTORY, started_at=now) for i in range(40)]

    for decision in talk(url, conversation):
        own = bucket(split["salt"], decision.unit)
        assert 0 <= own < BUCKETS
        arm = next(r["arm"] for r in split["ranges"] if r["from"] <= own < r["to"])
        assert decision.arm == arm
