"""`abctl bandit ...`: shares that follow the arms' chances to be the best, for little regret."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import DataDirOption, ExperimentOption, JsonOption, ReasonOption

if TYPE_CHECKING:
    from cli.bandit_ways import Ways

Shape = dict[str, Any]
app = typer.Typer(
    no_args_is_help=True, help="Let an experiment's shares follow its arms' chances to be the best."
)


@app.command()
def run(
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    every_s: Annotated[float, typer.Option(min=1.0, help="Seconds between two looks.")] = 60.0,
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look, choose and move the split, again and again; at most once in the experiment's interval.

    Two that run are no danger: of each move one of them is refused. With --json a line of JSON a look.

    Example: abctl bandit run --once --experiment prices
    """
    from cli.bandit_view import show_look
    from cli.bandit_ways import opened
    from cli.terminal import print_json

    with opened(experiment, data_dir) as ways:
        if once:
            found = ways.look()
            (print_json if as_json else show_look)(found)
            return
        _go_on(ways, every_s, as_json)


@app.command()
def status(
    experiment: ExperimentOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Show the shares, what they follow, the regret so far, and what a look would do. Changes nothing.

    Example: abctl bandit status --experiment prices
    """
    from cli.bandit_view import show_status
    from cli.bandit_ways import opened
    from cli.terminal import print_json

    with opened(experiment, data_dir) as ways:
        found = ways.status()
    (print_json if as_json else show_status)(found)


@app.command()
def resume(
    reason: ReasonOption = "",
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on after somebody moved the split by hand: it is taken as it is.

    Example: abctl bandit resume --experiment prices --reason "the outage is over"
    """
    from cli.bandit_ways import opened
    from cli.terminal import print_json, say

    with opened(experiment, data_dir) as ways:
        is_new = ways.resume(reason)
    if as_json:
        print_json({"experiment": ways.key, "changed": is_new})
        return
    words = "goes on from the split as it is" if is_new else "was not held by hand"
    say(f"the bandit of {ways.key} {words}")


def _go_on(ways: "Ways", every_s: float, as_json: bool) -> None:
    import json

    from cli.bandit_view import line_of
    from cli.terminal import say

    said = ""
    for found in ways.run(every_s):
        line = json.dumps(found) if as_json else line_of(found)
        if as_json or line != said:
            say(line)
        said = line
