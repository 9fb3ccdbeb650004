"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Data directory. [env: ABCTL_DATA_DIR; default: .abctl]")
]
ExperimentOption = Annotated[
    str | None, typer.Option("--experiment", "-e", help="Experiment. [env: ABCTL_EXPERIMENT; default: main]")
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="A running service. [env: ABCTL_URL; default: the data directory's]"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the audit.")]
WaitOption = Annotated[bool, typer.Option(help="Wait until the change is in force everywhere.")]
