"""`abctl report`."""

from enum import StrEnum
from typing import Annotated, Literal

import typer

from cli.options import DataDirOption, ExperimentOption, JsonOption, UrlOption


class Format(StrEnum):
    """How the report is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


DaysOption = Annotated[
    int,
    typer.Option(min=1, max=3650, help="Days of the descriptive window; the verdict runs from the start."),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print; csv has one row per arm.")]
FillOption = Annotated[
    Literal["live", "paper", "replay"] | None,
    typer.Option("--fill", help="Judge these fills; default: those of the first mature unit. Never pooled."),
]


def report(
    days: DaysOption = 7,
    form: FormatOption = Format.TABLE,
    fill: FillOption = None,
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which arm is better, and how sure that is, however often it is asked.

    Example: abctl report --days 7
    """
    if as_json and form is Format.CSV:
        raise typer.BadParameter("--json and --format csv contradict each other: give one of them")
    from cli.gateway import gateway
    from cli.report_view import show_report
    from cli.settings import read_settings
    from cli.terminal import note, print_json

    settings = read_settings(experiment=experiment, data_dir=data_dir, url=url)
    with gateway(settings) as facts:
        found = facts.report(settings.experiment, days, fill)
        where = facts.where
    if as_json or form is Format.JSON:
        print_json(found)
    elif form is Format.CSV:
        _print_csv(found["arms"])
    else:
        show_report(found)
        note(f"({where})")


def _print_csv(arms: dict[str, dict[str, object]]) -> None:
    import csv
    import io

    from cli.terminal import say

    names = list(next(iter(arms.values())))
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(["arm", *names])
    writer.writerows([arm, *("" if row[n] is None else row[n] for n in names)] for arm, row in arms.items())
    say(page.getvalue().rstrip("\n"))
