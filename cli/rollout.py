"""`abctl rollout ...`: a split that climbs on evidence, holds without, and falls back by itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import rollout_plan
from cli.options import DataDirOption, ExperimentOption, JsonOption, ReasonOption

if TYPE_CHECKING:
    from cli.rollout_ways import Ways

Shape = dict[str, Any]
app = typer.Typer(
    no_args_is_help=True, help="Let the split climb on evidence, hold without, and fall back by itself."
)
app.add_typer(rollout_plan.app, name="plan")
PlanArgument = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Plan, a TOML file.")]


@app.command()
def start(
    file: PlanArgument,
    reason: ReasonOption = "",
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a rollout: its plan is kept as it is, and its first stage is entered.

    From here on somebody must look: `abctl serve` does, or `abctl rollout run`.

    Example: abctl rollout start plan.toml --reason "model 12 is ready"
    """
    from cli.rollout_plan import text_of
    from cli.rollout_ways import opened
    from router.rollout_toml import plan_of

    text = text_of(file)
    plan_of(text)  # a plan that is refused makes no database
    with opened(experiment, data_dir, may_make=True) as ways:
        ways.start(text, reason)
        _tell_look(ways, as_json)


@app.command()
def status(
    experiment: ExperimentOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Show where the rollout stands and what it waits for. Looks, and changes nothing.

    Example: abctl rollout status
    """
    from cli.rollout_view import show_status
    from cli.rollout_ways import opened
    from cli.terminal import print_json

    with opened(experiment, data_dir) as ways:
        found = ways.status()
    (print_json if as_json else show_status)(found)


@app.command()
def pause(
    reason: ReasonOption = "",
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the climb and the time-out; harm, limits and kills still roll back.

    Example: abctl rollout pause --reason "exchange maintenance"
    """
    from cli.rollout_ways import opened

    with opened(experiment, data_dir) as ways:
        is_new = ways.pause(reason)
        _tell_change(ways, is_new, ("is paused", "was paused already"), as_json)


@app.command()
def resume(
    reason: ReasonOption = "",
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on after a pause, or after somebody moved the split: it is taken as it is.

    Example: abctl rollout resume
    """
    from cli.rollout_ways import opened

    with opened(experiment, data_dir) as ways:
        is_new = ways.resume(reason)
        _tell_change(ways, is_new, ("goes on", "was not paused"), as_json)


@app.command()
def approve(
    reason: ReasonOption = "",
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Agree to the step that the rollout waits to take. Each person counts once (ABCTL_ACTOR).

    Example: abctl rollout approve --reason "seen the report"
    """
    from cli.rollout_ways import opened

    with opened(experiment, data_dir) as ways:
        is_new = ways.approve(reason)
        _tell_change(ways, is_new, ("is approved by you", "was approved by you already"), as_json)


@app.command()
def abort(
    reason: ReasonOption = "",
    keep_split: Annotated[bool, typer.Option("--keep-split", help="Leave the split as it is now.")] = False,
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the rollout; its units go back to the control, unless --keep-split.

    Units in flight keep their arm. What must stop at once: abctl split kill.

    Example: abctl rollout abort --reason "wrong model"
    """
    from cli.rollout_ways import opened

    with opened(experiment, data_dir) as ways:
        ways.abort(reason, "stay" if keep_split else "base")
        _tell_change(ways, True, ("is over", ""), as_json)


@app.command()
def history(
    experiment: ExperimentOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Show every step of every rollout: who or what, when, why and on which evidence.

    With --json each line carries its evidence.

    Example: abctl rollout history
    """
    from cli.rollout_view import show_history
    from cli.rollout_ways import opened
    from cli.terminal import print_json

    with opened(experiment, data_dir) as ways:
        found = ways.history()
    (print_json if as_json else show_history)(found)


@app.command()
def verify(
    experiment: ExperimentOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Reproduce from SQL the evidence of every step, by time travel, and compare the digests.

    Exit code 3 where one differs.

    Example: abctl rollout verify
    """
    from cli.failures import Refused
    from cli.rollout_view import show_verified
    from cli.rollout_ways import opened
    from cli.terminal import print_json

    with opened(experiment, data_dir) as ways:
        found = ways.verify()
    (print_json if as_json else show_verified)(found)
    differing = [str(line["seq"]) for line in found if not line["same"]]
    if differing:
        raise Refused(f"SQL says something else now about line {', '.join(differing)}: see docs/rollout.md")


@app.command()
def run(
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    every_s: Annotated[float, typer.Option(min=1.0, help="Seconds between two looks.")] = 60.0,
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look, decide and carry it out, again and again, until the rollout is over.

    Two that run are no danger: of each step one of them is refused. With --json a line of JSON a look.

    Example: abctl rollout run --once
    """
    from cli.rollout_ways import opened

    with opened(experiment, data_dir) as ways:
        if once:
            _tell_look(ways, as_json)
            return
        for told in ways.run(every_s):
            _tell_line(told, as_json)


def _tell_look(ways: "Ways", as_json: bool) -> None:
    from cli.rollout_view import show_look
    from cli.terminal import print_json

    found = ways.look()
    (print_json if as_json else show_look)(found)


def _tell_line(found: Shape, as_json: bool) -> None:
    import json

    from cli.rollout_view import line_of
    from cli.terminal import say

    if as_json or found.get("news", True):
        say(json.dumps(found) if as_json else line_of(found))


def _tell_change(ways: "Ways", is_new: bool, words: tuple[str, str], as_json: bool) -> None:
    from cli.terminal import print_json, say

    found = ways.standing() | {"changed": is_new}
    if as_json:
        print_json(found)
        return
    say(f"rollout {found['rollout']} of {found['experiment']} {words[0] if is_new else words[1]}")
