"""`abctl report`."""

import sys
from enum import StrEnum
from typing import Annotated, Any, Literal

import typer

from cli.options import DataDirOption, ExperimentOption, JsonOption, UrlOption

Shape = dict[str, Any]
_SWITCH_S = 0.0005
"""Statistics load in a thread beside the database, whose answers do not wait 5 ms each for their turn."""


class Format(StrEnum):
    """How the report is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"
    MD = "md"


DaysOption = Annotated[
    int,
    typer.Option(min=1, max=3650, help="Days of the descriptive window; the verdict runs from the start."),
]
FormatOption = Annotated[
    Format,
    typer.Option(
        "--format", help="How to print; csv has one row per arm, html is one file with charts and no network."
    ),
]
FillOption = Annotated[
    Literal["live", "paper", "replay"] | None,
    typer.Option("--fill", help="Judge these fills; default: those of the first mature unit. Never pooled."),
]
ByOption = Annotated[
    Literal["market", "bot", "day", "model"] | None,
    typer.Option("--by", help="Also show slices, controlled for how many there are; never evidence."),
]
AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="The report as it stood then (RFC 3339), from all decisions up to then: seconds for a million."
        " Without it no report reads decisions.",
    ),
]


def report(
    days: DaysOption = 7,
    form: FormatOption = Format.TABLE,
    fill: FillOption = None,
    by: ByOption = None,
    as_of: AsOfOption = None,
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which arm is better, and how sure that is, however often it is asked.

    Example: abctl report --days 7
    """
    if as_json and form not in {Format.TABLE, Format.JSON}:
        raise typer.BadParameter(f"--json and --format {form} contradict each other: give one of them")
    from cli.gateway import gateway
    from cli.settings import read_settings
    from cli.terminal import note
    from router.question import Question

    as_of_us = None if as_of is None else _instant_us(as_of)
    settings = read_settings(experiment=experiment, data_dir=data_dir, url=url)
    sys.setswitchinterval(_SWITCH_S)
    with gateway(settings) as facts:
        question = Question(key=settings.experiment, days=days, fill=fill, by=by, as_of_us=as_of_us)
        found = facts.report(question)
        where = facts.where
    shown = Format.JSON if as_json else form
    _SHOW[shown](found)
    if shown is Format.TABLE:
        note(f"({where})")


def _instant_us(text: str) -> int:
    from cli.failures import Refused
    from router.instants import instant_us
    from router.problems import Problem

    try:
        return instant_us(text, "--as-of")
    except Problem as problem:
        raise Refused(problem.detail) from problem


def _show_table(found: Shape) -> None:
    from cli.report_view import show_report

    show_report(found)


def _print_json(found: Shape) -> None:
    from cli.terminal import print_json

    print_json(found)


def _print_csv(found: Shape) -> None:
    import csv
    import io

    from cli.terminal import say

    arms = found["arms"]
    names = list(next(iter(arms.values())))
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(["arm", *names])
    writer.writerows([arm, *("" if row[n] is None else row[n] for n in names)] for arm, row in arms.items())
    say(page.getvalue().rstrip("\n"))


def _print_html(found: Shape) -> None:
    from cli.terminal import say
    from router.report_html import page

    say(page(found).rstrip("\n"))


def _print_markdown(found: Shape) -> None:
    from cli.terminal import say
    from router.report_markdown import markdown

    say(markdown(found).rstrip("\n"))


_SHOW = {
    Format.TABLE: _show_table,
    Format.JSON: _print_json,
    Format.CSV: _print_csv,
    Format.HTML: _print_html,
    Format.MD: _print_markdown,
}
