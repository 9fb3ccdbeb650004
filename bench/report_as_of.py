"""How long `abctl report` takes for the past and with slices, from the shell, directly on SQLite.

    python bench/report_as_of.py [--units 50000] [--ticks 20]

Fills a fresh database, then asks for the report of now, with each kind of slices, as a page, and as of a
moment after the last decision, which must say what the first says.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from carry import mass
from carry.mass import Mass

from cli.gateway import opened_engine
from cli.settings import Settings
from router.splits import rfc3339
from store.clock import wall_clock_us

KINDS = ("market", "bot", "day", "model")


def told(folder: Path, *words: str) -> tuple[float, str]:
    """Seconds, and what was printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ABCTL_")}
    environment |= {"ABCTL_DATA_DIR": str(folder)}
    began = time.perf_counter()
    command = [str(Path(sys.executable).with_name("abctl")), "report", *words]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=50_000)
    parser.add_argument("--ticks", type=int, default=20, help="Decisions of a unit.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="abctl-as-of-") as name:
        folder = Path(name)
        engine = opened_engine(Settings(data_dir=folder, database_url=""))
        filled = Mass(asked.units, asked.ticks, wall_clock_us() - 45 * mass.DAY_US)
        mass.fill(engine, filled)
        engine.dispose()
        told(folder, "--json")  # byte code
        print(f"{filled.decisions:,} decisions of {filled.units:,} units, SQLite, seconds from the shell")
        now_s, now = told(folder, "--json")
        print(f"  now             {now_s:6.2f}")
        for by in KINDS:
            print(f"  --by {by:10} {told(folder, '--json', '--by', by)[0]:6.2f}")
        page_s, page = told(folder, "--format", "html")
        print(f"  --format html   {page_s:6.2f}  {len(page):,} bytes")
        then_s, then = told(folder, "--json", "--as-of", rfc3339(wall_clock_us()))
        print(f"  --as-of         {then_s:6.2f}")
        must, found = json.loads(now), json.loads(then)
        differ = [
            name for name in must if found[name] != must[name] and name not in {"as_of", "window", "headline"}
        ]
        if differ:
            raise SystemExit(f"the past and the present differ in {', '.join(differ)}")


if __name__ == "__main__":
    main()
