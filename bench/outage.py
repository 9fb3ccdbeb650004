"""Decisions while Redis or SQL is away: their rate, how long they take, and when all of them are in SQL.

    python bench/outage.py [--away 60] [--how kill|hole|freeze] [--workers 1] [--connections 16] [--write]

Starts its own PostgreSQL, Redis and service. First it asks as fast as it can (closed loop) for the rate, with
everything there and with one server away; then at half of that rate by the clock (open loop, timed from the
scheduled moment) for the latency. After every outage it goes on asking at half the rate and waits until SQL
holds all that was answered during it. Half of the units are sent without their start: those need Redis.
What the machine does beside it changes in such a time: so the reference is taken before each outage.
"""

import argparse
import asyncio
import gc
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec
import numpy as np
import psycopg
import redis
import uvloop
from carry.page import measured_on, write
from speed import machine
from speed.found import Finding, Section, at_least, missed, text_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "chaos"))

from harness.servers import Server
from harness.site import Site, direct_site, postgres_site

START_MS = time.time_ns() // 1_000_000
UNIT_TICKS = 150
UNITS_AT_ONCE = 32
QUOTA_BYTES = 2 << 30
SETTLED_TIMEOUT_S = 300.0
CORES = os.sched_getaffinity(0)
RATE_KEPT, P99_MS, SETTLED_S, REDIS_MB = 0.8, 20.0, 30.0, 192
"""Redis: 128 MiB of shipments, the bindings of this run, and its own tables."""
HEADER = ("", "decisions/s", "of before", "p50 ms", "p99 ms", "failed")
HEADING = """## Outages

`python bench/outage.py --write`. One worker, its own PostgreSQL and Redis; bodies of 3 KB, half of the units
sent without their start, which needs Redis. As fast as answers come over 16 connections, then by the clock at
half that rate, timed from the scheduled moment. The worker has core 0; load, shipper, PostgreSQL and Redis
share core 1.
"""


@dataclass(slots=True)
class Phase:
    """What was measured in a stretch of time. late_s: from the scheduled moment to the answer.

    failures: statuses, and errors of the connection by name.
    """

    name: str
    seconds: float = 0.0
    late_s: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.late_s) / self.seconds

    def late_ms(self, percent: float) -> float:
        """A percentile of the time from the scheduled moment to the answer."""
        return float(np.percentile(np.array(self.late_s) * 1e3, percent))

    def cells(self, reference: "Phase") -> tuple[str, ...]:
        """A line of the table; the ratio is to the phase before anything was away."""
        ratio = f"{self.rate / reference.rate:.2f}x"
        times = (f"{self.late_ms(percent):.2f}" for percent in (50, 99))
        failed = ", ".join(f"{count:,} {what}" for what, count in sorted(self.failures.items())) or "none"
        return (self.name, f"{self.rate:,.0f}", ratio, *times, failed)


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
                said = str(reply.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            said = type(error).__name__
        if said == "200":
            phase.late_s.append(time.perf_counter() - due_s)
        else:
            phase.failures[said] += 1

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
        with machine.punctual():
            async with asyncio.TaskGroup() as group:
                for number in range(round(seconds * rate)):
                    due_s = began_s + number / rate
                    if (ahead_s := due_s - time.perf_counter()) > 0:
                        await asyncio.sleep(ahead_s)
                    group.create_task(self.ask(phase, due_s))
        return phase


@dataclass(frozen=True, slots=True)
class Outage:
    """One outage. redis_mb: the most that Redis held since it began; settled_s: until all is in SQL."""

    name: str
    before: Phase
    before_half: Phase
    closed: Phase
    half: Phase
    after: Phase
    settled_s: float
    answered: int
    redis_mb: float

    def rows(self) -> list[tuple[str, ...]]:
        """The table's lines."""
        phases = (self.before, self.before_half, self.closed, self.half, self.after)
        return [phase.cells(self.before) for phase in phases]

    def findings(self) -> list[Finding]:
        """The promises."""
        p99_ms, settled_s = self.half.late_ms(99), self.settled_s
        lost = sum(phase.failures.total() for phase in (self.closed, self.half, self.after))
        return [
            at_least(f"decisions a second, {self.name}", self.closed.rate / self.before.rate, RATE_KEPT),
            Finding(f"p99, {self.name}", f"under {P99_MS:g} ms", f"{p99_ms:.1f} ms", p99_ms < P99_MS),
            Finding(
                f"all {self.answered:,} in SQL, {self.name}",
                f"within {SETTLED_S:g} s",
                f"{settled_s:.0f} s",
                settled_s <= SETTLED_S,
            ),
            Finding(f"refused or lost, {self.name}", "none", f"{lost:,}", lost == 0),
            Finding(
                f"memory of Redis, {self.name}",
                f"under {REDIS_MB} MB",
                f"{self.redis_mb:.0f} MB",
                self.redis_mb < REDIS_MB,
            ),
        ]


@dataclass(slots=True)
class Bench:
    """One service under load."""

    site: Site
    load: Load
    before_s: float

    async def outage(self, what: str, how: str, seconds: float) -> Outage:
        """The reference; half of the time as fast as possible, half of it by the clock at half the rate; then
        until SQL holds all of it.
        """
        self.load.tag, name = f"{what}-{how}-before", f"{what} away ({how})"
        before = await self.load.closed("everything there", self.before_s)
        rate = before.rate / 2
        before_half = await self.load.open("everything there, half the rate", self.before_s, rate)
        self.load.tag = f"{what}-{how}"
        memory: list[float] = [0.0]
        watching = asyncio.create_task(watch(self.site, memory))
        with away(self.site, what, how):
            closed = await self.load.closed(name, seconds / 2)
            half = await self.load.open(f"{name}, half the rate", seconds / 2, rate)
        answered = len(closed.late_s) + len(half.late_s)
        settled_s, after = await self.settled(answered, rate)
        watching.cancel()
        return Outage(name, before, before_half, closed, half, after, settled_s, answered, max(memory))

    async def settled(self, answered: int, rate: float) -> tuple[float, Phase]:
        """Seconds until that many decisions of the tag are in SQL, while questions go on at `rate`."""
        tag, self.load.tag = self.load.tag, f"{self.load.tag}-after"
        began_s, total = time.monotonic(), Phase(f"{tag.partition('-')[0]} back, half the rate")
        while time.monotonic() - began_s < SETTLED_TIMEOUT_S:
            part = await self.load.open("", 1.0, rate)
            total.seconds += part.seconds
            total.late_s += part.late_s
            total.failures += part.failures
            if await asyncio.to_thread(in_sql, self.site, tag) >= answered:
                return time.monotonic() - began_s, total
        raise SystemExit(
            f"{tag}: not all of {answered:,} decisions are in SQL after {SETTLED_TIMEOUT_S:.0f} s"
        )


async def watch(site: Site, memory_mb: list[float]) -> None:
    """What Redis holds, once a second, while it answers."""
    while True:
        with suppress(redis.RedisError):
            memory_mb.append(await asyncio.to_thread(held_mb, site))
        await asyncio.sleep(1.0)


def held_mb(site: Site) -> float:
    """Megabytes that Redis has taken."""
    with site.redis_client() as client:
        return float(client.info("memory")["used_memory"]) / 1e6


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
    assert server is not None
    if how == "hole":
        proxy = site.proxies["redis-net" if what == "Redis" else "sql-net"]
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


async def run(asked: argparse.Namespace) -> list[Section]:
    """The reference, then an outage of each server in each of the ways that were asked for."""
    settings = {"ABCTL_JOURNAL_QUOTA_BYTES": str(QUOTA_BYTES), "ABCTL_SPLIT_LEAD_S": "2"}
    history = np.random.default_rng(1).uniform(0, 0.9, (20, 18)).round(4).tolist()
    sections = []
    kept = direct_site(asked.workers, **settings)
    if "hole" in asked.how:
        kept = postgres_site(1, asked.workers, **settings)
    with kept as site:
        site.send("PUT", "/v1/experiments/main/split", {"arm": "transformer", "share": "0.5"})
        timeout = aiohttp.ClientTimeout(total=10.0)
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"content-type": "application/json"}
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=headers) as session:
            pin_workers(site)
            bench = Bench(site, Load(site.url, session, asked.connections, history, "warm"), asked.before)
            await bench.load.closed("warming up", 3.0)
            for what in ("Redis", "SQL"):
                outages = [await bench.outage(what, how, asked.away) for how in asked.how.split(",")]
                sections.append(section_of(what, outages, asked.away))
                print(f"{text_of(sections[-1])}\n", flush=True)
    return sections


def pin_workers(site: Site) -> None:
    """The workers get the first core, this process and all else that it started has the second."""
    cores = sorted(os.sched_getaffinity(0) | CORES)
    for pid in site.pids("worker") if len(cores) > 1 else ():
        machine.pin(pid, cores[0])


def section_of(what: str, outages: Sequence[Outage], away_s: float) -> Section:
    """All outages of one server."""
    return Section(
        f"outage-{what.lower()}",
        f"{what} away for {away_s:g} s",
        HEADER,
        tuple(row for outage in outages for row in outage.rows()),
        tuple(finding for outage in outages for finding in outage.findings()),
    )


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
    parser.add_argument("--write", action="store_true", help="put the results into docs/benchmarks.md")
    asked = parser.parse_args()
    print(f"{measured_on()}\n", flush=True)
    if len(CORES) > 1:
        os.sched_setaffinity(0, {sorted(CORES)[1]})
    gc.freeze()
    gc.disable()  # a pause of ours would be taken for the service's
    sections = uvloop.run(run(asked))
    if asked.write:
        write("outage-heading", HEADING, sections)
    sys.exit(bool(missed(sections)))


if __name__ == "__main__":
    main()
