"""`abctl model ...`."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.model_judging import attention, compare, evaluate
from cli.options import DataDirOption, JsonOption, ReasonOption

if TYPE_CHECKING:
    from cli.lab import Course
    from store.models import ModelEntry

app = typer.Typer(no_args_is_help=True, help="Train, import, list and promote models.")
WorldOption = Annotated[
    str, typer.Option(help="Simulated world: decoy-fast, decoy, noise-fast, noise, realistic.")
]
DataOption = Annotated[Path | None, typer.Option(help="Recording to learn from instead of a world.")]
MarketsOption = Annotated[int, typer.Option(min=10, max=100_000, help="Simulated markets to learn from.")]
EpochsOption = Annotated[int, typer.Option(min=1, max=10_000, help="How often to go through them.")]
SeedOption = Annotated[int, typer.Option(min=0, max=1000, help="Seed of training and markets.")]


@app.command()
def train(
    arm: Annotated[str, typer.Option(help="base or transformer.")],
    output: Annotated[Path, typer.Option(help="Folder for the artefact.")],
    preset: Annotated[str, typer.Option(help="default, large or fast.")] = "fast",
    world: WorldOption = "decoy-fast",
    data: DataOption = None,
    markets: MarketsOption = 1200,
    epochs: EpochsOption = 40,
    seed: SeedOption = 0,
    backend: Annotated[str, typer.Option(help="torch or mlx: what trains.")] = "torch",
    register: Annotated[bool, typer.Option(help="Also put it into the registry.")] = True,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train an arm by cost-aware behaviour cloning (needs the train extra).

    Example: abctl model train --arm base --output models/base --epochs 5
    """
    from cli.settings import read_settings
    from cli.starting import need_backend, need_training
    from cli.terminal import note, print_json, say, signed_usd

    need_training()
    need_backend(backend)
    settings = read_settings(data_dir=data_dir)
    from arms.training import Epoch, TrainingConfig
    from cli.lab import train_artefact

    def progress(epoch: Epoch) -> None:
        note(
            f"{epoch.line}  net PnL/market {signed_usd(epoch.pnl_usd)}  {epoch.samples_per_s:,.0f} samples/s"
        )

    if register:
        from cli.database import found

        with found(settings):
            pass  # a database that cannot be used is said before hours of training
    config = TrainingConfig(epochs=epochs, seed=seed)
    course = _course(world, data, markets, seed)
    artefact, _ = train_artefact(arm, preset, course, config, output, progress, backend)
    if register:
        from cli.database import writing
        from cli.finding import actor
        from cli.registry import check_folder, register_folder

        check_folder(output, artefact.arm)
        with writing(settings) as engine:
            register_folder(engine, output, actor())
    if as_json:
        print_json({"id": artefact.id, "arm": artefact.arm, "folder": str(output)})
        return
    after = f"; serve it: abctl model promote {artefact.id[:12]}" if register else ""
    say(f"model {artefact.id} in {output}{after}")


def _course(world: str, data: Path | None, markets: int, seed: int) -> "Course":
    """A recording, where one is named, else a world."""
    from cli.failures import Refused
    from cli.lab import WORLDS, recorded_course, simulated_course

    if data is not None:
        from market.recording import read_tapes

        return recorded_course(data.name, tuple(read_tapes(data)))
    if world not in WORLDS:
        raise Refused(f"--world must be one of {', '.join(WORLDS)}, not {world!r}")
    return simulated_course(world, markets, seed)


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


for _judging in (evaluate, compare, attention):
    app.command()(_judging)


@app.command(name="import")
def import_(
    file: Annotated[
        Path, typer.Argument(exists=True, help="ONNX file, safetensors weights, or an artefact folder.")
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
    from cli.database import writing
    from cli.finding import actor
    from cli.registry import check_folder, register_folder, wrapped
    from cli.settings import read_settings
    from cli.terminal import print_json, say

    settings = read_settings(data_dir=data_dir)
    with ExitStack() as stack:
        folder = file if file.is_dir() else stack.enter_context(wrapped(arm, file, window, output))
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
    model: Annotated[str, typer.Argument(help="Id of a registered model, its beginning, or ARM@ALIAS.")],
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
