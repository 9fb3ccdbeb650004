"""Prints: tables for people, JSON for programs. What was asked for goes to stdout, remarks go to stderr."""

import io
import json
import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import typer

from cli.failures import READER_GONE
from cli.masking import one_line
from router.report_words import percent, points, share_text, signed_usd, time_text, usd, words_of

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
    """The first `left` columns are aligned left, the others right. wraps: columns that fold as they must."""

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
    """A table that breaks no name and no number. Where there is too little room for it, columns of words
    fold between words and its columns stand closer; then it is as wide as it must be.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Grid
    from rich.text import Text

    if table.title:
        paragraph(table.title, "bold")
    rows = (table.columns, *table.rows)
    cells = [[_plain("-" if cell is None else str(cell)) for cell in row] for row in rows]
    widths, gap = _layout(cells, table.wraps, width())
    grid = Grid(box=SIMPLE_HEAD, padding=(0, gap - 1), show_edge=False, pad_edge=False, collapse_padding=True)
    for i, name in enumerate(cells[0]):
        justify: Literal["left", "right"] = "left" if i < table.left else "right"
        grid.add_column(Text(name), width=widths[i], justify=justify, overflow="fold")
    for row in cells[1:]:
        grid.add_row(*map(Text, row))
    say(_rendered(grid, sum(widths) + gap * len(widths)))


def _layout(cells: Sequence[Sequence[str]], wraps: Collection[int], room: int) -> tuple[list[int], int]:
    """The columns' widths, and the gap between two: the first of three ways that fits, else the last."""
    from rich.cells import cell_len

    columns = list(zip(*cells, strict=True))
    natural = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in columns]
    words = [
        max((cell_len(word) for cell in column for word in cell.split()), default=0) for column in columns
    ]
    whole = [min(n, _FOLDED) if i in wraps else n for i, n in enumerate(natural)]
    at_words = [min(n, _FOLDED) if i in wraps else words[i] for i, n in enumerate(natural)]
    ways = ((whole, 2), (whole, 1), (at_words, 1))
    least, gap = next((way for way in ways if sum(way[0]) + way[1] * (len(natural) - 1) <= room), ways[-1])
    return _narrowed(natural, least, room - gap * (len(natural) - 1)), gap


def _narrowed(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """The widths once the widest column that may has given way, step by step, until all fit or none may."""
    widths = list(natural)
    while sum(widths) > room:
        free = [i for i in range(len(widths)) if widths[i] > least[i]]
        if not free:
            break
        widths[max(free, key=widths.__getitem__)] -= 1
    return widths


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
