"""All cells with many runs, printed, and written into docs/simulation.md: `make sim-full`."""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from trials.cells import Cell, Outcome, allowed, outcome, power, section_5, variations

PAGE = Path(__file__).parents[3] / "docs" / "simulation.md"
HEAD = ("cell", "up", "down", "either", "covered", "days", "named: up", "down", "days", "fixed: up")


def main() -> None:
    """Two processes; minutes, and tens of them with 4,000 runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write docs/simulation.md")
    asked = parser.parse_args()
    began_s = time.monotonic()
    parts = {"no-effect": section_5(), "variations": variations(), "power": power()}
    tables = {name: table(cells, asked.runs, asked.processes) for name, cells in parts.items()}
    for text in tables.values():
        print(text + "\n", flush=True)
    took_s = time.monotonic() - began_s
    print(f"{asked.runs:,} runs of a cell, at most {allowed(asked.runs):.4f} allowed; {took_s:.0f} s")
    if asked.write:
        written(tables, asked.runs)


def table(cells: list[Cell], runs: int, processes: int) -> str:
    """A row a cell."""
    with ProcessPoolExecutor(processes) as pool:
        found = list(pool.map(partial(outcome, runs=runs), cells))
    rows = [row(cell, one) for cell, one in zip(cells, found, strict=True)]
    lines = [HEAD, ("---", *(["---:"] * (len(HEAD) - 1))), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def row(cell: Cell, found: Outcome) -> tuple[str, ...]:
    """A cell's figures."""
    shares = (found.up, found.down, found.alarms, found.covered)
    return (
        cell.name,
        *(f"{share:.3f}" for share in shares),
        f"{found.days:.1f}",
        f"{found.named_up:.3f}",
        f"{found.named_down:.3f}",
        f"{found.named_days:.1f}",
        f"{found.fixed_up:.3f}",
    )


def written(tables: dict[str, str], runs: int) -> None:
    """Puts each table between its marks."""
    text = PAGE.read_text(encoding="utf-8")
    for name, body in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        note = f"{runs:,} runs of each cell; more than {allowed(runs):.4f} false alarms would be too many."
        text = f"{head}{begin}\n{body}\n\n{note}\n{end}{tail}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
