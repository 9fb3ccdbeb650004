"""How rollouts are printed for people."""

from typing import Any

from cli.terminal import Table, minute_text, paragraph, say, share_text, show

Shape = dict[str, Any]
_WORDS = {
    "hold": "hold",
    "advance": "to the next stage",
    "promote": "promoted",
    "rollback": "rolled back",
    "await_approval": "waits for approval",
    "paused": "paused",
    "done": "over",
}


def show_look(found: Shape) -> None:
    """One look."""
    paragraph(line_of(found))


def line_of(found: Shape) -> str:
    """One look in a line."""
    if "error" in found:
        return f"{found['experiment']}: could not look: {found['error']}"
    said = _WORDS[found["action"]]
    return f"{found['experiment']}: {said}, treatment at {share_text(found['share'])}: {found['reason']}"


def show_status(found: Shape) -> None:
    """Where it stands, and what it waits for."""
    title = f"Rollout {found['rollout']} of {found['experiment']}: {found['treatment']} at "
    paragraph(f"{title}{share_text(found['share'])}, {_place(found)}", "bold")
    verdict = found["verdict"]
    paragraph(f"{_WORDS[verdict['action']]}: {verdict['reason']}")
    if not found["ended"]:
        paragraph(_watch_words(found["watch"]))
    if found["evidence"] is not None:
        _show_evidence(found["evidence"])
    say(f"plan {found['plan_digest']}, split version {found['split_version']}")


def _place(found: Shape) -> str:
    if found["ended"]:
        return f"over ({found['ended'].replace('_', ' ')})"
    if found["promoted"]:
        return "promoted"
    if found["days_in_stage"] is None:
        return "before its first stage"
    paused = ", paused" if found["paused"] else ""
    return f"stage {found['stage']} of {found['stages']}, {found['days_in_stage']:.1f} days old{paused}"


def _watch_words(watch: Shape) -> str:
    """Whether somebody looks, or what to do where nobody does."""
    last = f"last look {_age_text(watch['age_s'])} ago by {watch['by']}" if watch["by"] else "never looked at"
    if watch["is_late"]:
        return f"NOBODY LOOKS ({last}): start abctl serve, or abctl rollout run"
    return f"{last}, one every {watch['every_s']:g} s" if watch["every_s"] else last


def _age_text(seconds: float) -> str:
    """Seconds, minutes or hours, whole ones."""
    spans = ((7200, 3600, "h"), (120, 60, "min"), (0, 1, "s"))
    return next(f"{seconds / size:.0f} {unit}" for least, size, unit in spans if seconds >= least)


def _show_evidence(seen: Shape) -> None:
    bounds = [
        [
            name,
            seen[name]["status"],
            *(_number(seen[name][bound]) for bound in ("estimate", "low", "high")),
        ]
        for name in ("primary", "money", "shadow")
        if name in seen
    ]
    title = "Treatment minus control since the start; promotion needs at least, rollback at most"
    show(Table(title, ["", "status", "estimate", "at least", "at most"], bounds, left=2))


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:+.4g}"


def show_history(found: list[Shape]) -> None:
    """Every line."""
    rows = [
        [
            line["seq"],
            minute_text(line["at_us"]),
            line["kind"].replace("_", " ") if line["kind"] != "verdict" else _WORDS[line["action"]],
            share_text(line["share"]),
            line["split_version"],
            line["actor"],
            line["reason"] or None,
        ]
        for line in found
    ]
    columns = ["#", "when", "what", "share", "split", "by", "why"]
    show(Table("", columns, rows, left=7, wraps=(2, 5, 6)))


def _sameness(line: Shape) -> str:
    if not line["same"]:
        return "DIFFERS"
    return "pruned: only its verdict is compared" if line["pruned"] else "same"


def show_verified(found: list[Shape]) -> None:
    """Digests side by side."""
    rows = [[line["seq"], line["written"][:12], line["now"][:12] or None, _sameness(line)] for line in found]
    show(
        Table(
            "Evidence as it was written down, and as SQL tells it now",
            ["#", "written", "now", ""],
            rows,
            left=4,
        )
    )
