"""What the benchmark finds: tables, and targets beside what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise and what was measured."""

    claim: str
    target: str
    measured: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Section:
    """One part's results. notes: sentences under the table."""

    part: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


def at_least(claim: str, ratio: float, target: float) -> Finding:
    """More is better."""
    return Finding(claim, f"at least {target:g}x", f"{ratio:.2f}x", ratio >= target)


def at_most(claim: str, ratio: float, target: float) -> Finding:
    """Less is better."""
    return Finding(claim, f"at most {target:g}x", f"{ratio:.2f}x", ratio <= target)


def missed(sections: Sequence[Section]) -> int:
    """How many promises were not kept: what a script exits with, so that nobody need read its tables."""
    return sum(not finding.holds for section in sections for finding in section.findings)


def text_of(section: Section) -> str:
    """Markdown."""
    lines = [f"### {section.title}", "", *table(section.header, section.rows)]
    if section.findings:
        rows = [(f.claim, f.target, f.measured, "yes" if f.holds else "**no**") for f in section.findings]
        lines += ["", *table(("promise", "target", "measured", "holds"), rows)]
    for note in section.notes:
        lines += ["", note]
    return "\n".join(lines)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table with its columns aligned; all but the first to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    rule = [("-" * w if i == 0 else "-" * (w - 1) + ":") for i, w in enumerate(widths)]
    return [_line(header, widths), _line(rule, widths), *(_line(row, widths) for row in rows)]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "| " + " | ".join([first, *rest]) + " |"
