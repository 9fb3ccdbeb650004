"""`abctl rollout plan ...`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DataDirOption, ExperimentOption, JsonOption

app = typer.Typer(help="Print a plan to begin from, or check one.")


@app.callback(invoke_without_command=True)
def plan(
    context: typer.Context,
    template: Annotated[
        str, typer.Option(help="Which one: default, by-window, guide-1-week, shadow-first.")
    ] = "default",
    as_json: JsonOption = False,
) -> None:
    """Print a plan to begin from, as TOML with its reasons. `plan check` says what a plan can do.

    Example: abctl rollout plan --template default
    """
    if context.invoked_subcommand is None:
        _print(template, as_json)


def _print(template: str, as_json: bool) -> None:
    import msgspec

    from cli.terminal import print_json, say
    from router import rollout_templates, rollout_toml

    text = rollout_templates.template(template)
    if as_json:
        print_json(msgspec.to_builtins(rollout_toml.plan_of(text)))
    else:
        say(text.removesuffix("\n"))


def text_of(file: Path) -> str:
    """A plan file's text."""
    from cli.failures import Refused

    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{file} is not TOML: {error}; save it as UTF-8") from error


@app.command()
def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Plan, a TOML file.")],
    baseline: Annotated[float | None, typer.Option(help="The control's rate, inside (0, 1).")] = None,
    units_per_day: Annotated[float | None, typer.Option(help="Units a day, both arms together.")] = None,
    pnl_sd: Annotated[float | None, typer.Option(help="Standard deviation of a unit's net PnL, USD.")] = None,
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a plan, and say what it can do: levels, chances, days, and what happens without evidence.

    What is not given comes from the experiment's own past, else it is assumed, and said to be.

    Example: abctl rollout plan check plan.toml --units-per-day 384 --pnl-sd 0.4
    """
    from cli.rollout_outlook import known_of, show_outlook
    from cli.terminal import print_json
    from router.rollout_outlook import outlook
    from router.rollout_toml import plan_of

    plan = plan_of(text_of(file))
    given = {"baseline": baseline, "units_per_day": units_per_day, "pnl_sd_usd": pnl_sd}
    known, plan_units = known_of(given, experiment, data_dir)
    found = outlook(plan, known, plan_units)
    (print_json if as_json else show_outlook)(found)
