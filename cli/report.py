"""`abctl report`."""

from enum import StrEnum
from typing import Annotated

import typer

from cli.options import DataDirOption, ExperimentOption, JsonOption, UrlOption


class Format(StrEnum):
    """How the report is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def report(
    days: Annotated[
        int,
        typer.Option(
            min=1, max=3650, help="Days of the descriptive window; the verdict always runs from the start."
        ),
    ] = 7,
    format: Annotated[Format, typer.Option(help="How to print.")] = Format.TABLE,  # noqa: A002
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which arm is better, and how sure that is, however often it is asked.

    Example: abctl report --days 7
    """
    from cli.gateway import gateway
    from cli.report_view import say_where, show_report
    from cli.settings import read_settings
    from cli.terminal import print_json

    settings = read_settings(experiment=experiment, data_dir=data_dir, url=url)
    with gateway(settings) as facts:
        found = facts.report(settings.experiment, days)
        where = facts.where
    if as_json or format is Format.JSON:
        print_json(found)
    elif format is Format.CSV:
        _print_csv(found["arms"])
    else:
        show_report(found)
        say_where(where)


def _print_csv(arms: dict[str, dict[str, object]]) -> None:
    import csv
    import sys

    names = list(next(iter(arms.values())))
    writer = csv.writer(sys.stdout)
    writer.writerow(["arm", *names])
    writer.writerows([arm, *("" if row[n] is None else row[n] for n in names)] for arm, row in arms.items())
