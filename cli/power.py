"""`abctl power`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.options import DataDirOption, ExperimentOption, JsonOption

if TYPE_CHECKING:
    from pathlib import Path

    from router.past import Past
    from stats.planning import Question, Sequential

Shape = dict[str, Any]
SCHEMA = "abctl.power/1"


def power(
    lift: Annotated[
        float, typer.Option(help="The change of the rate that should be seen: 0.05 is 5 points.")
    ],
    baseline: Annotated[float | None, typer.Option(help="The control's win rate, inside (0, 1).")] = None,
    units_per_day: Annotated[float | None, typer.Option(help="Units a day, both arms together.")] = None,
    share: Annotated[
        float | None, typer.Option(help="The treatment's share of units, inside (0, 1).")
    ] = None,
    from_history: Annotated[
        bool, typer.Option("--from-history", help="Take what is not given from the experiment's own report.")
    ] = False,
    per: Annotated[
        Literal["unit", "trade"], typer.Option(help="From history: units won, or trades won within units.")
    ] = "unit",
    alpha: Annotated[
        float | None, typer.Option(help="Two-sided error rate. [default: from history, or 0.05]")
    ] = None,
    wanted: Annotated[float, typer.Option("--power", help="Chance to see the lift.")] = 0.8,
    trials_per_unit: Annotated[
        float | None, typer.Option(help="Mean decisions that a unit's rate is over. [default: 1]")
    ] = None,
    icc: Annotated[
        float | None, typer.Option(help="Correlation of a unit's decisions, 0 to 1. [default: 0]")
    ] = None,
    cv: Annotated[
        float | None, typer.Option(help="Coefficient of variation of decisions a unit. [default: 0]")
    ] = None,
    correlation: Annotated[
        float | None, typer.Option(help="Of both arms' rates on one unit: needed for the shadow design.")
    ] = None,
    simulate: Annotated[
        int, typer.Option(min=0, max=100_000, help="Also draw so many experiments of each design and count.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn experiments.")] = 1,
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how many units and days it takes to see a lift, by three designs.

    One planned look; the sequence that `abctl report` decides by, looked at daily; both arms on every unit
    (paired shadows), one look.

    Example: abctl power --baseline 0.55 --lift 0.05 --share 0.1 --units-per-day 384
    """
    from dataclasses import asdict

    from cli.power_view import show_power
    from cli.terminal import print_json
    from stats import planning

    given = {
        "baseline": baseline,
        "units_per_day": units_per_day,
        "share": share,
        "trials_per_unit": trials_per_unit,
        "icc": icc,
        "cv": cv,
    }
    lacking = {name for name, value in given.items() if value is None}
    past, design = _past(per, lacking, experiment, data_dir) if from_history else (None, {"alpha": _ALPHA})
    asked = {"lift": lift, "power": wanted, "correlation": correlation, **design}
    question = _question(_completed(given, past), asked if alpha is None else asked | {"alpha": alpha})
    paired, ours = planning.shadow(question), planning.sequential(question)
    found: Shape = {
        "schema": SCHEMA,
        "question": asdict(question),
        "history": None if past is None else past.sentence,
        "design_effect": question.design_effect,
        "fixed": asdict(planning.fixed(question)),
        "sequential": asdict(ours),
        "shadow": None if paired is None else asdict(paired),
        "simulated": _simulated(question, ours, simulate, seed) if simulate else None,
    }
    (print_json if as_json else show_power)(found)


_ALPHA = 0.05
_USUAL = {"share": 0.5, "trials_per_unit": 1.0, "icc": 0.0, "cv": 0.0}


def _past(
    per: Literal["unit", "trade"], lacking: set[str], experiment: str | None, data_dir: "Path | None"
) -> "tuple[Past, Shape]":
    """And what the experiment's sequence is made for."""
    from cli.database import existing
    from cli.failures import Refused
    from cli.settings import read_settings
    from router import question, report
    from router.errors import NoPast
    from router.past import past_of
    from store import experiments
    from store.clock import wall_clock_us

    settings = read_settings(experiment=experiment, data_dir=data_dir)
    with existing(settings) as engine:
        asked = question.Question(key=settings.experiment)
        told = report.report_of(engine, asked, wall_clock_us())
        with engine.connect() as connection:
            planned = experiments.get(connection, settings.experiment)
    try:
        past = past_of(told, per, lacking)
    except NoPast as error:
        raise Refused(str(error)) from error
    return past, {"alpha": planned.alpha, "plan_units": planned.plan_units}


def _completed(given: dict[str, float | None], past: "Past | None") -> dict[str, float]:
    """What was given; else what history says; else what is usual, where anything is."""
    known = {name: _USUAL.get(name) if past is None else past.known.get(name) for name in given}
    whole = {name: known[name] if value is None else value for name, value in given.items()}
    lacking = [f"--{name.replace('_', '-')}" for name, value in whole.items() if value is None]
    if lacking:
        raise typer.BadParameter(f"{' and '.join(lacking)} missing: give them, or --from-history")
    return {name: value for name, value in whole.items() if value is not None}


def _question(given: Mapping[str, Any], asked: Mapping[str, Any]) -> "Question":
    from cli.failures import Refused
    from stats.errors import DesignError
    from stats.planning import Question

    try:
        return Question(**given, **asked)
    except DesignError as error:
        raise Refused(str(error)) from error


def _simulated(question: "Question", plan: "Sequential", runs: int, seed: int) -> Shape:
    from dataclasses import asdict

    import numpy as np

    from cli.failures import Refused
    from stats.errors import DesignError
    from stats.planning_runs import simulated

    try:
        return asdict(simulated(question, plan, runs, np.random.default_rng(seed))) | {"seed": seed}
    except DesignError as error:
        raise Refused(str(error)) from error
