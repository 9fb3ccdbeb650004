"""How bandits are printed for people."""

from typing import Any

from cli.terminal import Table, paragraph, say, share_text, show

Shape = dict[str, Any]


def show_look(found: Shape) -> None:
    """One look."""
    paragraph(line_of(found))


def line_of(found: Shape) -> str:
    """One look in a line."""
    if "error" in found:
        return f"{found['experiment']}: could not look: {found['error']}"
    said = "moved" if found["action"] == "move" else "hold"
    return f"{found['experiment']}: {said}, {_shares(found['weights'])}: {found['reason']}"


def _shares(weights: dict[str, float]) -> str:
    return " ".join(f"{arm} {share_text(weights[arm])}" for arm in weights)


def show_status(found: Shape) -> None:
    """Arms, what is next, and what it has cost so far."""
    paragraph(f"Bandit of {found['experiment']}: {_shares(found['weights'])}", "bold")
    rows = [_row(found, arm) for arm in found["totals"]]
    columns = ["arm", "share", "wanted", "best", "units", "traded", "won", "PnL"]
    title = f"Mature units that could have come to any arm; best: the chance to be, by {found['metric']}"
    show(Table(title, columns, rows, left=1))
    paragraph(f"A look now: {_next(found)}")
    paragraph(found["regret"]["sentence"])
    say(f"floor {share_text(found['floor'])}, split version {found['split_version']}")


def _row(found: Shape, arm: str) -> list[Any]:
    total = found["totals"][arm]
    return [
        arm,
        share_text(found["weights"][arm]),
        share_text(found["wanted"][arm]),
        f"{100 * found['chances'][arm]:.1f}%",
        f"{total['units']:,}",
        f"{total['traded']:,}",
        f"{total['won']:,}",
        f"${total['pnl_micro'] / 1e6:,.2f}",
    ]


def _next(found: Shape) -> str:
    said = "would move" if found["action"] == "move" else "holds"
    due = f" (due {found['due']})" if found["cause"] == "not_due" else ""
    return f"{said}: {found['reason']}{due}"
