"""A report as Markdown, for issues and chats. Whatever users named is escaped."""

import re

from router import report_gates, report_tables
from router.report_tables import Grid, Shape

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&$])")


def markdown(report: Shape) -> str:
    """The whole report; ends with a line's end."""
    verdict = report["verdict"]
    parts = [
        f"# {_safe(report_tables.title(report))}",
        f"**{_safe(report['headline']['sentence'])}**",
        _safe(verdict["reason"]),
        _table(report_tables.effect_table(report)),
        _safe(report["estimand"]),
        *([_list(report_gates.gate_lines(report))] if report_gates.gate_lines(report) else []),
        *map(_table, report_gates.gate_tables(report)),
        *map(_table, report_tables.tables(report)),
        _table(report_tables.stages_table(report)),
        _list(report_tables.check_lines(report)),
        *([f"## Warnings\n\n{_list(report['warnings'])}"] if report["warnings"] else []),
        _safe(report_tables.naive_line(report)),
        f"As of {report['as_of']}; schema {_safe(report['schema'])}.",
    ]
    return "\n\n".join(parts) + "\n"


def _safe(value: object) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def _cell(value: object) -> str:
    return "-" if value is None else _safe(value)


def _table(grid: Grid) -> str:
    aligned = [":--" if i < grid.left else "--:" for i in range(len(grid.columns))]
    lines = [list(map(_cell, grid.columns)), aligned, *(list(map(_cell, row)) for row in grid.rows)]
    return f"## {_safe(grid.title)}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {_safe(line)}" for line in lines)
