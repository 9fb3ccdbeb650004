"""`abctl split ...`."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import DataDirOption, ExperimentOption, JsonOption, ReasonOption, UrlOption

if TYPE_CHECKING:
    from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Show and change which share of units each arm gets.")
ShareArgument = Annotated[str, typer.Argument(help="Share of units, 0 to 1, a multiple of 0.000001.")]


@app.command()
def show(
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the split in force.

    Example: abctl split show
    """
    settings = _settings(experiment, data_dir, url)
    from cli.gateway import gateway
    from cli.report_view import say_where

    with gateway(settings) as facts:
        split = facts.split(settings.experiment)
        where = facts.where
    _print(split, as_json)
    say_where(where)


@app.command(name="set")
def set_(
    arm: Annotated[str, typer.Argument(help="Arm that gets the share.")],
    share: ShareArgument,
    reason: ReasonOption = "",
    wait: Annotated[bool, typer.Option(help="Wait until the change is in force everywhere.")] = True,
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give an arm a share; it trades with the control only. No unit that has its arm already is moved.

    Example: abctl split set transformer 0.1
    """
    settings = _settings(experiment, data_dir, url)
    from cli.gateway import gateway
    from cli.report_view import say_where

    with gateway(settings) as facts:
        split = facts.set_share(settings.experiment, arm, share, reason)
        where = facts.where
    _announce(split, wait, as_json)
    say_where(where)


@app.command()
def restore(
    version: Annotated[int, typer.Argument(help="Version to reinstate verbatim.")],
    reason: ReasonOption = "",
    wait: Annotated[bool, typer.Option(help="Wait until the change is in force everywhere.")] = True,
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reinstate an earlier version's table exactly, as a new version.

    Example: abctl split restore 1
    """
    settings = _settings(experiment, data_dir, url)
    from cli.gateway import gateway
    from cli.report_view import say_where

    with gateway(settings) as facts:
        split = facts.restore(settings.experiment, version, reason)
        where = facts.where
    _announce(split, wait, as_json)
    say_where(where)


@app.command()
def history(
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every version of the split: who, when and why.

    Example: abctl split history
    """
    settings = _settings(experiment, data_dir, url)
    from cli.gateway import gateway
    from cli.terminal import print_json, table, time_text

    with gateway(settings) as facts:
        splits = facts.split_history(settings.experiment)
    if as_json:
        print_json(splits)
        return
    rows = [
        [s["version"], time_text(_us(s["effective_at"])), _weights(s), s["actor"], s["reason"]]
        for s in splits
    ]
    table(f"Split of {settings.experiment}", ["v", "in force from", "shares", "by", "why"], rows, left=5)


@app.command()
def kill(
    arm: Annotated[str, typer.Argument(help="Arm that must not serve any more.")],
    reason: ReasonOption = "",
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
) -> None:
    """Stop an arm at once; the control answers instead. Needs neither Redis nor SQL; survives restarts until lifted.

    Example: abctl split kill transformer --reason "prices look wrong"
    """
    settings = _settings(experiment, data_dir, url)
    _change_kill(settings, arm, "killed", reason)
    typer.echo(
        f"{arm} is killed in {settings.experiment}: it serves nothing from 0.25 s after now; lift with: abctl split lift {arm}"
    )


@app.command()
def lift(
    arm: Annotated[str, typer.Argument(help="Arm that may serve again.")],
    reason: ReasonOption = "",
    experiment: ExperimentOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
) -> None:
    """Lift the kill of an arm.

    Example: abctl split lift transformer
    """
    settings = _settings(experiment, data_dir, url)
    _change_kill(settings, arm, "lifted", reason)
    typer.echo(f"{arm} may serve again in {settings.experiment}")


def _change_kill(settings: "Settings", arm: str, state: str, reason: str) -> None:
    """Through the service where one is known; else by the KILL file alone, which every worker polls."""
    from cli.finding import actor, call, service_url
    from router import kills
    from store.clock import wall_clock_us

    url = service_url(settings)
    if url is not None:
        body = {"arm": arm, "state": state, "reason": reason}
        call(settings, url, "PUT", f"/v1/experiments/{settings.experiment}/kill", body)
        return
    root = settings.place.prepare().root
    if state == "killed":
        kills.add_kill(root, kills.Kill(settings.experiment, arm, wall_clock_us(), actor(), reason))
    else:
        kills.lift_kill(root, settings.experiment, arm)


def _settings(experiment: str | None, data_dir: object, url: str | None) -> "Settings":
    from cli.settings import read_settings

    return read_settings(experiment=experiment, data_dir=data_dir, url=url)


def _us(value: Any) -> int:
    """effective_at of a split shape, in microseconds."""
    from router.starts import parse_rfc3339_us

    us = parse_rfc3339_us(value) if isinstance(value, str) else int(value)
    return us or 0


def _weights(split: dict[str, Any]) -> str:
    from cli.terminal import share_text

    return "  ".join(f"{arm} {share_text(share)}" for arm, share in split["weights"].items())


def _announce(split: dict[str, Any], wait: bool, as_json: bool) -> None:
    from cli.terminal import note, time_text

    effective_us = _us(split["effective_at"])
    if not as_json:
        note(f"version {split['version']} is in force everywhere from {time_text(effective_us)} on")
    remaining_s = effective_us / 1e6 - time.time()
    if wait and remaining_s > 0:
        time.sleep(remaining_s)
    _print(split, as_json)


def _print(split: dict[str, Any], as_json: bool) -> None:
    from cli.terminal import print_json, share_text, table, time_text

    if as_json:
        print_json(split)
        return
    rows = [[arm, share_text(share)] for arm, share in split["weights"].items()]
    from_text = time_text(_us(split["effective_at"]))
    table(
        f"Split of {split['experiment']}, version {split['version']}, from {from_text}",
        ["arm", "share"],
        rows,
    )
