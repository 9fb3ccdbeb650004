"""The report on a terminal, from its JSON shape: the verdict first, what is not evidence last."""

from cli.terminal import Table, paragraph, say, show
from router import report_gates, report_tables
from router.report_tables import Grid, Shape

_STYLES = {"better": "bold green", "worse": "bold red"}


def show_report(report: Shape) -> None:
    """Verdict, effect, rates, units, window, slices, stages, checks, and at last a naive test."""
    verdict = report["verdict"]
    paragraph(report_tables.title(report), _STYLES.get(verdict["verdict"], "bold"))
    paragraph(report["headline"]["sentence"], "bold")
    paragraph(verdict["reason"])
    say("")
    _show(report_tables.effect_table(report))
    paragraph(report["estimand"], "dim")
    for line in report_gates.gate_lines(report):
        paragraph(line)
    grids = (*report_tables.tables(report), report_tables.stages_table(report))
    for grid in (*report_gates.gate_tables(report), *grids):
        say("")
        _show(grid)
    say("")
    for line in report_tables.check_lines(report):
        paragraph(line)
    for warning in report["warnings"]:
        paragraph(f"! {warning}", "yellow")
    say("")
    paragraph(report_tables.naive_line(report), "dim")


def _show(grid: Grid) -> None:
    show(Table(grid.title, grid.columns, grid.rows, grid.left))
