"""What a plan can do, on a terminal, and the past that it starts from."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.terminal import Table, paragraph, percent, share_text, show, usd

if TYPE_CHECKING:
    from router.rollout_outlook import Known

Shape = dict[str, Any]
PLAN_UNITS = 2000
_SOURCES = {
    "given": "given",
    "history": "from the experiment's past",
    "assumed": "ASSUMED",
    "unknown": "not known",
}


def known_of(
    given: Mapping[str, float | None], experiment: str | None, data_dir: Path | None
) -> "tuple[dict[str, Known], int]":
    """What was given, else what the past says, else what is assumed; and what the bounds are tuned for."""
    from router.rollout_outlook import ASSUMED, Known

    past, plan_units = _past(experiment, data_dir)
    found = {}
    for name, value in given.items():
        if value is not None:
            found[name] = Known(value, "given")
        elif past.get(name) is not None:
            found[name] = Known(past[name], "history")
        else:
            usual = ASSUMED[name]
            found[name] = Known(usual, "unknown" if usual is None else "assumed")
    return found, plan_units


def _past(experiment: str | None, data_dir: Path | None) -> tuple[dict[str, float | None], int]:
    from cli.database import found
    from cli.settings import read_settings
    from router import question, report
    from store import experiments
    from store.clock import wall_clock_us

    settings = read_settings(experiment=experiment, data_dir=data_dir)
    with found(settings) as engine:
        if engine is None:
            return {}, PLAN_UNITS
        with engine.connect() as connection:
            plan_units = experiments.get(connection, settings.experiment).plan_units
        told = report.report_of(engine, question.Question(key=settings.experiment), wall_clock_us())
    return _told(told), plan_units


def _told(report: Shape) -> dict[str, float | None]:
    from router.errors import NoPast
    from router.past import past_of

    found: dict[str, float | None] = {"pnl_sd_usd": report["history"]["pnl_sd_usd"]}
    for name in ("baseline", "units_per_day"):
        try:
            found[name] = past_of(report, "unit", {name}).known[name]
        except NoPast:
            found[name] = None
    return found


def show_outlook(found: Shape) -> None:
    """The sentence that matters first, then where alpha goes, the stages, and what all of it starts from."""
    paragraph(_first(found), "bold")
    paragraph(_money(found))
    paragraph(_end(found))
    show(_ledger(found))
    paragraph(_guardrails(found))
    show(_stages(found))
    for line in _notes(found):
        paragraph(line, "dim")


def _first(found: Shape) -> str:
    told = found["promotion"]
    if told is None:
        return "What this plan can find cannot be said without --pnl-sd."
    if told["smallest_effect"] is None:
        return "At this pace a stage cannot get its units before its time is over: this plan never promotes."
    when = _when(told)
    return (
        f"Finds {_amount(told['effect'])} with a chance of {_chance(told['chance'])}{when}, and promotes an"
        f" equal arm with {percent(told['chance_if_equal'])}; 80% are had from"
        f" {_amount(told['smallest_effect'])} on."
    )


def _chance(value: float) -> str:
    """No chance below 1 is called 100%."""
    return "more than 99.9%" if 0.999 < value < 1.0 else f"{value:.1%}"


def _when(told: Shape) -> str:
    if told["median_day"] is None:
        return ""
    if told["median_day"] == told["likely_day"]:
        return f" (at the look of day {told['median_day']:.0f})"
    likely = "" if told["likely_day"] is None else f", four of five by day {told['likely_day']:.0f}"
    return f" (half of them by day {told['median_day']:.0f}{likely})"


def _amount(value: float) -> str:
    return f"{100 * value:.1f} points"


def _money(found: Shape) -> str:
    told, margin = found["money"], usd(found["money"]["margin_usd"])
    if told["chance_if_equal"] is None:
        return (
            f"Promotion also wants net PnL shown to be less than {margin} a unit worse; how likely that is"
            " cannot be said without --pnl-sd."
        )
    needed = (
        ""
        if told["margin_needed_usd"] is None
        else f"; 80% would take a margin of {usd(told['margin_needed_usd'])}"
    )
    return (
        f"Promotion also wants net PnL shown to be less than {margin} a unit worse: if it is the same, that"
        f" is shown with a chance of {percent(told['chance_if_equal'])}{needed}."
    )


def _end(found: Shape) -> str:
    ending = {
        "rollback": 'the control gets its units back (never shipped on "inconclusive")',
        "hold": "it stays where it is and waits for people",
    }[found["on_timeout"]]
    waived = f" Waiver: {found['waiver']}" if found["waiver"] else ""
    return f"Without that evidence it ends after {found['days_most']:g} days at the latest: {ending}.{waived}"


def _ledger(found: Shape) -> Table:
    alpha = found["alpha"]
    rows = [
        [
            "promotion, by the split",
            percent(alpha["promotion"]["split"], 2),
            "metric and PnL each, one-sided",
        ],
        [
            "opening, by paper",
            percent(alpha["promotion"]["shadow"], 2),
            "no unit moves without it" if found["shadow"] else "the plan does not ask paper",
        ],
        *(
            [
                f"{name} worse",
                percent(level, 2),
                "rolls back" if i < 2 and name in {"pnl", *_RATES} else "vetoes",
            ]
            for i, (name, level) in enumerate(alpha["rollback"]["tests"].items())
        ),
        *(
            [f"{name} worse", percent(level, 2), "trial: decides nothing"]
            for name, level in alpha["dry_run"].items()
        ),
        *(
            [f"{one['name']} past {one['limit']:g}", None, "trial" if one["dry_run"] else _LIMIT[one["then"]]]
            for one in alpha["limits"]
        ),
    ]
    return Table("Where the errors go", ["what", "level", "then"], rows, left=3, wraps=(2,))


_RATES = ("win_rate", "profit_rate")
_LIMIT = {"veto": "vetoes (a limit, no test)", "rollback": "rolls back (a limit, no test)"}


def _guardrails(found: Shape) -> str:
    return (
        "If the arms are equal, no test ever stops the rollout with a chance of"
        f" {percent(found['all_pass_if_equal'])} or more (union bound over the levels above, all looks"
        " together; limits are not in it)."
    )


def _stages(found: Shape) -> Table:
    rows = [
        [
            share_text(row["share"]),
            None if row["days"] is None else f"day {row['days']:.1f}",
            None if row["units"] is None else f"{row['units']:,}",
            None if row["no_sign"] is None else percent(row["no_sign"]),
            None if row["seen"] is None else percent(row["seen"]),
        ]
        for row in found["stages"]
    ]
    columns = ["share", "left at the earliest", "units of the arm", "no sign if equal", "harm seen"]
    return Table("Stages; harm: of the effect's size, rolled back by then", columns, rows)


def _on_paper(told: Shape | None) -> list[str]:
    if told is None:
        return []
    line = (
        f"First at most {told['days_max']:g} days on paper (`abctl split shadow ARM`), until net PnL there is"
    )
    floor = usd(0.0 - told["margin_usd"])
    rest = "The days above begin after them. `abctl power` says how many units that takes."
    return [f"{line} shown to lie above {floor} a unit. {rest}"]


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _notes(found: Shape) -> list[str]:
    named = {
        "baseline": "control's rate",
        "units_per_day": "units a day",
        "pnl_sd_usd": "sd of a unit's PnL, USD",
    }
    told = [
        f"{named[name]} {_short(one['value'])} ({_SOURCES[one['source']]})"
        for name, one in found["known"].items()
    ]
    asked = sum(1 for count in found["approvals"] if count)
    people = (
        f"Approvals at {asked} of {len(found['approvals'])} steps." if asked else "Nobody has to approve."
    )
    return [
        *_on_paper(found["shadow"]),
        f"From: {'; '.join(told)}. Stages as brief as may be; units independent, each counted on its day.",
        f"{people} After promotion {percent(found['holdback'])} stay with the control, and are compared on.",
        f"plan {found['digest']}",
    ]
