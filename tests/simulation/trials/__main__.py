"""All cells with many runs, printed, and written into docs/simulation.md: `make sim-full`."""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from pathlib import Path

from trials.cells import (
    every_mixture,
    every_tail,
    forecasts,
    forecasts_of_nothing,
    margins,
    power,
    section_5,
    variations,
)
from trials.outcomes import Cell, Outcome, allowed, outcome
from trials.tables import Rows, grid, with_forecast, with_published, without_more

PAGE = Path(__file__).parents[3] / "docs" / "simulation.md"


def main() -> None:
    """Two processes; about 25 minutes with 4,000 runs. Each table is written as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write docs/simulation.md")
    parser.add_argument("--only", choices=[*LISTS, *GRIDS], help="one table")
    asked = parser.parse_args()
    began_s = time.monotonic()
    with ProcessPoolExecutor(asked.processes) as pool:
        for name in [asked.only] if asked.only else [*LISTS, *GRIDS]:
            text = table(name, asked.runs, pool)
            print(f"{name}\n{text}\n", flush=True)
            if asked.write:
                written(name, text)
    took_s = time.monotonic() - began_s
    print(f"{asked.runs:,} runs of a cell, at most {allowed(asked.runs):.4f} allowed; {took_s:.0f} s")


LISTS: dict[str, tuple[Callable[[], list[Cell]], Callable[[Rows], str]]] = {
    "no-effect": (section_5, without_more),
    "variations": (variations, without_more),
    "power": (power, with_published),
    "margins": (margins, without_more),
    "forecasts": (forecasts, with_forecast),
    "forecasts-of-nothing": (forecasts_of_nothing, with_forecast),
}
GRIDS = {"mixtures": every_mixture, "tails": every_tail}


def table(name: str, runs: int, pool: Executor) -> str:
    """The text of one table."""
    if name in LISTS:
        cells, shown = LISTS[name]
        return shown(_found(cells(), runs, pool))
    rows = GRIDS[name]()
    found = _found([cell for row in rows for cell in row], runs, pool)
    width = len(rows[0])
    return grid([found[at : at + width] for at in range(0, len(found), width)])


def _found(cells: list[Cell], runs: int, pool: Executor) -> list[tuple[Cell, Outcome]]:
    return list(zip(cells, pool.map(partial(outcome, runs=runs), cells), strict=True))


def written(name: str, body: str) -> None:
    """Puts a table between its marks."""
    text = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, found, rest = text.partition(begin)
    _, ended, tail = rest.partition(end)
    if not (found and ended):
        raise SystemExit(f"{PAGE} lacks {begin} or {end}: put both back where the table belongs")
    PAGE.write_text(f"{head}{begin}\n{body}\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
