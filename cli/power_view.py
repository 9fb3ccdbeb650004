"""A plan on a terminal, from its JSON shape."""

from typing import Any

from cli.terminal import Table, paragraph, percent, show

Shape = dict[str, Any]


def show_power(found: Shape) -> None:
    """One sentence, a row a design, then what was assumed."""
    asked, one, ours = found["question"], found["fixed"], found["sequential"]
    paragraph(
        f"A {'rise' if asked['lift'] > 0 else 'fall'} of {100 * abs(asked['lift']):g} points takes"
        f" {one['days']:.1f} days by one planned look; looked at {_often(ours['every_days'])}, half of the"
        f" runs stop by day {ours['median_days']:.0f}, {asked['power']:.0%} by day {ours['days']:.0f}.",
        "bold",
    )
    show(Table("", ["design", "units", "days", "mean", "median", "early", "drawn"], _rows(found)))
    for line in _notes(found):
        paragraph(line, "dim")


def _often(every_days: float) -> str:
    return "daily" if every_days == 1.0 else f"every {every_days:.1f} days"


def _rows(found: Shape) -> list[list[object]]:
    ours, paired = found["sequential"], found["shadow"]
    drawn = found["simulated"] or {}
    rows: list[list[object]] = [
        ["one planned look", *_size(found["fixed"]), None, None, None, _drawn(drawn.get("fixed"))],
        [
            "looked at any time",
            *_size(ours),
            f"{ours['mean_days']:.1f}",
            f"{ours['median_days']:.1f}",
            percent(ours["early"]),
            _drawn(drawn.get("sequential")),
        ],
    ]
    if paired is not None:
        rows.append(["paired shadow", *_size(paired), None, None, None, _drawn(drawn.get("shadow"))])
    return rows


def _size(needed: Shape) -> tuple[str, str]:
    return f"{needed['units']:,}", f"{needed['days']:.1f}"


def _drawn(found: Shape | None) -> str | None:
    if found is None:
        return None
    return f"{percent(found['found'])} ({percent(found['low'])}-{percent(found['high'])})"


def _notes(found: Shape) -> list[str]:
    asked, drawn = found["question"], found["simulated"]
    notes = ["Early: stopped by the last look before the fixed test's day is over."]
    if drawn:
        notes.append(
            f"Drawn: share of {drawn['runs']:,} experiments (seed {drawn['seed']}) that found it, with a 95%"
            f" interval; computed for looks at any time {percent(drawn['sequential']['computed'])}."
        )
    if found["shadow"] is None:
        notes.append(
            "The paired shadow design is left out: give --correlation, of both arms' rates on one unit."
        )
    elif drawn and drawn["shadow"] is None:
        notes.append(f"No pairs were drawn: {drawn['why']}.")
    if found["history"]:
        notes.append(f"From history: {found['history']}")
    notes.append(
        f"Assumed: a baseline of {percent(asked['baseline'])}, a share of {percent(asked['share'])},"
        f" {asked['units_per_day']:,.1f} units a day, independent units of {asked['trials_per_unit']:.3g}"
        f" decision(s), ICC {asked['icc']:.2g}, design effect {found['design_effect']:.2f}, two-sided alpha"
        f" {asked['alpha']:g}. Outcomes count on the day they arrive: add the time they take."
    )
    return notes
