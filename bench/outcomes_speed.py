"""Outcomes a second through HTTP batches into PostgreSQL, beside a bare COPY of the same rows.

    python bench/outcomes_speed.py [--outcomes 240000] [--rounds 3] [--batch 1000] [--write]

Starts a PostgreSQL of its own (durable settings) and `abctl serve --workers 1` on it, stores the decisions
that the outcomes belong to, sends the outcomes in batches to POST /v1/outcomes, and stops the clock when SQL
holds all of them with the totals of their units. Then the very same rows go by one COPY into the same table,
with its indexes, under another experiment. Either way has all cores. Needs Linux.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec
import psycopg
from carry.page import measured_on, write
from carry.postgres import DurablePostgres, own_postgres
from speed import machine
from speed.found import Section, at_least, missed, text_of

from cli.own_service import OwnService
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision
from store.shipper import lag_bytes
from store.sql import normal_url, open_engine

TARGET = 0.25
CONNECTIONS = 4
BOTS = 2
PIECE_BYTES = 1 << 20
PATIENCE_S = 120.0
HEADING = """## Outcomes

`python bench/outcomes_speed.py --write`. Batches of outcomes go to `POST /v1/outcomes` of `abctl serve` with
one worker, on a PostgreSQL of its own. The clock runs from the first byte sent until SQL holds all of them,
with the totals of their units. *COPY*: the same rows, their text made before, by one COPY into the same table
with its indexes.
"""
MIXES = {"market and 2 trades": 2, "market only": 0}
"""What each bot reports of each unit; two bots are in a unit."""
ROLES = {"import worker": "worker", "import shipper": "shipper and writer", "valkey": "Valkey"}
HEADER = ("outcomes", "per s", "COPY per s", "of COPY", "accepted per s", "lag at most", "CPU ms per 1,000")
_ENCODE = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class Round:
    """One run of one mix. lag_bytes: what was journaled and not yet in SQL, as /metrics said now and then."""

    outcomes: int
    accepted_s: float = 0.0
    stored_s: float = 0.0
    copied_s: float = 0.0
    cpu_ms: dict[str, float] = field(default_factory=dict)
    lag_bytes: list[int] = field(default_factory=lambda: [0])

    @property
    def ratio(self) -> float:
        """Ours to COPY's, in rows a second."""
        return self.copied_s / self.stored_s


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured, and how. batch: outcomes of one request."""

    service: OwnService
    postgres: DurablePostgres
    batch: int

    @property
    def sql(self) -> str:
        """The database."""
        return self.postgres.url_at(self.postgres.port)

    def run(self, tag: str, trades: int, count: int) -> Round:
        """Stores decisions, then outcomes through HTTP, then the same rows by COPY."""
        units = count // (BOTS * (trades + 1))
        self.decide(tag, units, max(trades, 1))
        outcomes = list(outcomes_of(tag, units, trades))
        parts = (outcomes[i : i + self.batch] for i in range(0, len(outcomes), self.batch))
        bodies = [msgspec.json.encode(part) for part in parts]
        found, before_ms, before = Round(len(outcomes)), self.cpu_ms(), self.stored()
        asyncio.run(self.send(bodies, found))
        if (stored := self.stored() - before) != len(outcomes):
            raise SystemExit(f"SQL holds {stored:,} of {len(outcomes):,} outcomes")
        found.cpu_ms = {role: ms - before_ms.get(role, 0.0) for role, ms in self.cpu_ms().items()}
        self.check(tag, units, trades)
        found.copied_s = self.copy(tag)
        return found

    def decide(self, tag: str, units: int, ticks: int) -> None:
        """The decisions that were made before: straight into SQL, by the product's own code."""
        engine = open_engine(normal_url(self.sql))
        data, start = bytearray(), 0
        for decision in decisions_of(tag, units, ticks):
            data += frame_bytes(_ENCODE(decision))
            if len(data) > PIECE_BYTES:
                ingest(engine, "main", [Shipment(tag, start, bytes(data))], 0)
                start, data = start + len(data), bytearray()
        ingest(engine, "main", [Shipment(tag, start, bytes(data))], 0)
        engine.dispose()

    async def send(self, bodies: Sequence[bytes], found: Round) -> None:
        """All bodies over a few connections, and on until SQL holds what the journals hold."""
        rest, began_s = iter(bodies), time.perf_counter()
        headers = {"content-type": "application/json"}
        async with aiohttp.ClientSession(self.service.url, headers=headers) as session:
            watching = asyncio.create_task(watch(session, found.lag_bytes))
            async with asyncio.TaskGroup() as group:
                for _ in range(CONNECTIONS):
                    group.create_task(post_all(session, rest))
            found.accepted_s = time.perf_counter() - began_s
            while await asyncio.to_thread(self.behind):
                if time.perf_counter() - began_s > PATIENCE_S:
                    raise SystemExit(f"SQL does not hold all outcomes after {PATIENCE_S:g} s")
                await asyncio.sleep(0.01)
            found.stored_s = time.perf_counter() - began_s
            watching.cancel()

    def behind(self) -> int:
        """How many bytes of the journals are not in SQL; costs PostgreSQL nothing."""
        with psycopg.connect(self.sql) as connection:
            marks = dict(connection.execute("SELECT journal_id, position FROM journalmark").fetchall())
        return lag_bytes(self.service.data_dir / "journal", lambda ids: {j: marks.get(j, 0) for j in ids})

    def stored(self) -> int:
        """Outcomes in SQL."""
        return self.asked("SELECT count(*) FROM outcome WHERE experiment = 'main'")

    def check(self, tag: str, units: int, trades: int) -> None:
        """The totals of the units say the same."""
        like = f"FROM unit WHERE experiment = 'main' AND unit LIKE '{tag}-%'"
        said = [self.asked(f"SELECT sum({name}) {like}") for name in ("reported", "trades", "pnl_micro")]
        must = [units * BOTS, units * BOTS * trades, sum(range(units)) * BOTS]
        if said != must:
            raise SystemExit(f"the totals of the units are {said}, not {must}")

    def asked(self, query: str) -> int:
        """One number."""
        with psycopg.connect(self.sql) as connection:
            found = connection.execute(query).fetchone()
        return int(found[0]) if found and found[0] is not None else 0

    def copy(self, tag: str) -> float:
        """Seconds that one COPY of the same rows takes, under an experiment of its own."""
        with psycopg.connect(self.sql, autocommit=True) as connection:
            columns = connection.execute("SELECT * FROM outcome LIMIT 0").description or ()
            names = ", ".join(column.name for column in columns)
            others = names.replace("experiment", "'copied'")
            rows = f"SELECT {others} FROM outcome WHERE unit LIKE '{tag}-%' ORDER BY journal_id, position"
            with connection.cursor().copy(f"COPY ({rows}) TO STDOUT") as pipe:
                text = b"".join(pipe)
            began_s = time.perf_counter()
            with connection.cursor().copy(f"COPY outcome ({names}) FROM STDIN") as pipe:
                pipe.write(text)
            return time.perf_counter() - began_s

    def cpu_ms(self) -> dict[str, float]:
        """CPU of every process of the service and of PostgreSQL so far; one that has ended is left out."""
        assert self.service.process is not None
        spent = {"PostgreSQL": sum(map(machine.cpu_ms, self.postgres.pids()))}
        for pid in machine.descendants(self.service.process.pid):
            role = next((r for word, r in ROLES.items() if word in machine.command_of(pid)), "")
            if role:
                spent[role] = spent.get(role, 0.0) + machine.cpu_ms(pid)
        return spent


async def post_all(session: aiohttp.ClientSession, bodies: Iterator[bytes]) -> None:
    """One connection: the next body as soon as the last is answered; every item must be accepted."""
    for body in bodies:
        async with session.post("/v1/outcomes", data=body) as reply:
            said = await reply.read()
        if said.count(b'"accepted"') != body.count(b'"kind"'):
            raise SystemExit(f"not all outcomes were accepted: {said[:300]!r}")


async def watch(session: aiohttp.ClientSession, lags: list[int]) -> None:
    """Asks /metrics four times a second how far SQL is behind."""
    while True:
        async with session.get("/metrics") as reply:
            text = await reply.text()
        said = (line for line in text.splitlines() if line.startswith("abctl_journal_bytes_not_in_sql"))
        lags += [round(float(line.rsplit(" ", 1)[1])) for line in said]
        await asyncio.sleep(0.25)


def decisions_of(tag: str, units: int, ticks: int) -> Iterator[Decision]:
    """Of every bot in every unit."""
    now_us = time.time_ns() // 1000 - 3_600_000_000
    for unit in range(units):
        for seat in range(BOTS * ticks):
            yield Decision(
                decision_id=f"{tag}-{unit}-{seat}", experiment="main", unit=f"{tag}-{unit}",
                bot=f"b{seat % BOTS}", arm="base", served_arm="base", reason="assigned",
                binding="started_at", split_version=1, weights={"base": 1.0, "transformer": 0.0},
                forced=False, eligible=True, split_stale=False, received_at_us=now_us, started_at_us=now_us,
                sent_started_at_us=now_us, as_of_us=None, action="hold", probs=(0.8, 0.1, 0.1), value=0.25,
                model="m", schema="s", state=bytes(72), history_digest=bytes(8), history_used=20,
                latency_us=850,
            )  # fmt: skip


def outcomes_of(tag: str, units: int, trades: int) -> Iterator[dict[str, object]]:
    """What the bots report, unit by unit."""
    now_ms = time.time_ns() // 1_000_000
    money = {"fee_usd": 0.005, "stake_usd": 1.0, "fill": "replay", "closed_at": now_ms}
    for unit in range(units):
        for seat in range(BOTS * trades):
            yield {"kind": "trade", "decision_id": f"{tag}-{unit}-{seat}", "pnl_usd": 0.05, **money,
                   "entry_price": 0.5, "exit_price": 0.55, "side": "up"}  # fmt: skip
        for bot in range(BOTS):
            yield {"kind": "market", "unit": f"{tag}-{unit}", "bot": f"b{bot}", "trades": trades, **money,
                   "pnl_usd": unit / 1e6}  # fmt: skip


def measured(bench: Bench, count: int, rounds: int) -> Section:
    """All mixes, in turns."""
    found: dict[str, list[Round]] = {name: [] for name in MIXES}
    bench.run("warm", 1, count // 4)
    for turn in range(rounds):
        for number, (name, trades) in enumerate(MIXES.items()):
            found[name].append(bench.run(f"r{turn}m{number}", trades, count))
    ratios = {name: statistics.median(r.ratio for r in rows) for name, rows in found.items()}
    return Section(
        "outcomes",
        "Outcomes into PostgreSQL",
        HEADER,
        tuple(row_of(name, rows) for name, rows in found.items()),
        tuple(at_least(f"of COPY's rows a second, {name}", ratio, TARGET) for name, ratio in ratios.items()),
        (f"{rounds} rounds in turns, {count:,} outcomes each, {bench.batch:,} a request; medians.",),
    )


def row_of(name: str, rounds: Sequence[Round]) -> tuple[str, ...]:
    """One line of the table."""

    def median(values: Iterator[float]) -> float:
        return statistics.median(values)

    roles = rounds[0].cpu_ms
    cpu = {role: median(1000 * r.cpu_ms.get(role, 0.0) / r.outcomes for r in rounds) for role in roles}
    return (
        name,
        f"{median(r.outcomes / r.stored_s for r in rounds):,.0f}",
        f"{median(r.outcomes / r.copied_s for r in rounds):,.0f}",
        f"{median(r.ratio for r in rounds):.2f}x",
        f"{median(r.outcomes / r.accepted_s for r in rounds):,.0f}",
        f"{max(max(r.lag_bytes) for r in rounds) / 1e6:.1f} MB",
        ", ".join(f"{role} {ms:.0f}" for role, ms in sorted(cpu.items())),
    )


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outcomes", type=int, default=240_000, help="of one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1000, help="outcomes of one request")
    parser.add_argument("--write", action="store_true", help="put the results into docs/benchmarks.md")
    asked = parser.parse_args()
    print(f"{measured_on()}\n", flush=True)
    with own_postgres() as postgres, tempfile.TemporaryDirectory(prefix="abctl-bench-") as name:
        settings = {"ABCTL_DATABASE_URL": postgres.url_at(postgres.port)}
        service = OwnService(Path(name) / "data", settings)
        service.start()
        try:
            section = measured(Bench(service, postgres, asked.batch), asked.outcomes, asked.rounds)
        finally:
            service.stop()
    print(text_of(section))
    if asked.write:
        write("outcomes-heading", HEADING, [section])
    sys.exit(bool(missed([section])))


if __name__ == "__main__":
    main()
