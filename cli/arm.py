"""`abctl arm ...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DataDirOption, ExperimentOption, JsonOption

if TYPE_CHECKING:
    from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Arms: what serves under which name.")


@app.command(name="list")
def list_(
    experiment: ExperimentOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """List the arms of an experiment with the models they serve.

    Example: abctl arm list
    """
    from cli.database import reading
    from cli.settings import read_settings
    from cli.terminal import Table, print_json, show
    from store import experiments, models

    settings = read_settings(experiment=experiment, data_dir=data_dir)
    with reading(settings) as connection:
        found = experiments.get(connection, settings.experiment)
        champions = models.champions(connection)
    roles = [(arm, "control" if arm == found.control else "treatment") for arm in found.arms]
    if as_json:
        print_json([{"arm": arm, "role": role, "model": champions.get(arm)} for arm, role in roles])
        return
    rows = [[arm, role, champions.get(arm, "none yet")] for arm, role in roles]
    show(Table(f"Arms of {settings.experiment}", ["arm", "role", "champion"], rows, left=3))


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the arm.")],
    onnx: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="ONNX file: [n,window,18] -> [n,3].")
    ],
    window: Annotated[int, typer.Option(min=1, max=64, help="How many states it reads.")],
    output: Annotated[str, typer.Option(help="What it answers: probs or logits.")] = "probs",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make your own ONNX file the model of a new arm; name the arm in an experiment to give it units.

    An arm that serves a model, or that an open experiment names, gets another model by `abctl model import`
    and `abctl model promote`, never by this.

    Example: abctl arm add mine my_policy.onnx --window 5 --output logits
    """
    from cli.database import writing
    from cli.finding import actor
    from cli.registry import make_champion, register_folder, wrapped_onnx
    from cli.settings import read_settings
    from cli.terminal import print_json, say

    settings = read_settings(data_dir=data_dir)
    flags = f"--arm {name} --window {window} --output {output}"
    _check_is_new(settings, name, f"`abctl model import {onnx} {flags}` and `abctl model promote ID`")
    with wrapped_onnx(name, onnx, window, output) as folder, writing(settings) as engine:
        model_id = register_folder(engine, folder, actor())
        make_champion(engine, model_id, name, f"added from {onnx.name}")
    if as_json:
        print_json({"arm": name, "model": model_id})
    else:
        say(f"arm {name} serves model {model_id}; name it in an experiment's arms to give it units")


def _check_is_new(settings: "Settings", name: str, remedy: str) -> None:
    """Raises Conflict where the name is somebody's: a live experiment's arm is never replaced unasked."""
    from cli.database import looking
    from cli.failures import Conflict
    from cli.settings import MAIN
    from cli.starters import STARTERS
    from store import experiments, models

    uses = f"is an arm of experiment {MAIN}" if name in STARTERS else ""
    with looking(settings) as connection:
        if connection is not None:
            model = models.champions(connection).get(name)
            keys = [e.key for e in experiments.every(connection) if name in e.arms and not e.archived_at_us]
            uses = f"is an arm of experiment {', '.join(keys)}" if keys else uses
            uses = f"serves model {model[:12]}" if model else uses
    if uses:
        raise Conflict(f"arm {name} {uses} already: give it this model with {remedy}, or choose another name")
