"""`abctl split ...`."""

import re
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from cli import split_shadow
from cli.asked import Asked, with_asked
from cli.options import ReasonOption, WaitOption

if TYPE_CHECKING:
    from cli.killing import Way

Shape = dict[str, Any]
app = typer.Typer(no_args_is_help=True, help="Show and change which share of units each arm gets.")
_SHARES_WIDTH = 26
_NEGATIVE = re.compile(r"-[0-9.][0-9.eE+-]*")
ShareArgument = Annotated[str, typer.Argument(help="Share of units, 0 to 1, a multiple of 0.000001.")]


@app.command()
@with_asked
def show(asked: Asked) -> None:
    """Show the newest split.

    Example: abctl split show
    """
    from cli.gateway import gateway
    from cli.split_shadow import sentence
    from cli.terminal import note, say

    settings = asked.settings()
    with gateway(settings) as facts:
        split = facts.split(settings.experiment)
        shadow = facts.shadow(settings.experiment)["shadow"]
        where = facts.where
    _print({**split, "shadow": shadow} if asked.as_json else split, asked.as_json)
    if shadow is not None and not asked.as_json:
        say(sentence(shadow))
    note(f"({where})")


class _ShareCommand(TyperCommand):
    """A negative number is a share, to be refused as one, and no option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.ignore_unknown_options = any(_NEGATIVE.fullmatch(word) for word in args)
        return super().parse_args(ctx, args)


@app.command(name="set", cls=_ShareCommand)
@with_asked
def set_(
    asked: Asked,
    arm: Annotated[str, typer.Argument(help="Arm that gets the share.")],
    share: ShareArgument,
    reason: ReasonOption = "",
    wait: WaitOption = True,
) -> None:
    """Give an arm a share; it trades with the control only. No unit that has its arm already is moved.

    A share that the arm has already makes no new version.

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
    show_table(Table(f"Split of {settings.experiment}", columns, rows, left=5, wraps=(3, 4)))


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
    way = kill_arm(settings, arm, reason)
    told = f"{arm} is killed in {settings.experiment} and serves nothing from 0.25 s after now"
    shape = _kill_shape(settings.experiment, arm, "killed", way)
    _told(f"{told}; lift it: abctl split lift {arm}", way.where, shape, asked.as_json)


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
    way = lift_arm(settings, arm, reason)
    again = f"{arm} may serve again in {settings.experiment}"
    never = f"{arm} was not killed in {settings.experiment}; other services are told all the same"
    shape = _kill_shape(settings.experiment, arm, "lifted", way)
    _told(again if way.is_new else never, way.where, shape, asked.as_json)


app.command()(split_shadow.shadow)


def _kill_shape(experiment: str, arm: str, state: str, way: "Way") -> Shape:
    return {"experiment": experiment, "arm": arm, "state": state, "changed": way.is_new}


def _told(sentence: str, where: str, shape: Shape, as_json: bool) -> None:
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
    """In one line where that is short, else a line an arm."""
    from cli.terminal import share_text

    parts = [f"{arm} {share_text(share)}" for arm, share in split["weights"].items()]
    line = "  ".join(parts)
    return line if len(line) <= _SHARES_WIDTH else "\n".join(parts)


def _announce(split: Shape, where: str) -> None:
    from cli.terminal import note, time_text

    note(f"({where})")
    if split.get("changed", True):
        note(f"(version {split['version']} is in force everywhere from {time_text(_effective_us(split))} on)")
    else:
        note(f"(version {split['version']} says so already: nothing is changed)")
    for warning in split.get("warnings", ()):
        note(f"(warning: {warning})")


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
