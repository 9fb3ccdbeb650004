"""`abctl model ...`."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.model_export import export
from cli.model_judging import attention, compare, evaluate
from cli.model_training import train
from cli.options import DataDirOption, JsonOption, ReasonOption

if TYPE_CHECKING:
    from store.models import ModelEntry

app = typer.Typer(no_args_is_help=True, help="Train, import, list and promote models.")
app.command()(train)


@app.command()
def starters(
    output: Annotated[Path, typer.Option(help="Folder for both artefacts.")] = Path("arms/starters"),
    check: Annotated[
        bool,
        typer.Option("--check", help="Only compare with what is there; 0 where they are the same to 1e-3."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train the models that ship with abctl: preset fast, on the simulator.

    The same data and seed every time, and the same models to the bit on the same kind of processor; elsewhere
    the last digits of the weights differ, and with them the ids. --check says which of the two it is.

    Example: abctl model starters --output starters
    """
    from cli.failures import Refused
    from cli.starting import need_training
    from cli.terminal import note, print_json

    need_training()
    from cli.lab import same_starters, train_starters

    found = same_starters(output, note) if check else train_starters(output, note)
    if as_json:
        print_json({"same": found} if check else {"ids": found})
    if check and not found:
        raise Refused(f"{output} does not hold what training gives: make it again, without --check")


for _command in (evaluate, compare, attention, export):
    app.command()(_command)


@app.command(name="import")
def import_(
    file: Annotated[
        Path, typer.Argument(exists=True, help="ONNX file, safetensors weights, artefact or exported folder.")
    ],
    arm: Annotated[str, typer.Option(help="Arm it is a model of.")],
    window: Annotated[
        int | None, typer.Option(min=1, max=64, help="How many states an ONNX file reads (default 20).")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="What an ONNX file answers: probs (default) or logits.")
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a model into the registry; it serves after `abctl model promote`.

    Safetensors weights are those of a LACUNA base net, under MLX's names (docs/arms.md, Foreign weights).

    Example: abctl model import my_policy.onnx --arm transformer --window 20
    """
    from arms.artefact import artefact_within
    from cli.database import writing
    from cli.finding import actor
    from cli.registry import check_folder, register_folder, wrapped
    from cli.settings import read_settings
    from cli.terminal import print_json, say

    settings = read_settings(data_dir=data_dir)
    with ExitStack() as stack:
        if file.is_dir():
            folder = artefact_within(file)
        else:
            folder = stack.enter_context(wrapped(arm, file, window, output))
        check_folder(folder, arm)
        model_id = register_folder(stack.enter_context(writing(settings)), folder, actor())
    if as_json:
        print_json({"id": model_id, "arm": arm})
    else:
        say(f"model {model_id} is registered; serve it: abctl model promote {model_id[:12]}")


@app.command(name="list")
def list_(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List registered models, the newest first, and what they are named: the champion serves.

    Example: abctl model list
    """
    from cli.database import looking
    from cli.settings import read_settings
    from cli.terminal import Table, note, print_json, show
    from store import models

    with looking(read_settings(data_dir=data_dir)) as connection:
        entries = [] if connection is None else models.listed(connection)
        named = {} if connection is None else models.names(connection)
    if as_json:
        found = [
            {
                "id": e.id,
                "arm": e.arm,
                "facts": _facts(e.facts),
                "aliases": named.get(e.id, []),
                "champion": models.CHAMPION in named.get(e.id, []),
            }
            for e in entries
        ]
        print_json(found)
        return
    if not entries:
        note("no model yet: the first `abctl serve` registers those that ship")
    rows = [_row(entry, named.get(entry.id, [])) for entry in entries]
    show(Table("", ["model", "arm", "kind", "preset", "window", "alias", "registered"], rows, left=4))


def _facts(text: str) -> "dict[str, Any]":
    """config.json; of the markets that the model was made from only how many they are."""
    import json

    facts: dict[str, Any] = json.loads(text)
    if "markets" in facts.get("trained", {}):
        facts["trained"]["markets"] = len(facts["trained"]["markets"]) // 16
    return facts


def _row(entry: "ModelEntry", aliases: list[str]) -> list[object]:
    import json

    from cli.terminal import minute_text

    facts = json.loads(entry.facts)
    preset, named = facts.get("preset") or None, ", ".join(aliases) or None
    registered = minute_text(entry.created_at_us)
    return [entry.id[:12], entry.arm, facts["kind"], preset, facts["window"], named, registered]


@app.command()
def promote(
    model: Annotated[
        str, typer.Argument(help="Id of a registered model, 4 or more of its first characters, or ARM@ALIAS.")
    ],
    arm: Annotated[str | None, typer.Option(help="Arm that it must be a model of.")] = None,
    alias: Annotated[str, typer.Option(help="champion serves; challenger is only named.")] = "champion",
    reason: ReasonOption = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a model its arm's champion: running services load it within a second.

    A challenger serves nobody: it is the one to try next; other commands know it as `transformer@challenger`.

    Example: abctl model promote 0f3a9c12 --arm base --reason "trained on the 26th"
    """
    from cli.model_history import promoted
    from cli.settings import read_settings

    promoted(read_settings(data_dir=data_dir), model, (arm, alias), reason, as_json)


@app.command()
def history(
    arm: Annotated[str | None, typer.Option(help="Only of this arm.")] = None,
    at: Annotated[str | None, typer.Option(help="What served at this time (RFC 3339).")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell which models an arm's aliases named, since when and by whom, or at a time: the champion served.

    Example: abctl model history --arm base --at 2026-01-03T14:03:00Z
    """
    from cli.model_history import history_shown
    from cli.settings import read_settings

    history_shown(read_settings(data_dir=data_dir), arm, at, as_json)


@app.command()
def rollback(
    arm: Annotated[str, typer.Option(help="Arm that goes back.")],
    reason: ReasonOption = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the model that served before the present one the champion again; twice goes back and forth.

    Example: abctl model rollback --arm transformer --reason "trades too much"
    """
    from cli.model_history import rolled_back
    from cli.settings import read_settings

    rolled_back(read_settings(data_dir=data_dir), arm, reason, as_json)
