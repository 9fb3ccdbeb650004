"""Decisions a second from shipped journal bytes into SQL, beside bare inserts into the same indexed table.

    python bench/ingest.py [--decisions 20000] [--postgres URL]

Without --postgres (or ABCTL_TEST_POSTGRES_URL) only SQLite is measured. In PostgreSQL it makes a schema of
its own and drops it.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine, event, text

from store import schema, tables
from store.decision_rows import row_of
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision, MarketOutcome
from store.sql import normal_url, open_engine, table_of

UNIT_TICKS = 150
ROUNDS = 3
BATCH_BYTES = 256 << 10
START_US = 1_767_225_600_000_000
_DECISIONS = table_of(tables.Decision)
_ENCODE = msgspec.msgpack.Encoder().encode


def decision(number: int, journal_id: str) -> Decision:
    """A decision as a busy bot makes them: 16 units at a time, 150 ticks each."""
    unit = f"btc-{number // (16 * UNIT_TICKS) * 16 + number % 16}"
    return Decision(
        decision_id=f"{journal_id}-{number:012d}-0123456789",
        experiment="main",
        unit=unit,
        bot="bench",
        arm="base",
        served_arm="base",
        reason="assigned",
        binding="started_at",
        split_version=1,
        weights={"base": 0.9, "transformer": 0.1},
        forced=False,
        eligible=True,
        split_stale=False,
        received_at_us=START_US + number,
        started_at_us=START_US,
        sent_started_at_us=START_US,
        as_of_us=None,
        action="hold",
        probs=(0.8, 0.1, 0.1),
        value=0.25,
        model="0123456789abcdef",
        schema="market-v1-0123456789",
        state=bytes(range(72)),
        history_digest=b"12345678",
        history_used=20,
        latency_us=850,
    )


def shipments(count: int, journal_id: str) -> list[Shipment]:
    """The journal's bytes in pieces, each unit with its market outcome at the end."""
    pieces, data, start = [], bytearray(), 0
    for number in range(count):
        record = decision(number, journal_id)
        data += frame_bytes(_ENCODE(record))
        if number // 16 % UNIT_TICKS == UNIT_TICKS - 1:
            data += frame_bytes(_ENCODE(outcome(record)))
        if len(data) >= BATCH_BYTES:
            pieces.append(Shipment(journal_id, start, bytes(data)))
            start, data = start + len(data), bytearray()
    return [*pieces, Shipment(journal_id, start, bytes(data))]


def outcome(last: Decision) -> MarketOutcome:
    """What the bot reports of a unit."""
    return MarketOutcome(
        experiment=last.experiment,
        unit=last.unit,
        bot=last.bot,
        pnl_micro=125_000,
        fee_micro=5_000,
        stake_micro=1_000_000,
        trades=1,
        won=None,
        fill="replay",
        closed_at_us=last.received_at_us,
        received_at_us=last.received_at_us,
    )


def seconds(work: Callable[[], object]) -> float:
    """How long work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def through_ingest(engine: Engine, pieces: Sequence[Shipment], batch: int) -> None:
    """The product's way, `batch` shipments a transaction as the writer takes them."""
    for first in range(0, len(pieces), batch):
        ingest(engine, "main", pieces[first : first + batch], START_US)


def bare_executemany(engine: Engine, rows: list[dict[str, object]]) -> None:
    """The least that SQLite can do."""
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.execute(_DECISIONS.insert(), rows)
        connection.commit()


def bare_copy(engine: Engine, rows: list[dict[str, object]]) -> None:
    """The least that PostgreSQL can do, with the text made in Python."""
    names = list(rows[0])
    lines = io.StringIO()
    for row in rows:
        lines.write("\t".join(_copy_text(row[name]) for name in names) + "\n")
    with engine.begin() as connection:
        cursor: Any = connection.connection.cursor()
        with cursor.copy(f"COPY decision ({', '.join(names)}) FROM STDIN") as pipe:
            pipe.write(lines.getvalue())


def _copy_text(value: object) -> str:
    if value is None:
        return "\\N"
    return f"\\\\x{value.hex()}" if isinstance(value, bytes) else str(value).replace("\\", "\\\\")


def measure(name: str, engine: Engine, count: int, batch: int) -> None:
    """One line: decisions a second through ingest, and bare rows a second; the best of ROUNDS, in turns."""
    schema.upgrade(engine)
    bare = bare_executemany if engine.dialect.name == "sqlite" else bare_copy
    ours = theirs = 0.0
    for turn in range(ROUNDS):
        pieces = shipments(count, f"a{turn}")
        ours = max(ours, count / seconds(partial(through_ingest, engine, pieces, batch)))
        rows = [row_of(decision(n, f"b{turn}"), f"b{turn}", n) for n in range(count)]
        theirs = max(theirs, count / seconds(partial(bare, engine, rows)))
    print(
        f"{name:<11}{ours:>10,.0f} decisions/s through ingest{theirs:>12,.0f} rows/s {bare.__name__:<16}"
        f" ratio {ours / theirs:.2f}"
    )


def postgres(url: str, count: int, batch: int) -> None:
    """In a schema of its own."""
    engine = open_engine(normal_url(url))

    def enter(connection: Any, _record: object) -> None:
        connection.autocommit = True
        connection.execute("SET search_path TO abctl_bench")
        connection.autocommit = False

    event.listen(engine, "connect", enter)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS abctl_bench CASCADE"))
        connection.execute(text("CREATE SCHEMA abctl_bench"))
    try:
        measure("PostgreSQL", engine, count, batch)
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA abctl_bench CASCADE"))
        engine.dispose()


def main() -> None:
    """Runs both engines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--decisions", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=4, help="shipments of 256 KiB a transaction")
    parser.add_argument("--postgres", default=os.environ.get("ABCTL_TEST_POSTGRES_URL"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'bench.db'}")
        measure("SQLite", engine, asked.decisions, asked.batch)
        engine.dispose()
    if asked.postgres:
        postgres(asked.postgres, asked.decisions, asked.batch)
    else:
        print("PostgreSQL  not measured: give --postgres URL")


if __name__ == "__main__":
    main()
