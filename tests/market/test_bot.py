"""A bot against a real HTTP server on the loopback that is away, drops connections, or refuses an outcome."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
from abctl_client.client import Client
from abctl_client.errors import AbctlError
from aiohttp import web

from market.bot import Bot, BotConfig, Chance, Ledger
from market.session import Session
from market.worlds import DECOY_FAST, tape_of
from store.outbox import Outbox

WORLD = replace(DECOY_FAST, name="short", ticks=60, tradable_ticks=45, events_low=2, events_high=2)
TAPES = [tape_of(WORLD, 8_000_000 + i) for i in range(3)]
BUY_AT, SELL_AT = 5, 20
LATER = web.HTTPServiceUnavailable


@dataclass
class Service:
    """Buys at tick 5 and sells at tick 20.

    drops: share of requests whose connection is cut, half of them after they were taken in. refuses: outcomes
    of this kind are rejected. outcomes_away: 503 for every outcome.
    """

    drops: float = 0.0
    refuses: str = ""
    outcomes_away: bool = False
    asked: dict = field(default_factory=dict)
    resent: int = 0
    outcomes: dict = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    port: int = 0
    runner: web.AppRunner | None = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def decide(self, request):
        body = await request.json()
        draw = self.chance.random()
        if draw < self.drops / 2:
            request.transport.abort()
        known = self.asked.get(body["decision_id"])
        self.resent += known is not None
        assert known in (None, body)
        self.asked[body["decision_id"]] = body
        if self.drops / 2 <= draw < self.drops:
            request.transport.abort()
        return web.json_response(self.answer(body))

    def answer(self, body):
        tick = [a for a in self.asked.values() if a["unit"] == body["unit"]].index(body)
        action = {BUY_AT: "buy", SELL_AT: "sell"}.get(tick, "hold")
        same = {
            "served_arm": "base",
            "reason": "assigned",
            "binding": "started_at",
            "split_version": 1,
            "model": "m",
        }
        probs = {"hold": 1.0, "buy": 0.0, "sell": 0.0}
        told = {"decision_id": body["decision_id"], "experiment": "main", "unit": body["unit"], "arm": "base"}
        rest = {
            "propensity": {"base": 1.0},
            "value": 0.0,
            "history_used": len(body["history"]),
            "latency_us": 1,
        }
        return told | same | rest | {"action": action, "probs": probs}

    async def take(self, request):
        if self.outcomes_away:
            raise LATER
        results = []
        for item in await request.json():
            if item["kind"] == self.refuses:
                results.append({"status": "rejected", "error": {"detail": "pnl_usd: too much"}})
                continue
            key = (item["kind"], item.get("decision_id", item.get("unit")))
            results.append({"status": "duplicate" if key in self.outcomes else "accepted"})
            self.outcomes[key] = item
        return web.json_response({"results": results})

    async def start(self):
        app = web.Application()
        app.add_routes([web.post("/v1/decide", self.decide), web.post("/v1/outcomes", self.take)])
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self.runner.addresses[0][1]

    async def stop(self):
        await self.runner.cleanup()


@asynccontextmanager
async def running(service):
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def trade(service, path, tapes, ledger, patience_s=20.0, **config):
    settings = BotConfig(name="bob", run="r1", **config)
    with closing(Outbox(path)) as outbox:
        async with Client(service.url, timeout_s=2.0, patience_s=patience_s) as client:
            await Bot(settings, client, outbox, ledger).trade(tapes)


def check_complete(service, ledger, tapes):
    """Every tick was decided once; one market outcome a unit and one trade outcome a closed trade."""
    ticks = sum(len(tape.tick_us) for tape in tapes)
    assert len(service.asked) == ticks
    assert set(ledger.sent) == set(ledger.answered) == set(service.asked)
    units = {f"{tape.market}@r1" for tape in tapes}
    assert {key for kind, key in service.outcomes if kind == "market"} == units
    opened = {key for kind, key in service.outcomes if kind == "trade"}
    assert len(opened) == sum(len(result.trades) for result in ledger.played) > 0
    assert opened <= set(service.asked)


def test_what_it_sends_is_what_the_session_made(tmp_path):
    service, ledger = Service(), Ledger()

    async def scenario():
        async with running(service):
            await trade(service, tmp_path / "outbox", TAPES, ledger, history_rows=4)

    asyncio.run(scenario())
    check_complete(service, ledger, TAPES)
    for tape in TAPES:
        unit = f"{tape.market}@r1"
        asked = [body for body in service.asked.values() if body["unit"] == unit]
        assert [len(body["history"]) for body in asked[:6]] == [1, 2, 3, 4, 4, 4]
        assert len({body["started_at"] for body in asked}) == 1
        assert all(after["history"][-4:-1] == before["history"][-3:] for before, after in pairwise(asked))
        rows = np.array([body["history"][-1] for body in asked], dtype=np.float32)
        free = tape.features.any(axis=0)
        np.testing.assert_array_equal(rows[:, free], tape.features[:, free])
        outcome = service.outcomes["market", unit]
        (result,) = [result for result in ledger.played if result.market == tape.market]
        assert round(outcome["pnl_usd"] * 1e6) == result.pnl_micro
        assert outcome["trades"] == len(result.trades)
        for trade_ in result.trades:
            sent = service.outcomes["trade", asked[trade_.decided_tick]["decision_id"]]
            assert trade_.decided_tick == BUY_AT
            assert round(sent["pnl_usd"] * 1e6) == trade_.pnl_micro


def test_over_http_it_makes_what_the_same_policy_makes_without(tmp_path):
    service, ledger = Service(), Ledger()

    async def scenario():
        async with running(service):
            await trade(service, tmp_path / "outbox", TAPES, ledger)

    asyncio.run(scenario())
    assert {r.market: r.pnl_micro for r in ledger.played} == {r.market: r.pnl_micro for r in played_alone()}


def played_alone():

    for tape in TAPES:
        session = Session(tape)
        while not session.done:
            session.step({BUY_AT: 1, SELL_AT: 2}.get(session.tick, 0))
        yield session.result()


def test_cut_connections_are_asked_again_under_the_same_id(tmp_path):
    service, ledger = Service(drops=0.15), Ledger()

    async def scenario():
        async with running(service):
            await trade(service, tmp_path / "outbox", TAPES, ledger)

    asyncio.run(scenario())
    assert service.resent > 5
    check_complete(service, ledger, TAPES)


def test_a_service_that_goes_away_is_waited_for(tmp_path):
    service, ledger = Service(), Ledger()

    async def scenario():
        await service.start()
        trading = asyncio.create_task(trade(service, tmp_path / "outbox", TAPES, ledger))
        while len(ledger.answered) < 40:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await service.stop()
        await asyncio.sleep(0.5)
        waiting = set(ledger.sent) - set(ledger.answered)
        assert len(waiting) == len(TAPES)
        await asyncio.sleep(0.3)
        assert waiting == set(ledger.sent) - set(ledger.answered)
        async with running(service):
            await trading

    asyncio.run(scenario())
    check_complete(service, ledger, TAPES)


def test_when_patience_is_over_it_says_so_and_keeps_its_outcomes(tmp_path):
    service, ledger = Service(outcomes_away=True), Ledger()

    async def scenario():
        async with running(service):
            with pytest.raises(AbctlError) as raised:
                await trade(service, tmp_path / "outbox", TAPES, ledger, patience_s=0.2)
            assert raised.value.status == 503
            with closing(Outbox(tmp_path / "outbox")) as outbox:
                kept = len(outbox.waiting())
            assert kept > 0
            service.outcomes_away = False
            await trade(service, tmp_path / "outbox", [], Ledger())
            assert len(service.outcomes) == kept

    asyncio.run(scenario())


def test_a_refused_outcome_is_laid_aside_and_reported(tmp_path, caplog):
    service, ledger = Service(refuses="trade"), Ledger()

    async def scenario():
        async with running(service):
            await trade(service, tmp_path / "outbox", TAPES, ledger)

    asyncio.run(scenario())
    trades = sum(len(result.trades) for result in ledger.played)
    assert ledger.refused == ["pnl_usd: too much"] * trades
    assert caplog.text.count("pnl_usd: too much") == trades
    with closing(Outbox(tmp_path / "outbox")) as outbox:
        assert outbox.waiting() == []
        assert [(item["kind"], why) for item, why in outbox.refused()] == [
            ("trade", "pnl_usd: too much")
        ] * trades
    assert len(service.outcomes) == len(TAPES)


OWN_BOT = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from abctl_client.client import Client
from market.bot import Bot, BotConfig, Ledger
from market.worlds import DECOY_FAST, tape_of
from store.outbox import Outbox

async def main(url, path):
    world = replace(DECOY_FAST, name="short", ticks=60, tradable_ticks=45, events_low=2, events_high=2)
    tapes = [tape_of(world, 8_000_000 + i) for i in range(3)]
    async with Client(url, timeout_s=2.0, patience_s=60.0) as client:
        await Bot(BotConfig(name="bob", run="r1"), client, Outbox(path), Ledger()).trade(tapes)

asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
"""


def own_bot(url, path):
    return subprocess.Popen([sys.executable, "-P", "-c", OWN_BOT, url, path])


def test_killed_with_outcomes_in_its_outbox_the_next_one_delivers_them(tmp_path):
    service, path = Service(outcomes_away=True), tmp_path / "outbox"

    async def scenario():
        async with running(service):
            process = own_bot(service.url, path)
            while len(service.asked) < sum(len(tape.tick_us) for tape in TAPES):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.5)
            assert service.outcomes == {}
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            service.outcomes_away = False
            await trade(service, path, [], Ledger())

    asyncio.run(scenario())
    assert {key for kind, key in service.outcomes if kind == "market"} == {
        f"{tape.market}@r1" for tape in TAPES
    }
    assert len(service.outcomes) > len(TAPES)


def test_time_and_randomness_are_given(tmp_path):
    """The same clock and the same random bytes: the same ids."""
    services = [Service(), Service()]

    async def scenario(service, number):
        chance = Chance(now_ms=lambda: 1_700_000_000_000, random_bytes=random.Random(7).randbytes)
        async with running(service):
            with closing(Outbox(tmp_path / f"{number}")) as outbox:
                async with Client(service.url) as client:
                    await Bot(BotConfig(name="bob", run="r1"), client, outbox, Ledger(), chance).trade(
                        TAPES[:1]
                    )

    for number, service in enumerate(services):
        asyncio.run(scenario(service, number))
    assert json.dumps(services[0].asked) == json.dumps(services[1].asked)
