"""`abctl aa`."""

from typing import Annotated, Literal

import typer

from cli.options import DataDirOption, ExperimentOption, JsonOption


def aa(
    runs: Annotated[int, typer.Option(min=100, max=100_000, help="How often arms are dealt anew.")] = 2_000,
    metric: Annotated[
        Literal["win_rate", "profit_rate", "pnl"] | None,
        typer.Option(help="What is compared. [default: the experiment's metric]"),
    ] = None,
    lift: Annotated[
        float | None,
        typer.Option(help="Planted difference to find. [default: 0.05 of a rate, 0.1 sd of PnL]"),
    ] = None,
    looks: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Look so often. [default: daily, or 20 times below 10 days]"),
    ] = None,
    fill: Annotated[
        Literal["live", "paper", "replay"] | None,
        typer.Option("--fill", help="Fills to judge. [default: those of the first mature unit]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the deals.")] = 1,
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove on your own log how often each method would find a difference that is not there.

    Deals the arms of the mature units anew among those that had the same coin, looks daily, and counts who
    calls a difference: a naive z over trades, a z with unit-level errors, and the sequence that
    `abctl report` decides by. Then the same with a difference planted.

    Exit codes: 0 done, whatever was found; 4 no database or experiment.

    Example: abctl aa --runs 2000
    """
    import numpy as np

    from cli.aa_view import show_proof
    from cli.database import reading
    from cli.failures import Refused
    from cli.long_work import Progress
    from cli.settings import read_settings
    from cli.terminal import print_json
    from router.aa import Proof, proved
    from store.clock import wall_clock_us
    from store.snapshot import snapshot

    settings, progress = read_settings(experiment=experiment, data_dir=data_dir), Progress()
    proof = Proof(key=settings.experiment, deals=runs, metric=metric, fill=fill, lift=lift, looks=looks)
    with reading(settings) as connection, snapshot(connection):
        try:
            found = proved(
                connection,
                proof,
                wall_clock_us(),
                np.random.default_rng(seed),
                lambda deals: progress.say(f"{deals:,} of {runs:,} deals"),
            )
        except ValueError as error:
            raise Refused(str(error)) from error
    (print_json if as_json else show_proof)(found | {"seed": seed})
