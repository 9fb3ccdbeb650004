"""An A/A proof on a terminal, from its JSON shape."""

from typing import Any

from cli.terminal import Table, paragraph, percent, show, signed_usd

Shape = dict[str, Any]
_NAMES = {
    "naive": "naive z over trades",
    "clustered": "z with unit-level errors",
    "ours": "abctl report",
}


def show_proof(found: Shape) -> None:
    """One sentence, then a row a method."""
    if found["status"] != "ok":
        paragraph(f"{found['experiment']}: cannot say: {found['reason']}.", "bold")
        return
    rates = found["no_difference"]
    paragraph(
        f"{found['experiment']}: on its own {found['units']:,} units, their arms dealt anew"
        f" {found['deals']:,} times so that nothing differs, `abctl report` found a difference"
        f" in {_said(rates['ours']['ever'])};"
        f" {percent(found['alpha'])} is promised. A naive z over trades found one in"
        f" {_said(rates['naive']['ever'])}.",
        "bold",
    )
    columns = ["method", "at any look", "95%", "at the last", "finds it by then"]
    rows: list[list[object]] = [_row(found, method) for method in _NAMES]
    show(Table("", columns, rows))
    planted = found["lift"]
    money = found["metric"] == "pnl"
    said = signed_usd(planted) if money else f"{100 * planted:+.3g} points"
    paragraph(
        f"Looked {found['looked']} ({found['looks']} looks), seed {found['seed']}. Finds it by then: a"
        f" difference of {said} was planted in the treated units, and found at some look. A method that"
        " alarms without a reason finds everything.",
        "dim",
    )


def _said(rate: Shape) -> str:
    return f"{percent(rate['share'])} ({percent(rate['low'])} to {percent(rate['high'])})"


def _row(found: Shape, method: str) -> list[object]:
    rate, power = found["no_difference"][method], found["planted"][method]
    power_said = "-" if method == "naive" else percent(power["ever"]["share"])
    ever = rate["ever"]
    spread = f"{percent(ever['low'])}-{percent(ever['high'])}"
    return [_NAMES[method], percent(ever["share"]), spread, percent(rate["last"]["share"]), power_said]
