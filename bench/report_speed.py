"""How long `abctl report` takes, from the shell, directly on SQL, and whether it says what a scan says.

    python bench/report_speed.py [--engines SQLite,PostgreSQL] [--runs 5] [--write]

Fills fresh databases of three sizes, up to 10,000,000 decisions of 200,000 units; lets the code of `abctl db
verify` derive some of the totals anew; then takes turns: the report, the bare import of the libraries that it
needs, and one bare SQL aggregate over the units. Last, the report's counts and money are compared with a scan
of all decisions and outcomes. PostgreSQL is its own. It takes some minutes and 10 GB of disk.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carry import mass
from carry.mass import Mass
from carry.page import measured_on, write
from carry.postgres import own_postgres
from speed.found import Finding, Section, at_most, missed, text_of
from sqlalchemy import Engine, make_url, text

from cli.gateway import opened_engine
from cli.settings import Settings
from store.clock import wall_clock_us

TARGET = 2.0
SIZES = ((50_000, 20), (200_000, 5), (200_000, 50))
"""Units, and decisions of each. The last is judged."""
LIBRARIES = "import numpy, scipy.stats, sqlalchemy"
AGGREGATE = """
    SELECT arm, count(*), sum(decisions), sum(trades), sum(pnl_micro), sum(fee_micro), min(started_at_us)
    FROM unit WHERE experiment = 'main' GROUP BY arm
"""
SCAN = """
    WITH own AS (
        SELECT unit, min(arm) AS arm, count(*) AS decisions,
            sum(CASE WHEN served_arm <> arm THEN 1 ELSE 0 END) AS fallbacks
        FROM decision WHERE experiment = 'main' GROUP BY unit
    ), said AS (
        SELECT unit, sum(CASE WHEN kind = 'trade' THEN 1 ELSE 0 END) AS trades,
            sum(CASE WHEN kind = 'market' THEN pnl_micro ELSE 0 END) AS pnl,
            sum(CASE WHEN kind = 'market' THEN fee_micro ELSE 0 END) AS fee,
            sum(CASE WHEN kind = 'market' AND trades > 0 AND pnl_micro > 0 THEN 1 ELSE 0 END) AS wins
        FROM outcome WHERE experiment = 'main' GROUP BY unit
    )
    SELECT arm, count(*) AS units, sum(decisions) AS decisions, sum(fallbacks) AS fallbacks,
        sum(trades) AS trades, sum(wins) AS wins, sum(pnl) AS pnl, sum(fee) AS fee
    FROM own JOIN said ON said.unit = own.unit GROUP BY arm
"""
HEADING = """## Reports

`python bench/report_speed.py --write`. *report*: `abctl report --days 7 --json` from the shell, directly on
the database. Beside it, in turns: *import*, the bare `python -c 'import numpy, scipy.stats, sqlalchemy'`, and
*aggregate*, one `SELECT ... GROUP BY arm` over the unit totals, on an open connection. *scan*: the same sums
from all decisions and outcomes.
"""
HEADER = (
    "units x decisions of each",
    "report s",
    "aggregate s",
    "import s",
    "of both",
    "scan s",
    "as the scan",
)


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds of one size, a value of each run; of the scan there is one."""

    mass: Mass
    report_s: tuple[float, ...]
    aggregate_s: tuple[float, ...]
    import_s: tuple[float, ...]
    scan_s: float

    @property
    def ratio(self) -> float:
        """The report's time to that of what it cannot do without: the median over the turns."""
        turns = zip(self.report_s, self.aggregate_s, self.import_s, strict=True)
        return statistics.median(ours / (aggregate + imported) for ours, aggregate, imported in turns)

    @property
    def in_imports(self) -> float:
        """The report's time in imports of the same turn: what the machine was busy with falls out."""
        turns = zip(self.report_s, self.import_s, strict=True)
        return statistics.median(ours / imported for ours, imported in turns)


@contextmanager
def databases(engine: str) -> Iterator[str]:
    """The URL of an empty server; "" for SQLite in the data directory."""
    if engine == "SQLite":
        yield ""
        return
    with own_postgres("max_wal_size = '16GB'", "synchronous_commit = off") as server:
        yield server.url_at(server.port)


def seconds(command: Sequence[str], environment: dict[str, str]) -> tuple[float, str]:
    """How long a command takes, and what it prints."""
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr}")
    return time.perf_counter() - began, done.stdout


def timed(mass_: Mass, url: str, runs: int) -> Timed:
    """One size: filled, measured, checked, and gone."""
    with tempfile.TemporaryDirectory(prefix="abctl-report-") as name:
        settings = Settings(data_dir=Path(name), database_url=url)
        engine = opened_engine(settings)
        mass.fill(engine, mass_)
        checked = mass.check(engine)
        print(
            f"{mass_.units:,} x {mass_.ticks}: filled; {checked:,} units are as verify derives them",
            flush=True,
        )
        environment = _environment(Path(name), url)
        report = [str(Path(sys.executable).with_name("abctl")), "report", "--days", "7", "--json"]
        libraries = [sys.executable, "-c", LIBRARIES]
        said = json.loads(seconds(report, environment)[1])
        seconds(libraries, environment)
        rows = [
            (
                seconds(report, environment)[0],
                _asked(engine, AGGREGATE)[0],
                seconds(libraries, environment)[0],
            )
            for _ in range(runs)
        ]
        scan_s, scanned = _asked(engine, SCAN)
        _compare(said["arms"], scanned)
        engine.dispose()
        return Timed(mass_, *zip(*rows, strict=True), scan_s)


def _environment(folder: Path, url: str) -> dict[str, str]:
    """As an installed abctl has it: byte code is kept, here in a folder of our own."""
    own = {
        k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE" and not k.startswith("ABCTL_")
    }
    own |= {"PYTHONPYCACHEPREFIX": str(folder / "pyc"), "ABCTL_DATA_DIR": str(folder)}
    return own | ({"ABCTL_DATABASE_URL": url} if url else {})


def _asked(engine: Engine, query: str) -> tuple[float, list[dict[str, Any]]]:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        began = time.perf_counter()
        rows = [dict(row) for row in connection.execute(text(query)).mappings()]
        return time.perf_counter() - began, rows


def _compare(said: dict[str, dict[str, Any]], scanned: list[dict[str, Any]]) -> None:
    """Ends the program where the report says anything else than the scan."""
    for row in scanned:
        arm = said[row["arm"]]
        must = {name: int(row[name]) for name in ("units", "decisions", "trades", "wins")}
        must["mature"] = must["units"]
        must |= {f"{money}_usd": int(row[money]) / 1e6 for money in ("pnl", "fee")}
        must["fallback_rate"] = int(row["fallbacks"]) / int(row["decisions"])
        if wrong := {name: (arm[name], value) for name, value in must.items() if arm[name] != value}:
            raise SystemExit(f"the report and the scan differ in {row['arm']} (report, scan): {wrong}")


def section_of(engine: str, found: Sequence[Timed]) -> Section:
    """All sizes on one engine."""
    fewer, same, last = (each.in_imports for each in found)
    growth, wider = last / same, same / fewer
    return Section(
        f"reports-{engine.lower()}",
        f"Reports on {engine}",
        HEADER,
        tuple(map(_row, found)),
        (
            at_most(f"aggregate and import, {found[-1].mass.decisions:,} decisions", found[-1].ratio, TARGET),
            Finding(
                "ten times the decisions of as many units", "at most 1.2x", f"{growth:.2f}x", growth <= 1.2
            ),
            Finding("four times the units", "at most 4x", f"{wider:.2f}x", wider <= 4),
            Finding("counts and money", "the scan's", "the scan's", holds=True),
        ),
        (f"Medians of {len(found[-1].report_s)} runs in turns.",),
    )


def _row(found: Timed) -> tuple[str, ...]:
    columns = (found.report_s, found.aggregate_s, found.import_s)
    report_s, aggregate_s, import_s = (f"{statistics.median(values):.2f}" for values in columns)
    size = f"{found.mass.units:,} x {found.mass.ticks}"
    return size, report_s, aggregate_s, import_s, f"{found.ratio:.2f}x", f"{found.scan_s:.1f}", "yes"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", default="SQLite,PostgreSQL")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the results into docs/benchmarks.md")
    asked = parser.parse_args()
    print(f"{measured_on()}\n", flush=True)
    began_us, sections = wall_clock_us() - 45 * mass.DAY_US, []
    for engine in asked.engines.split(","):
        with databases(engine) as server:
            found = []
            for number, (units, ticks) in enumerate(SIZES):
                url = server and _made(server, f"abctl_{number}")
                found.append(timed(Mass(units, ticks, began_us), url, asked.runs))
            sections.append(section_of(engine, found))
        print(f"\n{text_of(sections[-1])}\n", flush=True)
    if asked.write:
        write("reports-heading", HEADING, sections)
    sys.exit(bool(missed(sections)))


def _made(server: str, name: str) -> str:
    """An empty database."""
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


if __name__ == "__main__":
    main()
