"""Decisions while Redis or SQL is away: their rate, how long they take, and when all of them are in SQL.

    python bench/outage.py [--away 60] [--how kill|hole|freeze] [--workers 1] [--connections 16]

Starts its own PostgreSQL, Redis and service. First it asks as fast as it can (closed loop) for the rate, with
everything there and with one server away; then at half of that rate by the clock (open loop, timed from the
scheduled moment) for the latency. After every outage it goes on asking at half the rate and waits until SQL
holds all that was answered during it. Half of the units are sent without their start: those need Redis.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec
import numpy as np
import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "chaos"))

from harness.servers import Server
from harness.site import Site, postgres_site

START_MS = time.time_ns() // 1_000_000
UNIT_TICKS = 150
UNITS_AT_ONCE = 32
QUOTA_BYTES = 2 << 30
SETTLED_TIMEOUT_S = 300.0


@dataclass(slots=True)
class Phase:
    """What was measured in a stretch of time. late_s: from the scheduled moment to the answer."""

    name: str
    seconds: float = 0.0
    late_s: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.late_s) / self.seconds

    def text(self, reference: "Phase") -> str:
        """One line; the ratio is to the phase before anything was away."""
        p50, p99 = np.percentile(np.array(self.late_s) * 1e3, [50, 99])
        return (
            f"{self.name:<34}{self.rate:>8,.0f}/s{self.rate / reference.rate:>8.2f}x"
            f"{p50:>9.2f} ms{p99:>9.2f} ms{self.failed:>8}"
        )


@dataclass(slots=True)
class Load:
    """Asks one service. Each unit lives for UNIT_TICKS questions; tag: the beginning of the decision ids."""

    url: str
    session: aiohttp.ClientSession
    connections: int
    history: list[list[float]]
    tag: str = ""
    asked: int = 0

    def body(self) -> bytes:
        """The next question."""
        self.asked += 1
        unit = self.asked // (UNITS_AT_ONCE * UNIT_TICKS) * UNITS_AT_ONCE + self.asked % UNITS_AT_ONCE
        body = {"unit": f"outage-{unit}", "history": self.history, "bot": "bench"}
        body["decision_id"] = f"{self.tag}-{self.asked}"
        if unit % 2:
            body["started_at"] = START_MS
        return msgspec.json.encode(body)

    async def ask(self, phase: Phase, due_s: float) -> None:
        """One question, noted in the phase."""
        try:
            async with self.session.post(f"{self.url}/v1/decide", data=self.body()) as reply:
                await reply.read()
                is_answered = reply.status == 200
        except (aiohttp.ClientError, TimeoutError):
            is_answered = False
        if is_answered:
            phase.late_s.append(time.perf_counter() - due_s)
        else:
            phase.failed += 1

    async def closed(self, name: str, seconds: float) -> Phase:
        """As fast as answers come."""
        phase, over_s = Phase(name, seconds), time.perf_counter() + seconds

        async def one() -> None:
            while (now_s := time.perf_counter()) < over_s:
                await self.ask(phase, now_s)

        await asyncio.gather(*(one() for _ in range(self.connections)))
        return phase

    async def open(self, name: str, seconds: float, rate: float) -> Phase:
        """By the clock, whether answers come or not."""
        phase, began_s = Phase(name, seconds), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(round(seconds * rate)):
                due_s = began_s + number / rate
                if (ahead_s := due_s - time.perf_counter()) > 0:
                    await asyncio.sleep(ahead_s)
                group.create_task(self.ask(phase, due_s))
        return phase


@dataclass(slots=True)
class Bench:
    """One service under load, and what was found."""

    site: Site
    load: Load
    lines: list[str] = field(default_factory=list)
    before: Phase = field(default_factory=lambda: Phase("nothing"))

    def say(self, line: str) -> None:
        """Prints at once: a run takes minutes."""
        print(line, flush=True)

    async def reference(self, seconds: float) -> float:
        """The rate with everything there, and the latency at half of it; returns that half."""
        await self.load.closed("warming up", 3.0)
        self.before = await self.load.closed("everything there, closed loop", seconds)
        rate = self.before.rate / 2
        self.say(self.before.text(self.before))
        half = await self.load.open("everything there, half the rate", seconds, rate)
        self.say(half.text(self.before))
        return rate

    async def outage(self, what: str, how: str, seconds: float, rate: float) -> None:
        """Half of the time as fast as possible, half of it at `rate`; then until SQL holds all of it."""
        self.load.tag = f"{what}-{how}"
        with away(self.site, what, how):
            closed = await self.load.closed(f"{what} away ({how}), closed loop", seconds / 2)
            half = await self.load.open(f"{what} away ({how}), half the rate", seconds / 2, rate)
        self.say(closed.text(self.before))
        self.say(half.text(self.before))
        answered = len(closed.late_s) + len(half.late_s)
        settled_s, meanwhile = await self.settled(answered, rate)
        self.say(meanwhile.text(self.before))
        self.say(f"    all {answered:,} decisions of the outage are in SQL {settled_s:.0f} s after its end")

    async def settled(self, answered: int, rate: float) -> tuple[float, Phase]:
        """Seconds until that many decisions of the tag are in SQL, while questions go on at `rate`."""
        tag, self.load.tag = self.load.tag, f"{self.load.tag}-after"
        began_s, total = time.monotonic(), Phase(f"{tag.partition('-')[0]} back, half the rate")
        while time.monotonic() - began_s < SETTLED_TIMEOUT_S:
            part = await self.load.open("", 1.0, rate)
            total.seconds += part.seconds
            total.late_s += part.late_s
            total.failed += part.failed
            if await asyncio.to_thread(in_sql, self.site, tag) >= answered:
                return time.monotonic() - began_s, total
        raise SystemExit(
            f"{tag}: not all of {answered:,} decisions are in SQL after {SETTLED_TIMEOUT_S:.0f} s"
        )


def in_sql(site: Site, tag: str) -> int:
    """How many decisions of a tag SQL holds, asked past any proxy."""
    with psycopg.connect(site.sql_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM decision WHERE decision_id LIKE %s", [f"{tag}-%"]
        ).fetchone()
    return 0 if row is None else int(row[0])


@contextmanager
def away(site: Site, what: str, how: str) -> Iterator[None]:
    """Redis or SQL is not there while this lasts: killed, frozen, or behind a hole in the network."""
    server: Server | None = site.redis_server if what == "Redis" else site.postgres
    proxy = site.proxies["redis-net" if what == "Redis" else "sql-net"]
    assert server is not None
    if how == "hole":
        proxy.set("hole")
        yield
        proxy.set("pass")
    elif how == "freeze":
        server.signal(signal.SIGSTOP)
        yield
        server.signal(signal.SIGCONT)
    else:
        server.kill()
        yield
        server.start()


async def run(asked: argparse.Namespace) -> None:
    """The reference, then an outage of each server in each of the ways that were asked for."""
    settings = {"ABCTL_JOURNAL_QUOTA_BYTES": str(QUOTA_BYTES), "ABCTL_SPLIT_LEAD_S": "2"}
    history = np.random.default_rng(1).uniform(0, 0.9, (20, 18)).round(4).tolist()
    with postgres_site(1, workers=asked.workers, **settings) as site:
        site.send("PUT", "/v1/experiments/main/split", {"arm": "transformer", "share": "0.5"})
        timeout = aiohttp.ClientTimeout(total=10.0)
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"content-type": "application/json"}
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=headers) as session:
            bench = Bench(site, Load(site.url, session, asked.connections, history, "before"))
            bench.say(f"{'':<34}{'rate':>10}{'ratio':>9}{'p50':>12}{'p99':>12}{'failed':>8}")
            rate = await bench.reference(asked.before)
            for what in ("Redis", "SQL"):
                for how in asked.how.split(","):
                    await bench.outage(what, how, asked.away, rate)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--away", type=float, default=60.0, help="seconds of each outage")
    parser.add_argument("--before", type=float, default=10.0, help="seconds of the reference")
    parser.add_argument("--how", default="kill", help="kill, hole, freeze, or several: kill,hole")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--connections", type=int, default=16)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
