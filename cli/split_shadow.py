"""`abctl split shadow`."""

from typing import Annotated, Any

import typer

from cli.asked import Asked, with_asked
from cli.options import ReasonOption

Shape = dict[str, Any]


@with_asked
def shadow(
    asked: Asked,
    arm: Annotated[
        str | None, typer.Argument(help="Arm that decides on paper, beside the one that serves.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Shadow nothing any more.")] = False,
    require_quote: Annotated[
        bool, typer.Option("--require-quote", help="Refuse decisions that carry no quote (422).")
    ] = False,
    stake_usd: Annotated[
        float, typer.Option(help="Notional of a paper order: what your bots stake.")
    ] = 100.0,
    fee_rate: Annotated[float, typer.Option(help="Taker fee's rate where a quote tells none.")] = 0.07,
    margin_usd: Annotated[
        float, typer.Option(help="How far live may lie from paper a unit, before the evidence is void.")
    ] = 1.0,
    reason: ReasonOption = "",
) -> None:
    """Let an arm decide on paper on every decision that carries a quote, or show which one does.

    It has its own paper position; so has the arm that serves, and only paper is compared with paper.

    Example: abctl split shadow transformer
    """
    from cli.gateway import gateway
    from cli.terminal import note, print_json, say

    settings = asked.settings()
    _check(arm, off)
    terms = {"stake_usd": stake_usd, "fee_rate": fee_rate, "margin_usd": margin_usd}
    wanted = {"arm": arm, "reason": reason, **({} if off else {"required": require_quote, **terms})}
    with gateway(settings) as facts:
        key = settings.experiment
        told = facts.set_shadow(key, wanted) if off or arm else facts.shadow(key)
        where = facts.where
    for warning in told["warnings"]:
        note(f"(warning: {warning})")
    if asked.as_json:
        print_json(told)
    else:
        say(sentence(told["shadow"]))
    note(f"({where})")


def _check(arm: str | None, off: bool) -> None:
    from cli.failures import Refused

    if arm is not None and off:
        raise Refused("either an ARM or --off: both at once say two things")


def sentence(shadow: Shape | None) -> str:
    """What is shadowed, in a line."""
    if shadow is None:
        return "no arm is shadowed"
    quotes = "every decision must carry a quote" if shadow["required"] else "where a decision carries a quote"
    return (
        f"{shadow['arm']} decides on paper since {shadow['since']} (by {shadow['actor']}): {quotes},"
        f" {shadow['stake_usd']:g} USD an order"
    )
