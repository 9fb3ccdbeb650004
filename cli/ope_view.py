"""A screening on a terminal, from its JSON shape: what it is not comes first, then overlap, then values."""

from typing import Any

from cli.terminal import Table, paragraph, percent, say, show, signed_usd

Shape = dict[str, Any]
_NAMES = {"logged": "the log as it is", "ips": "IPS", "snips": "SNIPS", "dr": "doubly robust"}
_REWARDS = {"pnl_usd": ("Net PnL per {per}", signed_usd), "win": ("Wins per {per}", percent)}


def show_screening(found: Shape) -> None:
    """Status, overlap and a table a reward."""
    candidate, status = found["candidate"], found["status"].replace("_", " ")
    paragraph(f"{found['experiment']}: model {candidate['model'][:12]} off-policy: {status}", "bold")
    paragraph(found["evidence"]["sentence"])
    for line in (found["reason"], found["remedy"]):
        if line:
            paragraph(f"! {line}", "yellow")
    say("")
    show(_overlap(found))
    for name, (title, form) in _REWARDS.items():
        say("")
        rows = [
            [_NAMES[kind], *(form(value[n]) for n in ("low", "estimate", "high")), value["status"]]
            for kind, value in found["rewards"][name].items()
        ]
        head = f"{title.format(per=found['per'])}, {found['fill']} fills"
        show(Table(head, ["", "low", "estimate", "high", "status"], rows))
    say("")
    paragraph(f"Reward model of the doubly robust row: {found['reward_model']}.", "dim")
    for warning in found["warnings"]:
        paragraph(f"! {warning}", "yellow")


def _overlap(found: Shape) -> Table:
    overlap, log = found["overlap"], found["log"]
    mean = overlap["mean_weight"]
    rows: list[list[object]] = [
        ["units, decisions", f"{log['units']:,}, {log['decisions']:,}"],
        ["worth in effective " + f"{found['per']}s", f"{overlap['effective']:,.1f}"],
        [f"the same, weights cut at {overlap['cap']:g}", f"{overlap['effective_capped']:,.1f}"],
        ["largest weight", f"{overlap['largest']:,.3g}"],
        ["weights cut", f"{overlap['clipped']:,}"],
        ["mean weight (should be 1)", None if mean["estimate"] is None else f"{mean['estimate']:.3g}"],
        ["wanted, but not possible in the log", percent(overlap["unsupported"])],
        ["answered by the argmax", percent(log["argmax_share"])],
    ]
    return Table("How much of the log speaks about it", ["overlap", ""], rows)
