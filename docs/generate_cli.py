"""Writes docs/cli.md from the help texts of the command itself: `python docs/generate_cli.py [--check]`.

With --check nothing is written, and the exit status is 1 when the page and the command differ.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.update(COLUMNS="80", TERM="dumb", NO_COLOR="1", TYPER_USE_RICH="0")

import typer  # reads the environment when it is imported
from typer.core import TyperGroup

from cli.main import app

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# The abctl command

Made by `make docs` from the help of the command itself; edit the docstrings in `cli/`, not this page.

## What it prints, and where

What was asked for goes to stdout; remarks, in parentheses, and failures go to stderr. `--json` prints one JSON
value on stdout (`abctl serve`: a line of JSON an event) and nothing else there.

A failure is one sentence on stderr, after `abctl: `; wrong usage shows the usage. With `--json` it is one JSON object
in one line, the last one of stderr. Stdout stays empty, but for commands that look for faults and say what they found
(`status`, `doctor`, `db verify`):

```json
{"error": {"kind": "not_found", "exit_code": 4, "message": "arm must be one of base, transformer, not 'x': name one of these"}}
```

| exit code | `kind` | means |
|---|---|---|
| 0 | | done |
| 1 | `fault` | a fault of abctl: its traceback comes first, please report it |
| 2 | `usage` | wrong usage |
| 3 | `refused` | the input breaks a rule, or something that was looked for is wrong |
| 4 | `not_found` | what was named does not exist |
| 5 | `conflict` | somebody else was first |
| 6 | `unavailable` | service, SQL or Redis does not answer |
| 130 | | interrupted (Ctrl-C); no JSON is printed |
| 141 | | the reader of the output has gone; nothing is printed |
"""  # noqa: E501 - one line is what it is about
WIDTH = 80


def commands(
    command: Any, parent: typer.Context | None = None, name: str = "abctl"
) -> Iterator[typer.Context]:
    """The command and everything below it, depth first, in the order in which help lists them."""
    context = typer.Context(
        command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH
    )
    yield context
    if isinstance(command, TyperGroup):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            if child is not None and not child.hidden:
                yield from commands(child, context, child_name)


def page() -> str:
    """The whole reference as Markdown."""
    sections = [section(context) for context in commands(typer.main.get_command(app))]
    return "\n".join([HEAD, *sections])


def section(context: typer.Context) -> str:
    """One command: its path as heading, its help as it is printed."""
    lines = [line.rstrip() for line in context.get_help().strip().splitlines()]
    body = "\n".join(lines)
    return f"## {context.command_path}\n\n```text\n{body}\n```\n"


def main() -> int:
    """Writes the page, or compares it."""
    text = page()
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/cli.md is not what the command says: run `make docs`.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
