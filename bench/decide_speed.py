"""How fast decisions are, beside references that run on the same core in the same minutes.

    python bench/decide_speed.py [--only decide,open,curve,overload,batch,peers] [--seconds 3] [--rounds 5]

Core 0 has one HTTP worker and nothing else; core 1 the load, shipper and writer, Valkey and the supervisor.
Bodies are 3 KB (20 states of 18 features); models are untrained nets of preset `default`. The references:
the floor, a bare ASGI application that only parses, runs a stock export of the same network and replies; and
FastAPI with pydantic that does nothing. Figures are ratios of runs that take turns, their median: on a busy
machine compare CPU, not requests a second. Needs Linux, two cores, wrk and the train extra.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from speed import batch_part, curve_part, decide_part, machine, open_part, overload_part, peers_part
from speed.found import Section, missed, text_of
from speed.lab import ARMS, Lab, exported, started
from speed.page import write

Part = Callable[[Lab], list[Section]]
PARTS: dict[str, Part] = {
    "decide": decide_part.measured,
    "open": open_part.measured,
    "curve": curve_part.measured,
    "overload": overload_part.measured,
    "batch": batch_part.measured,
    "peers": peers_part.measured,
}
CACHE = Path(__file__).resolve().parent / "results"


def main() -> None:
    """Runs the parts asked for."""
    asked = _asked()
    _check_machine(asked.cores)
    worker_core, own_core = asked.cores
    os.sched_setaffinity(0, {own_core})
    CACHE.mkdir(exist_ok=True)
    models = exported(CACHE)
    print(f"{machine.facts()}\nload average {machine.load_average():.1f}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="abctl-bench-") as name:
        folder = Path(name)
        with started(folder, models, worker_core) as (abctl, floors, noop):
            lab = Lab(
                abctl=abctl,
                floors=floors,
                noop=noop,
                folder=folder,
                models=models,
                peers=CACHE / "peers",
                cores=asked.cores,
                may_install=asked.install,
                arms=asked.arms,
                connections=asked.connections,
                seconds=asked.seconds,
                rounds=asked.rounds,
            )
            sections = _measured(lab, asked.only)
    if asked.write:
        write(sections, machine.facts())
    sys.exit(bool(missed(sections)))


def _measured(lab: Lab, parts: tuple[str, ...]) -> list[Section]:
    """Runs parts, printing what they find."""
    sections = []
    for part in parts:
        for section in PARTS[part](lab):
            print(text_of(section) + "\n", flush=True)
            sections.append(section)
    return sections


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=_names(tuple(PARTS)), default=tuple(PARTS), help="parts to run")
    parser.add_argument("--arms", type=_names(ARMS), default=ARMS, help="arms to run them with")
    parser.add_argument("--seconds", type=int, default=3, help="of one run of one server")
    parser.add_argument("--rounds", type=int, default=5, help="how often the servers take turns")
    parser.add_argument("--connections", type=int, default=16, help="of the closed loop")
    parser.add_argument("--cores", type=_cores, default=(0, 1), help="worker's core, core of all else")
    parser.add_argument("--install", action="store_true", help="make the peers' virtual environments")
    parser.add_argument("--write", action="store_true", help="put the results into docs/benchmarks.md")
    return parser.parse_args()


def _names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parsed(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: known are {', '.join(known)}")
        return names

    return parsed


def _cores(text: str) -> tuple[int, int]:
    worker, others = (int(core) for core in text.split(","))
    return worker, others


def _check_machine(cores: tuple[int, int]) -> None:
    """Without two cores and wrk nothing here means anything: said, and no failure."""
    lacking = []
    if sys.platform != "linux" or not set(cores) <= os.sched_getaffinity(0):
        lacking.append(f"Linux with cores {cores[0]} and {cores[1]}")
    if shutil.which("wrk") is None:
        lacking.append("wrk (Debian: apt-get install wrk)")
    if lacking:
        print(f"not measured: this needs {' and '.join(lacking)}")
        sys.exit(0)


if __name__ == "__main__":
    main()
