"""`abctl model evaluate`, `compare` and `attention`: what a model is worth, and what it looks at."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DataDirOption, ExperimentOption, JsonOption

if TYPE_CHECKING:
    from cli.exam import Exam

TEST_FOLDER = Path("data/test")
"""Where the guide to the arms keeps what is held out."""
ModelOption = Annotated[str, typer.Option(help="Folder of an artefact, or the beginning of a registered id.")]
TestDataOption = Annotated[
    Path | None, typer.Option("--test-data", help="Recording that the models never saw.")
]
TestWorldOption = Annotated[
    str | None,
    typer.Option("--world", help="Or a simulated world: decoy-fast, decoy, noise-fast, noise, realistic."),
]
TestMarketsOption = Annotated[int, typer.Option("--markets", min=2, max=100_000, help="Of the world.")]
TestSeedOption = Annotated[int, typer.Option("--seed", min=0, max=1000, help="Of the world's markets.")]


def evaluate(
    model: ModelOption,
    test_data: TestDataOption = None,
    compare_with: Annotated[str | None, typer.Option(help="Another model to stand beside it.")] = None,
    world: TestWorldOption = None,
    markets: TestMarketsOption = 400,
    seed: TestSeedOption = 500,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a model on whole markets that it never saw: fills, fees and latency as in trading.

    Beside it stand holding, chance, momentum and mean reversion, on the same markets. Markets that the model
    was made from are refused. Intervals are clustered by window: markets that end together are one.

    Example: abctl model evaluate --model models/base --world decoy-fast
    """
    from cli.settings import read_settings

    exam = _exam(test_data, None, world, markets, seed)
    from cli.evaluating import evaluated

    evaluated(read_settings(data_dir=data_dir), model, compare_with, exam, as_json)


def compare(
    base_model: ModelOption,
    transformer_model: ModelOption,
    test_data: TestDataOption = None,
    test_days: Annotated[
        int | None,
        typer.Option(min=1, max=3650, help=f"Only a recording's last days; of {TEST_FOLDER} unless named."),
    ] = None,
    world: TestWorldOption = None,
    markets: TestMarketsOption = 400,
    seed: TestSeedOption = 500,
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots to this file.")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let both models play the same markets, and say what the difference is: paired, by window.

    Example: abctl model compare --base-model models/base --transformer-model models/t --world decoy-fast
    """
    from cli.settings import read_settings

    if test_days is not None and world is not None:
        raise typer.BadParameter("--test-days counts days of a recording: leave --world out")
    if test_days is not None and test_data is None:
        test_data = TEST_FOLDER
    exam = _exam(test_data, test_days, world, markets, seed)
    from cli.comparing import compared

    compared(read_settings(data_dir=data_dir), (base_model, transformer_model), exam, html, as_json)


def _exam(data: Path | None, days: int | None, world: str | None, markets: int, seed: int) -> "Exam":
    """A recording or a world: one of them."""
    if (data is None) == (world is None):
        raise typer.BadParameter("say what to play: --test-data DIR or --world NAME, one of them")
    from cli.exam import recorded_exam, simulated_exam

    return recorded_exam(data, days) if data is not None else simulated_exam(str(world), markets, seed)


def attention(
    decision: Annotated[str | None, typer.Option(help="Id of a logged decision.")] = None,
    world: Annotated[
        str | None,
        typer.Option(help="Or a simulated world: decoy-fast, decoy, noise-fast, noise, realistic."),
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Or the transformer that ships, in world decoy-fast.")
    ] = False,
    market: Annotated[int, typer.Option(min=0, help="Number of the world's market.")] = 0,
    tick: Annotated[int, typer.Option(min=0, help="Tick of that market, from 0.")] = 60,
    model: Annotated[
        str | None, typer.Option(help="Folder or id of a model. [default: the one that answered]")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with the heatmap to this file.")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Also write the heatmap to this file.")] = None,
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where a transformer looked, and what each tick was worth to its choice.

    Weights are those of the newest tick, by layer; beside them stands occlusion: what the chosen action's
    probability loses where a tick's state is put to 0. A logged decision is made again from the log.

    Example: abctl model attention --world decoy-fast --model models/transformer --html attention.html
    """
    from cli.settings import read_settings

    settings = read_settings(data_dir=data_dir, experiment=experiment)
    if (decision is not None) + (world is not None) + sample != 1:
        raise typer.BadParameter("say what to look at: --decision ID, --world NAME or --sample, one of them")
    if world is not None and model is None:
        raise typer.BadParameter("--world needs --model FOLDER or ID")
    from cli.attending import attended, logged, simulated
    from cli.exam import candidate
    from cli.starters import starters_folder

    if decision is not None:
        with logged(settings, decision, model) as (who, subject):
            attended(who, subject, (html, png), as_json)
        return
    with candidate(model or str(starters_folder() / "transformer"), settings) as who:
        attended(who, simulated(world or "decoy-fast", market, tick), (html, png), as_json)
