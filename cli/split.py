"""`abctl split ...`."""

import time
from typing import Annotated, Any

import typer

from cli.asked import Asked, with_asked
from cli.options import ReasonOption, WaitOption

Shape = dict[str, Any]
app = typer.Typer(no_args_is_help=True, help="Show and change which share of units each arm gets.")
ShareArgument = Annotated[str, typer.Argument(help="Share of units, 0 to 1, a multiple of 0.000001.")]


@app.command()
@with_asked
def show(asked: Asked) -> None:
    """Show the newest split.

    Example: abctl split show
    """
    from cli.gateway import gateway
    from cli.terminal import note

    settings = asked.settings()
    with gateway(settings) as facts:
        split = facts.split(settings.experiment)
        where = facts.where
    _print(split, asked.as_json)
    note(f"({where})")


@app.command(name="set")
@with_asked
def set_(
    asked: Asked,
    arm: Annotated[str, typer.Argument(help="Arm that gets the share.")],
    share: ShareArgument,
    reason: ReasonOption = "",
    wait: WaitOption = True,
) -> None:
    """Give an arm a share; it trades with the control only. No unit that has its arm already is moved.

    Example: abctl split set transformer 0.1
    """
    from cli.gateway import gateway
    from router.splits import share_millionths

    settings = asked.settings()
    share_millionths(share)
    with gateway(settings) as facts:
        split = facts.set_share(settings.experiment, arm, share, reason)
        where = facts.where
    _announce(split, where)
    if wait:
        _wait_for(split)
    _print(split, asked.as_json)


@app.command()
@with_asked
def restore(
    asked: Asked,
    version: Annotated[int, typer.Argument(help="Version to reinstate verbatim.")],
    reason: ReasonOption = "",
    wait: WaitOption = True,
) -> None:
    """Reinstate an earlier version's table exactly, as a new version.

    Example: abctl split restore 1
    """
    from cli.gateway import gateway

    settings = asked.settings()
    with gateway(settings) as facts:
        split = facts.restore(settings.experiment, version, reason)
        where = facts.where
    _announce(split, where)
    if wait:
        _wait_for(split)
    _print(split, asked.as_json)


@app.command()
@with_asked
def history(asked: Asked) -> None:
    """Show every version of the split: who, when and why.

    Example: abctl split history
    """
    from cli.gateway import gateway
    from cli.terminal import Table, print_json, time_text
    from cli.terminal import show as show_table

    settings = asked.settings()
    with gateway(settings) as facts:
        splits = facts.split_history(settings.experiment)
    if asked.as_json:
        print_json(splits)
        return
    rows = [
        [s["version"], time_text(_effective_us(s)), _weights(s), s["actor"], s["reason"] or None]
        for s in splits
    ]
    columns = ["v", "in force from", "shares", "by", "why"]
    show_table(Table(f"Split of {settings.experiment}", columns, rows, left=5, wraps=4))


@app.command()
@with_asked
def kill(
    asked: Asked,
    arm: Annotated[str, typer.Argument(help="Arm that must not serve any more.")],
    reason: ReasonOption = "",
) -> None:
    """Stop an arm at once; the control answers instead, also after restarts, until it is lifted.

    Needs neither Redis nor SQL.

    Example: abctl split kill transformer --reason "prices look wrong"
    """
    from cli.killing import kill_arm

    settings = asked.settings()
    where = kill_arm(settings, arm, reason)
    told = f"{arm} is killed in {settings.experiment} and serves nothing from 0.25 s after now"
    shape = _kill_shape(settings.experiment, arm, "killed")
    _told(f"{told}; lift it: abctl split lift {arm}", where, shape, asked.as_json)


@app.command()
@with_asked
def lift(
    asked: Asked,
    arm: Annotated[str, typer.Argument(help="Arm that may serve again.")],
    reason: ReasonOption = "",
) -> None:
    """Lift the kill of an arm.

    Example: abctl split lift transformer
    """
    from cli.killing import lift_arm

    settings = asked.settings()
    where = lift_arm(settings, arm, reason)
    shape = _kill_shape(settings.experiment, arm, "lifted")
    _told(f"{arm} may serve again in {settings.experiment}", where, shape, asked.as_json)


def _kill_shape(experiment: str, arm: str, state: str) -> dict[str, str]:
    return {"experiment": experiment, "arm": arm, "state": state}


def _told(sentence: str, where: str, shape: dict[str, str], as_json: bool) -> None:
    from cli.terminal import note, print_json, say

    if as_json:
        print_json(shape)
    else:
        say(sentence)
    note(f"({where})")


def _effective_us(split: Shape) -> int:
    from datetime import datetime

    return round(datetime.fromisoformat(split["effective_at"]).timestamp() * 1e6)


def _weights(split: Shape) -> str:
    from cli.terminal import share_text

    return "  ".join(f"{arm} {share_text(share)}" for arm, share in split["weights"].items())


def _announce(split: Shape, where: str) -> None:
    from cli.terminal import note, time_text

    at = time_text(_effective_us(split))
    note(f"({where})")
    note(f"(version {split['version']} is in force everywhere from {at} on)")


def _wait_for(split: Shape) -> None:
    time.sleep(max(0.0, _effective_us(split) / 1e6 - time.time()))


def _print(split: Shape, as_json: bool) -> None:
    from cli.terminal import Table, print_json, share_text, time_text
    from cli.terminal import show as show_table

    if as_json:
        print_json(split)
        return
    title = f"Split of {split['experiment']}, version {split['version']}, from"
    rows = [[arm, share_text(share)] for arm, share in split["weights"].items()]
    show_table(Table(f"{title} {time_text(_effective_us(split))}", ["arm", "share"], rows))
