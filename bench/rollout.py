"""What a rollout gets right, how soon, and what it costs, beside rules of other systems on the same traffic.

    python bench/rollout.py [--runs 120] [--parts market,window,paper] [--only "null;+5 points"] [--write]

384 markets a day, four in each window of a quarter of an hour, correlated within it by 0.05, 0.1 and 0.3 in
turns; rates that drift from day to day; outcomes that come late, and some never; a look a day. This
controller runs as it is: simulated units take the place of SQL's, all else is its own code. Nulls and +5
points are run `runs` times, harmful arms half as often, others a quarter, the holdback an eighth. `paper`:
how soon both arms on every unit have a verdict, no unit moved. Exits 1 where a promise is missed, and names
it.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from rollout_proof import paper
from rollout_proof.paper import Shown, days_of
from rollout_proof.scenarios import (
    FIVE,
    PLANNED,
    SCENARIOS,
    Run,
    Scenario,
    holdback_days,
    own_run,
    runs_of,
)
from rollout_proof.table import found_of, promoted_by, section
from rollout_proof.traffic import By
from speed import page
from speed.found import Section, missed, text_of

PARTS = ("market", "window", "paper")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "rollout-proof.md"


def main() -> None:
    """Runs what was asked for, prints it, and writes it where asked to."""
    asked = _asked()
    scenarios = [one for one in SCENARIOS if not asked.only or one.name in asked.only]
    sections = []
    with ProcessPoolExecutor(asked.processes) as pool:
        for part in asked.parts:
            sections.append(
                _paper(pool, asked.correlations, asked.runs)
                if part == "paper"
                else _section(pool, part, scenarios, asked.runs)
            )
            print(text_of(sections[-1]) + "\n", flush=True)
    if asked.write:
        text = PAGE.read_text()
        for one in sections:
            text = page.placed(text, one.part, text_of(one))
        PAGE.write_text(text)
    for name in (finding.claim for one in sections for finding in one.findings if not finding.holds):
        print(f"missed: {name}", file=sys.stderr)
    sys.exit(bool(missed(sections)))


def _section(pool: ProcessPoolExecutor, by: By, scenarios: Sequence[Scenario], runs: int) -> Section:
    jobs = [(s, seed) for s in scenarios for seed in range(_runs(s, runs))]
    found: list[tuple[str, Run]] = []
    for (scenario, _), told in zip(jobs, pool.map(partial(_job, by), jobs, chunksize=4), strict=True):
        found += [(scenario.name, run) for run in told]
    held = list(pool.map(partial(holdback_days, by), range(max(1, runs // 8))))
    return section(by, found_of(found), held)


def _paper(pool: ProcessPoolExecutor, correlations: Sequence[float], runs: int) -> Section:
    """The split's days are those of the table by market: the same traffic again."""
    better = next(one for one in SCENARIOS if one.name == FIVE)
    split = promoted_by(list(pool.map(partial(own_run, better, "market"), range(runs), chunksize=4)))
    return paper.section([_shown(pool, one, runs) for one in correlations], split)


def _shown(pool: ProcessPoolExecutor, correlation: float, runs: int) -> Shown:
    equal, better = (
        list(pool.map(partial(days_of, correlation, effect), range(runs), chunksize=4))
        for effect in (0.0, PLANNED)
    )
    return Shown(correlation, equal, better)


def _runs(scenario: Scenario, runs: int) -> int:
    if scenario.truth == "null" or scenario.name == FIVE:
        return runs
    return max(1, runs // (2 if scenario.truth == "harmful" else 4))


def _job(by: By, job: tuple[Scenario, int]) -> list[Run]:
    return runs_of(job[0], by, job[1])


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=120, help="of each null, and of +5 points")
    parser.add_argument("--parts", type=_names(PARTS), default=PARTS, help=", ".join(PARTS))
    parser.add_argument("--only", type=_scenarios, default=(), help="scenarios, by name, with ; between them")
    parser.add_argument(
        "--correlations",
        type=_numbers,
        default=paper.CORRELATIONS,
        help="of what both arms bring in a market, with commas: those that paper alone is tried at",
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/rollout-proof.md")
    return parser.parse_args()


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


def _names(known: tuple[str, ...]) -> "partial[tuple[str, ...]]":
    return partial(_known, known, ",")


def _scenarios(text: str) -> tuple[str, ...]:
    return _known(tuple(one.name for one in SCENARIOS), ";", text)


def _known(known: tuple[str, ...], between: str, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(between))
    if unknown := set(names) - set(known):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: known are {', '.join(known)}")
    return names


if __name__ == "__main__":
    main()
