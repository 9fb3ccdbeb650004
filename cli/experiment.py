"""`abctl experiment ...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import DataDirOption, JsonOption, UrlOption

if TYPE_CHECKING:
    from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Create and list experiments.")
KeyArgument = Annotated[str, typer.Argument(help="Key of the experiment.")]


@app.command()
def create(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="TOML file.")],
    data_dir: DataDirOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create an experiment from a file; one without decisions may be defined anew.

    Example: abctl experiment create experiment.toml
    """
    from cli.gateway import gateway
    from cli.terminal import note, print_json, say

    fields = _read_toml(file)
    with gateway(_settings(data_dir, url)) as facts:
        created = facts.put_experiment(fields)
    if as_json:
        print_json(created)
    else:
        arms = ", ".join(created["arms"])
        say(f"experiment {created['key']}: {arms}; control {created['control']} has all units")
        if created["gate"] != "sequential":
            say(_plan(created))
        if created["assignment"] == "switchback":
            say(_blocked(created))
        if created["mode"] == "bandit":
            say(_played(created))
        if created["pnl_margin_usd"]:
            say(_margin(created))
    for warning in created.get("warnings", ()):
        note(f"(warning: {warning})")


def _plan(created: dict[str, Any]) -> str:
    """Fixed from the first decision on."""
    looks = ", ".join(f"{100 * look:g}%" for look in created["looks"])
    until = "" if created["until"] is None else f", the last one by {created['until']}"
    kind = "at named looks" if created["gate"] == "planned" else "at named looks and in between"
    return f"promotion is judged {kind}: {looks} of {created['plan_units']:,} units{until}"


def _played(created: dict[str, Any]) -> str:
    floor, every = f"{100 * created['bandit_floor']:g}%", f"{created['bandit_interval_s']:,} s"
    return (
        f"shares follow the arms' chances to be the best, none below {floor}, at most every {every}, while"
        " `abctl bandit run` runs"
    )


def _blocked(created: dict[str, Any]) -> str:
    whose = "a family's block" if created["block_by"] == "family" else "a block of all"
    return (
        f"one coin for {whose} of {created['block_s']:,} s; units that start in its first"
        f" {created['burn_in_s']:,} s are left out"
    )


def _margin(created: dict[str, Any]) -> str:
    margin = f"{created['pnl_margin_usd']:g} USD"
    return f"net PnL may be up to {margin} a {created['unit_kind']} worse and still count as not worse"


def _read_toml(file: Path) -> dict[str, Any]:
    import tomllib

    from cli.failures import Refused

    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{file} is not TOML: {error}") from error


@app.command(name="list")
def list_(data_dir: DataDirOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """List experiments.

    Example: abctl experiment list
    """
    from cli.gateway import gateway
    from cli.terminal import Table, print_json
    from cli.terminal import show as show_table

    with gateway(_settings(data_dir, url)) as facts:
        found = facts.experiments()
    if as_json:
        print_json(found)
        return
    rows = [
        [
            e["key"],
            ", ".join(e["arms"]),
            e["control"],
            e["metric"],
            "archived" if e["archived_at_us"] else "open",
        ]
        for e in found
    ]
    show_table(Table("", ["experiment", "arms", "control", "metric", "state"], rows, left=5, wraps=(1,)))


@app.command()
def show(
    key: KeyArgument,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one experiment, as JSON with or without --json.

    Example: abctl experiment show main
    """
    from cli.failures import NotFound
    from cli.gateway import gateway
    from cli.terminal import print_json

    with gateway(_settings(data_dir, url)) as facts:
        found = [e for e in facts.experiments() if e["key"] == key]
    if not found:
        raise NotFound(f"there is no experiment {key!r}; `abctl experiment list` shows those that exist")
    print_json(found[0])


@app.command()
def archive(
    key: KeyArgument, data_dir: DataDirOption = None, url: UrlOption = None, as_json: JsonOption = False
) -> None:
    """Close an experiment: it takes no new decisions, its split and its numbers stay.

    Example: abctl experiment archive old-test
    """
    from cli.gateway import gateway
    from cli.terminal import print_json, say

    with gateway(_settings(data_dir, url)) as facts:
        facts.archive(key)
    if as_json:
        print_json({"experiment": key, "archived": True})
    else:
        say(f"experiment {key} is archived")


def _settings(data_dir: Path | None, url: str | None) -> "Settings":
    from cli.settings import read_settings

    return read_settings(data_dir=data_dir, url=url)
