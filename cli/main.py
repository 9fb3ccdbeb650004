"""The `abctl` command. Commands import what they need when they run, so that `--help` is quick."""

import gc
import sys
from collections.abc import Sequence

import typer

from cli import (
    aa,
    arm,
    bandit,
    data,
    db,
    demo,
    doctor,
    experiment,
    import_log,
    key,
    model,
    ope,
    power,
    report,
    rollout,
    serve,
    split,
    status,
)
from cli.failures import INTERRUPTED, Tell, told_to_people, told_to_programs

_GARBAGE = 100_000
"""New objects between two collections: to load a command makes many, and drops few."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A/B testing and model routing for decision policies.\n\nExit codes: 0 done, 1 fault of abctl,"
    " 2 wrong usage, 3 refused, 4 not found, 5 conflict, 6 unavailable, 130 interrupted,"
    " 141 nobody reads the output.",
)
app.command()(serve.serve)
app.command()(status.status)
app.command()(report.report)
app.command()(ope.ope)
app.command()(power.power)
app.command()(aa.aa)
app.command("import")(import_log.import_log)
app.command()(demo.demo)
app.command()(doctor.doctor)
app.add_typer(split.app, name="split")
app.add_typer(rollout.app, name="rollout")
app.add_typer(bandit.app, name="bandit")
app.add_typer(experiment.app, name="experiment")
app.add_typer(arm.app, name="arm")
app.add_typer(model.app, name="model")
app.add_typer(data.app, name="data")
app.add_typer(key.app, name="key")
app.add_typer(db.app, name="db")


def main() -> None:
    """The console script: a failure is one line on stderr and a documented exit code."""
    gc.set_threshold(_GARBAGE)
    tell = _tell_of(sys.argv[1:])
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a fault of ours is raised again, or told with its traceback
        code = tell(error)
    gc.freeze()  # the interpreter's last collections need not look through all that was loaded
    if code:
        sys.exit(code)


def _tell_of(words: Sequence[str]) -> Tell:
    """How failures are told: wherever --json stands, a program reads, and also where its place is wrong."""
    return told_to_programs if "--json" in words else told_to_people
