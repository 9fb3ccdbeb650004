"""Prints: tables for people, JSON for programs. What was asked for goes to stdout, remarks go to stderr."""

import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import typer

from cli.failures import READER_GONE
from cli.masking import one_line
from router.report_words import percent, points, share_text, signed_usd, time_text, usd, words_of

if TYPE_CHECKING:
    from rich.table import Table as Grid

__all__ = [
    "WIDTH",
    "Table",
    "minute_text",
    "note",
    "paragraph",
    "percent",
    "points",
    "print_json",
    "say",
    "share_text",
    "show",
    "signed_usd",
    "time_text",
    "usd",
    "width",
    "words_of",
]

WIDTH = 80
_FOLDED = 12
"""What is left of a column that folds where the others need the room."""


@dataclass(frozen=True, slots=True)
class Table:
    """The first `left` columns are aligned left, the others right. wraps: the columns that may fold."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    left: int = 1
    wraps: Sequence[int] = ()


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

    say(_rendered(Text(_plain(text), style), width()))


def _plain(text: str) -> str:
    """The text as a rich Text may hold it: no bracket in that is markup; here no escape moves the cursor."""
    return "\n".join(one_line(line) for line in text.split("\n"))


def show(table: Table) -> None:
    """A table that breaks no name and no number: only the columns that may fold are ever folded.

    Where it would be wider than the terminal its columns stand closer; then it is as wide as it must be.
    """
    if table.title:
        paragraph(table.title, "bold")
    rows = (table.columns, *table.rows)
    cells = [[_plain("-" if cell is None else str(cell)) for cell in row] for row in rows]
    padding = 1 if _least(table, cells, 2) <= width() else 0
    say(_rendered(_grid(table, cells, padding), max(width(), _least(table, cells, 1 + padding))))


def _grid(table: Table, cells: list[list[str]], padding: int) -> "Grid":
    """cells: the heads of the columns, then the rows."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True, padding=(0, padding))
    for i, name in enumerate(cells[0]):
        justify: Literal["left", "right"] = "left" if i < table.left else "right"
        grid.add_column(Text(name), justify=justify, no_wrap=i not in table.wraps, overflow="fold")
    for row in cells[1:]:
        grid.add_row(*map(Text, row))
    return grid


def _least(table: Table, cells: list[list[str]], gap: int) -> int:
    """How many columns of the terminal it needs once everything that may fold has. gap: between columns."""
    from rich.cells import cell_len

    columns = zip(*cells, strict=True)
    natural = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in columns]
    folded = [min(n, _FOLDED) if i in table.wraps else n for i, n in enumerate(natural)]
    return sum(folded) + gap * (len(folded) - 1)


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


def minute_text(at_us: int) -> str:
    """2026-01-05 09:57Z, for tables with little room."""
    return f"{time_text(at_us)[:16]}Z"
