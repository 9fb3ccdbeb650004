"""`abctl model ...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DataDirOption, JsonOption, ReasonOption

if TYPE_CHECKING:
    from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Train, import, list and promote models.")


@app.command()
def train(
    arm: Annotated[str, typer.Option(help="base or transformer.")],
    output: Annotated[Path, typer.Option(help="Folder for the artefact.")],
    preset: Annotated[str, typer.Option(help="default, large or fast.")] = "fast",
    world: Annotated[
        str, typer.Option(help="Simulated world to learn in: decoy-fast, decoy, noise-fast, noise.")
    ] = "decoy-fast",
    data: Annotated[
        Path | None, typer.Option(help="Folder of recordings to learn from instead of a world.")
    ] = None,
    markets: Annotated[
        int, typer.Option(min=10, max=100_000, help="Simulated markets to learn from.")
    ] = 1200,
    epochs: Annotated[int, typer.Option(min=1, max=10_000)] = 40,
    seed: Annotated[int, typer.Option(min=0, max=1000)] = 0,
    register: Annotated[bool, typer.Option(help="Also put it into the registry.")] = True,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train an arm by cost-aware behaviour cloning (needs the train extra).

    Example: abctl model train --arm base --output models/base --epochs 5
    """
    from cli.settings import read_settings
    from cli.starting import need_training
    from cli.terminal import note, print_json

    need_training()
    from arms.training import Epoch, TrainingConfig
    from cli.lab import recorded_course, simulated_course, train_artefact

    if data is None:
        course = simulated_course(_known_world(world), markets, seed)
    else:
        from market.recording import read_tapes

        course = recorded_course(data.name, tuple(read_tapes(data)))

    def progress(epoch: Epoch) -> None:
        note(f"{epoch.line}  net PnL/market ${epoch.pnl_usd:+.3f}  {epoch.samples_per_s:,.0f} samples/s")

    config = TrainingConfig(epochs=epochs, seed=seed)
    artefact, _ = train_artefact(arm, preset, course, config, output, progress)
    if register:
        _register(read_settings(data_dir=data_dir), output)
    if as_json:
        print_json({"id": artefact.id, "arm": artefact.arm, "folder": str(output)})
    else:
        typer.echo(
            f"model {artefact.id} in {output}"
            + ("; serve it: abctl model promote " + artefact.id[:8] if register else "")
        )


@app.command()
def starters(
    output: Annotated[Path, typer.Option(help="Folder for both artefacts.")] = Path("arms/starters"),
    check: Annotated[bool, typer.Option("--check", help="Only compare with what is there.")] = False,
) -> None:
    """Train the models that ship with abctl: preset fast, on the simulator, the same every time.

    Example: abctl model starters --output starters
    """
    from cli.starting import need_training

    need_training()
    from cli.lab import same_starters, train_starters

    if not check:
        train_starters(output, lambda line: typer.echo(line, err=True))
    elif not same_starters(output, lambda line: typer.echo(line, err=True)):
        raise typer.Exit(3)


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(exists=True, help="ONNX file, or an artefact folder.")],
    arm: Annotated[str, typer.Option(help="Arm it is a model of.")],
    window: Annotated[int, typer.Option(min=1, max=64, help="How many states an ONNX file reads.")] = 20,
    output: Annotated[str, typer.Option(help="What an ONNX file answers: probs or logits.")] = "probs",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a model into the registry; it serves after `abctl model promote`.

    Example: abctl model import my_policy.onnx --arm transformer --window 20
    """
    from cli.failures import Refused
    from cli.settings import read_settings
    from cli.terminal import print_json

    settings = read_settings(data_dir=data_dir)
    if file.is_dir():
        entry_id = _register(settings, file)
        _check_arm(settings, entry_id, arm)
    else:
        entry_id = register_onnx(settings, arm, file, window, output, promote=False)
    if not entry_id:
        raise Refused(f"{file} could not be imported")
    if as_json:
        print_json({"id": entry_id, "arm": arm})
    else:
        typer.echo(f"model {entry_id} is registered; serve it: abctl model promote {entry_id[:8]}")


@app.command(name="list")
def list_(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List registered models, the newest first, and which ones serve.

    Example: abctl model list
    """
    import json

    from cli.database import reading
    from cli.settings import read_settings
    from cli.terminal import print_json, table, time_text
    from store import models

    with reading(read_settings(data_dir=data_dir)) as connection:
        entries = models.listed(connection)
        champions = set(models.champions(connection).values())
    rows = []
    for entry in entries:
        facts = json.loads(entry.facts)
        serving = "champion" if entry.id in champions else ""
        rows.append(
            [
                entry.id[:12],
                entry.arm,
                facts["kind"],
                facts.get("preset") or None,
                facts["window"],
                serving,
                time_text(entry.created_at_us),
            ]
        )
    if as_json:
        print_json(
            [
                {"id": e.id, "arm": e.arm, "facts": json.loads(e.facts), "champion": e.id in champions}
                for e in entries
            ]
        )
    else:
        table("", ["model", "arm", "kind", "preset", "window", "serves", "registered"], rows, left=4)


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="Id of a registered model, or its beginning.")],
    arm: Annotated[str | None, typer.Option(help="Arm that it must be a model of.")] = None,
    reason: ReasonOption = "",
    data_dir: DataDirOption = None,
) -> None:
    """Make a model its arm's champion: running services load it within a second.

    Example: abctl model promote 0f3a9c12 --arm base --reason "trained on the 26th"
    """
    from cli.database import writing
    from cli.failures import Refused
    from cli.settings import read_settings

    with writing(read_settings(data_dir=data_dir)) as engine:
        from store import models

        with engine.connect() as connection:
            entry = models.find(connection, model)
        if arm is not None and arm != entry.arm:
            raise Refused(f"model {entry.id} is one of arm {entry.arm!r}, not {arm!r}; import it for {arm!r}")
        check_servable(engine, entry.id)
        make_champion(engine, entry.id, entry.arm, reason)
    typer.echo(f"arm {entry.arm} serves model {entry.id} from now on")


def check_servable(engine: object, model_id: str) -> None:
    """Loads a registered model with all checks, as a service would, before anybody depends on it."""
    import tempfile

    from arms.schema import MARKET_V1
    from router.service import load_model

    with tempfile.TemporaryDirectory() as folder:
        load_model(engine, Path(folder), model_id, MARKET_V1)  # type: ignore[arg-type]


def make_champion(engine: object, model_id: str, arm: str, reason: str) -> None:
    """Appends the change of the alias."""
    from cli.finding import actor
    from store import models
    from store.clock import wall_clock_us

    change = models.AliasChange(arm, "champion", model_id, wall_clock_us(), actor(), reason)
    models.set_alias(engine, change)  # type: ignore[arg-type]


def register_onnx(settings: "Settings", arm: str, file: Path, window: int, output: str, promote: bool) -> str:
    """Wraps a plain ONNX file as an artefact and registers it."""
    import tempfile

    from arms.onnx_import import import_onnx
    from arms.schema import MARKET_V1
    from cli.database import writing
    from cli.failures import Refused
    from cli.finding import actor
    from cli.starters import register_folder

    if output not in ("probs", "logits"):
        raise Refused(f"--output must be probs or logits, not {output!r}")
    with tempfile.TemporaryDirectory() as folder, writing(settings) as engine:
        import_onnx(file, Path(folder) / arm, arm, window, MARKET_V1, output)
        entry_id = register_folder(engine, Path(folder) / arm, actor())
        if promote:
            make_champion(engine, entry_id, arm, f"added from {file.name}")
    return entry_id


def _register(settings: "Settings", folder: Path) -> str:
    from cli.database import writing
    from cli.finding import actor
    from cli.starters import register_folder

    with writing(settings) as engine:
        return register_folder(engine, folder, actor())


def _check_arm(settings: "Settings", entry_id: str, arm: str) -> None:
    from cli.database import reading
    from cli.failures import Refused
    from store import models

    with reading(settings) as connection:
        entry = models.find(connection, entry_id)
    if entry.arm != arm:
        raise Refused(f"the artefact says it is a model of arm {entry.arm!r}, not {arm!r}")


def _known_world(name: str) -> str:
    from cli.failures import Refused
    from cli.lab import WORLDS

    if name not in WORLDS:
        raise Refused(f"--world must be one of {', '.join(WORLDS)}, not {name!r}")
    return name
