"""Many bots in one process: python -m harness.bots FOLDER URL BOTS SEED. Ends in order when its stdin closes.

They share markets, so that every worker sees every market; half of the markets are sent with `started_at`.
Besides plain decisions they send the same decision again, ask in batches, report before they decide, report
twice, and contradict themselves.
"""

import asyncio
import json
import random
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abctl_client.client import Client
from abctl_client.errors import AbctlError
from abctl_client.messages import DecideRequest, Decision, MarketOutcome, Outcome, TradeOutcome

from harness.diary import Diary

MARKET_S = 2.0
PAUSE_S = 0.05
TIMEOUT_S = 2.0
PATIENCE_S = 20.0
_WIDTH = 18


@dataclass(frozen=True, slots=True)
class Market:
    """A unit that all bots know, and what they send as its start."""

    unit: str
    started_at_ms: int | None


def market_at(now_s: float, back: int, started: bool) -> Market:
    """The market of the slot `back` slots ago; all bots name it alike."""
    slot = int(now_s / MARKET_S) - back
    if started:
        return Market(f"started-{slot}", round(slot * MARKET_S * 1000))
    return Market(f"unknown-{slot}", None)


def history_of(rng: random.Random) -> list[list[float]]:
    """Twenty states that the schema allows."""
    return [[round(rng.random() * 0.9, 4) for _ in range(_WIDTH)] for _ in range(20)]


@dataclass(slots=True)
class ChaosBot:
    """One bot with its diary."""

    name: str
    client: Client
    diary: Diary
    rng: random.Random
    over: asyncio.Event
    asked: int = 0
    reported: set[str] = field(default_factory=set)
    markets: deque[str] = field(default_factory=deque)

    async def run(self) -> None:
        """Until told to stop: decisions, and what came of them."""
        while not self.over.is_set():
            began_s = time.monotonic()
            try:
                await self.round()
            except AbctlError as error:
                self.diary.write("no", error.code, time.monotonic() - began_s)
            await asyncio.sleep(PAUSE_S * 2 * self.rng.random())

    async def round(self) -> None:
        """One question or a batch of them, then perhaps outcomes."""
        requests = [self.request() for _ in range(4 if self.rng.random() < 0.1 else 1)]
        if self.rng.random() < 0.03:
            await self.report([self.trade(requests[0])])
        await self.ask(requests)
        if self.rng.random() < 0.08:
            await self.ask(requests)
        trades = [self.trade(r) for r in requests if self.rng.random() < 0.3]
        await self.report([*trades, *self.settled()])

    def request(self) -> DecideRequest:
        """A new decision in a market of the last few."""
        self.asked += 1
        market = market_at(time.time(), self.rng.randrange(3), self.rng.random() < 0.5)
        decision_id = f"{self.name}-{self.asked}"
        started_at_ms = market.started_at_ms
        self.diary.write("ask", decision_id, market.unit, self.name, started_at_ms is not None)
        if market.unit not in self.reported and market.unit not in self.markets:
            self.markets.append(market.unit)
        return DecideRequest(
            unit=market.unit,
            history=history_of(self.rng),
            started_at=started_at_ms,
            bot=self.name,
            decision_id=decision_id,
        )

    async def ask(self, requests: Sequence[DecideRequest]) -> None:
        """Sends decisions, and writes down every answer."""
        began_s = time.monotonic()
        if len(requests) == 1:
            (r,) = requests
            options: dict[str, Any] = {"bot": r.bot, "decision_id": r.decision_id}
            options |= {} if r.started_at is None else {"started_at": r.started_at}
            replies: list[Decision | AbctlError] = [await self.client.decide(r.unit, r.history, **options)]
        else:
            replies = await self.client.decide_batch(requests)
        waited_s = time.monotonic() - began_s
        for reply in replies:
            if isinstance(reply, AbctlError):
                self.diary.write("no", reply.code, waited_s)
            else:
                self.diary.write("told", reply.decision_id, _told(reply), waited_s)

    def trade(self, request: DecideRequest) -> TradeOutcome:
        """What one decision earned: the same whenever it is told, but for contradictions."""
        assert request.decision_id is not None
        pnl_usd = (int(request.decision_id.rpartition("-")[2]) % 1000) / 100
        return TradeOutcome(
            decision_id=request.decision_id, pnl_usd=pnl_usd, fill="paper", closed_at=_now_ms()
        )

    def settled(self) -> list[Outcome]:
        """The outcome of a market that is over, once."""
        if len(self.markets) <= 8:
            return []
        unit = self.markets.popleft()
        self.reported.add(unit)
        pnl_usd = self.rng.randrange(-500, 500) / 100
        closed_at = _now_ms()
        return [MarketOutcome(unit=unit, bot=self.name, pnl_usd=pnl_usd, fill="paper", closed_at=closed_at)]

    async def report(self, outcomes: Sequence[Outcome]) -> None:
        """Sends outcomes; some of them twice, some with another amount afterwards."""
        if not outcomes:
            return
        await self.say(outcomes)
        if self.rng.random() < 0.1:
            await self.say(outcomes)
        if self.rng.random() < 0.05:
            await self.say([_contradicting(outcome) for outcome in outcomes])

    async def say(self, outcomes: Sequence[Outcome]) -> None:
        """One request, written down before and after."""
        facts = [facts_of(outcome) for outcome in outcomes]
        for fact in facts:
            self.diary.write("say", *fact)
        for fact, result in zip(facts, await self.client.outcomes(outcomes), strict=True):
            assert result.status != "rejected", result.error
            self.diary.write("taken", *fact, result.status)


def facts_of(outcome: Outcome) -> tuple[str, str, int]:
    """(kind, key, pnl in micro-USD), as SQL has them."""
    if isinstance(outcome, TradeOutcome):
        return "trade", outcome.decision_id, round(outcome.pnl_usd * 1e6)
    assert isinstance(outcome, MarketOutcome)
    key = json.dumps([outcome.unit, outcome.bot], separators=(",", ":"))
    return "market", key, round(outcome.pnl_usd * 1e6)


def _contradicting(outcome: Outcome) -> Outcome:
    if isinstance(outcome, TradeOutcome):
        again = {"decision_id": outcome.decision_id, "pnl_usd": outcome.pnl_usd + 1000}
        return TradeOutcome(**again, fill="paper", closed_at=outcome.closed_at)
    assert isinstance(outcome, MarketOutcome)
    again = {"unit": outcome.unit, "bot": outcome.bot, "pnl_usd": outcome.pnl_usd + 1000}
    return MarketOutcome(**again, fill="paper", closed_at=outcome.closed_at)


def _told(reply: Decision) -> dict[str, Any]:
    return {
        "arm": reply.arm,
        "action": reply.action,
        "binding": reply.binding,
        "stale": reply.split_stale,
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def run(folder: Path, url: str, count: int, seed: int) -> None:
    """All bots, until stdin ends."""
    over = asyncio.Event()
    await asyncio.get_running_loop().connect_read_pipe(lambda: _Ending(over), sys.stdin)
    async with Client(url, timeout_s=TIMEOUT_S, patience_s=PATIENCE_S) as client:
        await asyncio.gather(*(_live(f"bot{number}s{seed}", folder, client, over) for number in range(count)))


async def _live(name: str, folder: Path, client: Client, over: asyncio.Event) -> None:
    with closing(Diary(folder / f"{name}.diary")) as diary:
        await ChaosBot(name, client, diary, random.Random(name), over).run()


class _Ending(asyncio.Protocol):
    def __init__(self, over: asyncio.Event) -> None:
        self.over = over

    def connection_lost(self, _error: Exception | None) -> None:
        self.over.set()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
