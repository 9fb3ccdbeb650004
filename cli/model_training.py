"""`abctl model train`: what is asked for, and what is refused before it starts."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DataDirOption, JsonOption

if TYPE_CHECKING:
    from arms.artefact import Artefact
    from cli.lab import Course
    from cli.settings import Settings
    from cli.training_run import Place

ARMS = ("base", "transformer")
METHODS = ("bc", "awr", "iql", "ppo")
DataOption = Annotated[Path | None, typer.Option(help="Recording to learn from instead of a world.")]
WorldOption = Annotated[
    str | None,
    typer.Option(
        help="Simulated world: decoy-fast, decoy, noise-fast, noise, realistic. [default: decoy-fast]"
    ),
]
MarketOption = Annotated[
    str | None, typer.Option(help="Only the recorded markets of this asset, for example BTC. [default: all]")
]
MarketsOption = Annotated[
    int | None,
    typer.Option(min=10, max=100_000, help="Simulated markets to learn from. [default: 1200]"),
]
EpochsOption = Annotated[int, typer.Option(min=1, max=10_000, help="How often to go through them.")]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(min=1, max=100_000, help="Windows per step. [default: 64, of ppo 1024]"),
]
RateOption = Annotated[
    float | None, typer.Option(help="Highest learning rate, above 0. [default: 0.002, of ppo 0.0003]")
]
StartOption = Annotated[str | None, typer.Option(help="Model that ppo starts from: folder, id or ARM@ALIAS.")]
DropoutOption = Annotated[
    float | None,
    typer.Option(min=0.0, max=0.9, help="Of the transformer. [default: the preset's, 0.1]"),
]
SeedOption = Annotated[int, typer.Option(min=0, max=1000, help="Seed of training and markets.")]
ResumeOption = Annotated[bool, typer.Option(help="Go on from the checkpoint, if one is there.")]
FinishOption = Annotated[
    bool, typer.Option("--finish", help="Train no further: make the model of the checkpoint's best epoch.")
]
DashboardOption = Annotated[
    bool, typer.Option("--dashboard", help="Serve a live page on this machine while it trains.")
]
PortOption = Annotated[int, typer.Option(min=0, max=65_535, help="Of the page; 0 takes a free one.")]


def train(
    arm: Annotated[str, typer.Option(help="base or transformer.")],
    output: Annotated[Path, typer.Option(help="Folder for the artefact.")],
    preset: Annotated[str, typer.Option(help="default, large or fast.")] = "fast",
    method: Annotated[
        str, typer.Option(help="bc: cloning; awr, iql: from what was played; ppo: by playing.")
    ] = "bc",
    start: StartOption = None,
    world: WorldOption = None,
    data: DataOption = None,
    market: MarketOption = None,
    markets: MarketsOption = None,
    epochs: EpochsOption = 100,
    batch_size: BatchSizeOption = None,
    learning_rate: RateOption = None,
    dropout: DropoutOption = None,
    seed: SeedOption = 0,
    backend: Annotated[str, typer.Option(help="torch or mlx: what trains.")] = "torch",
    resume: ResumeOption = True,
    finish: FinishOption = False,
    dashboard: DashboardOption = False,
    port: PortOption = 0,
    register: Annotated[bool, typer.Option(help="Also put it into the registry.")] = True,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train an arm, by cost-aware behaviour cloning or reinforcement learning (needs the train extra).

    Beside OUTPUT, the folder OUTPUT.training holds training.log (a line per epoch, for `tail -f`),
    TensorBoard events, and until the model is written a checkpoint of the last whole epoch. After Ctrl-C, a
    kill or a power cut the same command goes on from there and gives the same model to the bit. A model that
    OUTPUT holds is replaced once another one is whole.

    Example: abctl model train --arm base --output models/base --epochs 5
    """
    from cli.settings import read_settings
    from cli.terminal import print_json, say

    _check_words(arm, preset, method, backend)
    from cli.training_methods import check_fits, config_of, maker_of
    from cli.training_run import Job, Place, trained

    _check_where(output, port, dashboard)
    place = Place(output)
    check_fits(method, has_start=start is not None, has_dropout=dropout is not None)
    _check_place(place, resume, finish)
    settings = read_settings(data_dir=data_dir)
    if register:
        from cli.database import found

        with found(settings):
            pass  # a database that cannot be used is said before hours of training
    config = config_of(method, epochs, batch_size, learning_rate, seed)
    make = maker_of(method, None if start is None else _begun(start, settings))
    course = _course(world, data, market, markets, seed)
    job = Job(arm, preset, backend, dropout, config, place)
    page_port = port if dashboard else None
    artefact = trained(job, course, resume=resume, finish=finish, page_port=page_port, make=make)
    if register:
        _register(settings, artefact, output)
    if as_json:
        print_json({"id": artefact.id, "arm": artefact.arm, "folder": str(output)})
        return
    after = f"; serve it: abctl model promote {artefact.id[:12]}" if register else ""
    say(f"model {artefact.id} in {output}{after}")


def _check_where(output: Path, port: int, dashboard: bool) -> None:
    from cli.failures import Refused

    if output.name in {"", ".."}:
        raise Refused(f"--output must name a folder, not {str(output)!r}: give one that may be new")
    if port and not dashboard:
        raise Refused("--port is of the dashboard's page: give --dashboard too, or leave it out")


def _begun(model: str, settings: "Settings") -> "Artefact":
    from cli.exam import candidate

    with candidate(model, settings) as found:
        return found.artefact


def _check_words(arm: str, preset: str, method: str, backend: str) -> None:
    """What costs nothing to check."""
    from cli.failures import Refused
    from cli.starting import need_backend, need_training

    if method not in METHODS:
        raise Refused(f"--method must be one of {', '.join(METHODS)}, not {method!r}")
    if arm not in ARMS:
        raise Refused(f"--arm must be one of {', '.join(ARMS)}, not {arm!r}")
    need_training()
    need_backend(backend)
    from arms.presets import preset_of

    preset_of(arm, preset)


def _check_place(place: "Place", resume: bool, finish: bool) -> None:
    """Whether the artefact can be written, and --finish has something to finish."""
    from cli.failures import Refused
    from cli.lab import check_replaceable

    if place.output.exists():
        check_replaceable(place.output)
    near = next(parent for parent in place.output.absolute().parents if parent.is_dir())
    if not os.access(near, os.W_OK):
        raise Refused(f"--output {place.output} cannot be made: {near} is not writable; give another folder")
    if finish and not resume:
        raise Refused("--finish makes a model of the checkpoint and --no-resume ignores it: give one of them")
    if finish and not place.checkpoint.exists():
        raise Refused(f"--finish needs a checkpoint and {place.checkpoint} is not there: train first")


def _course(
    world: str | None, data: Path | None, market: str | None, markets: int | None, seed: int
) -> "Course":
    """A recording, where one is named, else a world."""
    from cli.failures import Refused
    from cli.lab import STARTER_WORLD, TRAIN_MARKETS, WORLDS, of_asset, recorded_course, simulated_course

    if data is not None and (world is not None or markets is not None):
        raise Refused("--world and --markets are of simulated markets and --data of recorded ones: give one")
    if data is not None:
        from market.recording import read_tapes

        tapes = tuple(read_tapes(data))
        return recorded_course(data.name, tapes if market is None else of_asset(tapes, market))
    if market is not None:
        raise Refused("--market chooses among recorded markets: give --data too, or leave it out")
    name = STARTER_WORLD if world is None else world
    if name not in WORLDS:
        raise Refused(f"--world must be one of {', '.join(WORLDS)}, not {name!r}")
    return simulated_course(name, TRAIN_MARKETS if markets is None else markets, seed)


def _register(settings: "Settings", artefact: "Artefact", output: Path) -> None:
    from cli.database import writing
    from cli.finding import actor
    from cli.registry import check_folder, register_folder

    check_folder(output, artefact.arm)
    with writing(settings) as engine:
        register_folder(engine, output, actor())
