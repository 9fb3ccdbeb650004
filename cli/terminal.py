"""Prints: tables for people, JSON for programs. What was asked for goes to stdout, remarks go to stderr."""

import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import typer

from cli.failures import READER_GONE

WIDTH = 80


@dataclass(frozen=True, slots=True)
class Table:
    """The first `left` columns are aligned left, the others right. wraps: the column that may fold."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    left: int = 1
    wraps: int | None = None


def say(text: str) -> None:
    """Text on stdout. A reader that has gone (`| head -1`) ends the command without a word."""
    try:
        typer.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(READER_GONE) from None


def note(text: str) -> None:
    """A remark on stderr, so that stdout stays what was asked for."""
    typer.echo(text, err=True)


def print_json(value: object) -> None:
    """Indented JSON on stdout."""
    say(json.dumps(value, indent=2, default=str))


def paragraph(text: str, style: str = "") -> None:
    """Text wrapped to the terminal."""
    from rich.text import Text

    say(_rendered(Text(text, style=style), width()))


def show(table: Table) -> None:
    """A table as wide as its content, so that no name and no number is ever broken."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Grid

    grid = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for i, name in enumerate(table.columns):
        grid.add_column(
            name,
            justify="left" if i < table.left else "right",
            no_wrap=i != table.wraps,
            overflow="fold",
        )
    for row in table.rows:
        grid.add_row(*("-" if cell is None else str(cell) for cell in row))
    if table.title:
        paragraph(table.title, "bold")
    say(_rendered(grid, width() if table.wraps is not None else max(width(), _natural(grid))))


def _natural(grid: object) -> int:
    """How many columns the content needs."""
    from rich.console import Console
    from rich.measure import Measurement

    wide = Console(width=10_000)
    return Measurement.get(wide, wide.options, grid).maximum  # type: ignore[arg-type]


def _rendered(content: object, columns: int) -> str:
    from rich.console import Console

    page = io.StringIO()
    is_plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR"))
    Console(file=page, width=columns, force_terminal=not is_plain, no_color=is_plain, highlight=False).print(
        content
    )
    return "\n".join(line.rstrip() for line in page.getvalue().rstrip("\n").split("\n"))


def width() -> int:
    """Columns for text: 80, or those of a narrower terminal."""
    if not sys.stdout.isatty():
        return WIDTH
    return min(WIDTH, os.get_terminal_size(sys.stdout.fileno()).columns or WIDTH)


def time_text(at_us: int) -> str:
    """2026-01-05 09:57:29Z."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def percent(value: float | None, digits: int = 1) -> str | None:
    """62.5%."""
    return None if value is None else f"{100 * value:.{digits}f}%"


def points(value: float | None) -> str | None:
    """A difference of shares in percentage points: +27.7 pp."""
    return None if value is None else f"{100 * value:+.1f} pp"


def share_text(value: float) -> str:
    """A share as a percentage with as many digits as it has."""
    return f"{100 * value:.4f}".rstrip("0").rstrip(".") + "%"


def usd(value: float | None) -> str | None:
    """-$1,234.50; below ten cents four decimals: $0.0385."""
    return None if value is None else ("-" if value < 0 else "") + _dollars(abs(value))


def signed_usd(value: float | None) -> str | None:
    """A difference of money: +$1.54."""
    return None if value is None else ("-" if value < 0 else "+") + _dollars(abs(value))


def _dollars(amount: float) -> str:
    return f"${amount:,.4f}" if 0 < amount < 0.1 else f"${amount:,.2f}"


def words_of(counts: dict[str, int]) -> str:
    """3 parked outcomes, 1 dead letters; only what is not 0, or "nothing"."""
    return ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n) or "nothing"
