"""`abctl ope`."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.options import DataDirOption, ExperimentOption, JsonOption

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from router.candidate import Candidate

Shape = dict[str, Any]


def ope(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Id of a registered model, or its beginning.")
    ] = None,
    arm: Annotated[str | None, typer.Option("--arm", help="Or an arm: its champion is screened.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Units that matured in so many days. [default: all]")
    ] = None,
    cap: Annotated[float, typer.Option(min=1e-6, max=1e9, help="Weights are cut here.")] = 10.0,
    per_decision: Annotated[
        bool, typer.Option("--per-decision", help="Weigh each decision alone: screening only.")
    ] = False,
    action_rule: Annotated[
        Literal["argmax", "sample"] | None,
        typer.Option(help="How the candidate would act. [default: as the experiment's arms do]"),
    ] = None,
    fill: Annotated[
        Literal["live", "paper", "replay"] | None,
        typer.Option("--fill", help="Fills to judge. [default: those of the first mature unit]"),
    ] = None,
    logged_by: Annotated[
        str | None, typer.Option("--logged-by", help="Only units of this arm. [default: all]")
    ] = None,
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Screen a model off-policy: what would it have earned on the log, and can the log say so?

    Asks the model about every logged decision of the mature units, weighs what came of them by how likely
    the model was to do the same, and says how much of the log speaks about it: IPS, SNIPS and doubly robust,
    per unit, with intervals by unit. Overlap comes first: where the log never did what the model does there
    is no number. For a first look before a share is risked; never evidence for a promotion.

    Exit codes: 0 done, whatever was found; 3 the model cannot answer; 4 no database, experiment or model.

    Example: abctl ope --model 0f3a9c12 --days 30
    """
    if (model is None) == (arm is None):
        raise typer.BadParameter("name what to screen: --model ID or --arm NAME, one of them")
    from cli.database import existing
    from cli.long_work import Progress
    from cli.ope_view import show_screening
    from cli.settings import read_settings
    from cli.terminal import print_json
    from router.logged_units import Which
    from router.off_policy import Screen, screened
    from store.clock import wall_clock_us
    from store.snapshot import snapshot

    settings = read_settings(experiment=experiment, data_dir=data_dir)
    per: Literal["unit", "decision"] = "decision" if per_decision else "unit"
    which = Which(fill, days, logged_by)
    screen = Screen(key=settings.experiment, which=which, cap=cap, per=per)
    progress = Progress()
    with existing(settings) as engine:
        candidate = _candidate(engine, screen.key, model, arm, action_rule)
        with engine.connect() as connection, snapshot(connection):
            found = screened(
                connection,
                screen,
                candidate,
                wall_clock_us(),
                lambda units: progress.say(f"{units:,} units weighed"),
            )
    (print_json if as_json else show_screening)(found)


def _candidate(
    engine: "Engine",
    key: str,
    model: str | None,
    arm: str | None,
    rule: Literal["argmax", "sample"] | None,
) -> "Candidate":
    import tempfile
    from pathlib import Path

    from arms.artefact import read_artefact
    from arms.protocol import loader_of
    from arms.schema import MARKET_V1
    from router.candidate import Candidate
    from store import experiments, models

    with engine.connect() as connection:
        acts = rule or experiments.get(connection, key).action_rule
        found = models.find(connection, model).id if model is not None else _champion(connection, arm)
    with tempfile.TemporaryDirectory() as folder:
        artefact = read_artefact(models.materialise(engine, found, Path(folder)))
        return Candidate(loader_of(artefact.kind)(artefact, MARKET_V1), MARKET_V1, acts)


def _champion(connection: Any, arm: str | None) -> str:
    from cli.failures import NotFound
    from store import models

    champions = models.champions(connection)
    if arm not in champions:
        known = ", ".join(sorted(champions)) or "none yet"
        raise NotFound(f"arm {arm!r} serves no model (those that do: {known}): name one with --model")
    return champions[arm]
