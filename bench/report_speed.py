"""How long `abctl report` takes on 1,000,000 decisions, from the shell, directly on SQL.

    python bench/report_speed.py [--units 6700] [--ticks 150]

Fills a fresh SQLite database with decisions, market outcomes and unit totals by plain inserts, runs the
command three times and prints the best. Ends with 1 where that is 2 s or more.
"""

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli.gateway import opened_engine
from cli.settings import Settings
from router import change
from store.clock import wall_clock_us

LIMIT_S = 2.0
RUNS = 3
SPLIT = '{"base":0.5,"transformer":0.5}'


def decisions(units: int, ticks: int, began_us: int) -> Iterator[tuple[Any, ...]]:
    """Rows of the decision table, in the order of its columns."""
    for u in range(units):
        arm = ("base", "transformer")[u % 2]
        for t in range(ticks):
            number = u * ticks + t
            yield (
                "main", f"{number:032x}", f"unit-{u}", "bot", arm, arm, "assigned", "started_at", 2, SPLIT,
                False, True, False, began_us + number, began_us, began_us, None, "hold", 0.8, 0.1, 0.1, 0.0,
                1.0, "model", "schema", bytes(72), bytes(8), 20, 300, "journal", number * 300,
            )  # fmt: skip


def fill(path: Path, units: int, ticks: int) -> None:
    """Decisions with their outcomes and totals."""
    rng = random.Random(1)
    began_us = wall_clock_us() - 4 * 86_400_000_000
    with sqlite3.connect(path) as sql:
        columns = len(sql.execute("SELECT * FROM decision LIMIT 0").description)
        marks = ",".join("?" * columns)
        sql.executemany(f"INSERT INTO decision VALUES ({marks})", decisions(units, ticks, began_us))
        for u in range(units):
            pnl = rng.choice([-900_000, 1_000_000])
            arm, at_us = ("base", "transformer")[u % 2], began_us + u * 1_000_000
            _insert(
                sql, "outcome", experiment="main", kind="market", key=f'["unit-{u}","bot"]', unit=f"unit-{u}",
                bot="bot", pnl_micro=pnl, fee_micro=1000, stake_micro=500_000, trades=1, fill="live",
                closed_at_us=at_us, received_at_us=at_us, meta="{}", journal_id="journal", position=u,
            )  # fmt: skip
            _insert(
                sql, "unit", experiment="main", unit=f"unit-{u}", arm=arm, split_version=2, weights=SPLIT,
                contaminated=False, started_at_us=at_us, start_conflicts=0, first_at_us=at_us,
                first_journal_id="journal", first_position=u, last_at_us=at_us, decisions=ticks, fallbacks=0,
                stale=0, bots=1, reported=1, trades=1, trade_wins=int(pnl > 0), market_trades=1,
                pnl_micro=pnl, fee_micro=1000, stake_micro=500_000, fill="live", settled_at_us=at_us,
            )  # fmt: skip


def _insert(sql: sqlite3.Connection, table: str, **row: Any) -> None:
    names, marks = ",".join(row), ",".join("?" * len(row))
    sql.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=6700)
    parser.add_argument("--ticks", type=int, default=150)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        place = settings.place.prepare()
        engine = opened_engine(settings)
        by = change.By("bench", "both arms")
        change.set_share(engine, "main", "transformer", "0.5", by, wall_clock_us, 0)
        engine.dispose()
        fill(place.database, options.units, options.ticks)
        size_mb = place.database.stat().st_size / 1e6
        command = [str(Path(sys.executable).with_name("abctl")), "report", "--days", "7"]
        environment = {**os.environ, "ABCTL_DATA_DIR": folder}
        taken_s = []
        for _ in range(RUNS):
            began = time.perf_counter()
            subprocess.run(command, env=environment, check=True, capture_output=True)
            taken_s.append(time.perf_counter() - began)
        count = options.units * options.ticks
        print(f"report of {count:,} decisions ({size_mb:.0f} MB): best of {RUNS} {min(taken_s):.2f} s")
    return int(min(taken_s) >= LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
