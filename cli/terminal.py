"""Prints: tables for people, JSON for programs, one sentence for failures."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer


def print_json(value: object) -> None:
    """Pretty JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, default=str))


def note(text: str) -> None:
    """A remark on stderr, so that stdout stays what was asked for."""
    typer.echo(text, err=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> None:
    """A table; the first `left` columns are aligned left, the others right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    view = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(columns):
        is_left = i < left
        view.add_column(name, justify="left" if is_left else "right", no_wrap=i == 0, overflow="fold")
    for row in rows:
        view.add_row(*("-" if cell is None else str(cell) for cell in row))
    if title:
        paragraph(title, "bold")
    console().print(view)


def paragraph(text: str, style: str = "") -> None:
    """Wrapped text."""
    console().print(text, style=style, markup=False, highlight=False, soft_wrap=False)


def console() -> Any:
    """80 columns unless the terminal is narrower; colours only on a terminal."""
    from rich.console import Console

    real = Console()
    return Console(width=min(real.width, 80)) if real.is_terminal else Console(width=80)


def time_text(at_us: int) -> str:
    """2026-01-05 09:57:29Z."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def percent(value: float | None, digits: int = 1) -> str | None:
    """62.5%."""
    return None if value is None else f"{100 * value:.{digits}f}%"


def share_text(value: float) -> str:
    """A share as a percentage with as many digits as it has."""
    return f"{100 * value:.4f}".rstrip("0").rstrip(".") + "%"


def usd(value: float | None) -> str | None:
    """$ with a sign, four significant digits at least."""
    if value is None:
        return None
    digits = 2 if abs(value) >= 100 else 4
    return f"{'-' if value < 0 else ''}${abs(value):,.{digits}f}"
