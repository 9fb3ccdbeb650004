"""What the gates of a report say, as lines and a table; nothing for a report of a release without them."""

from router.report_tables import Grid, Shape
from router.report_words import percent, share_text, usd

_KINDS = {
    "sequential": "at any look",
    "planned": "at named looks only",
    "hybrid": "at named looks, and at any other with a part of the error",
}

_HOLDS = {"yes": "holds", "no": "does not hold", "cannot say": "cannot be said"}


def gate_lines(report: Shape) -> list[str]:
    """May it take all units, must it lose them, and what was known before."""
    found = report.get("gates")
    if found is None:
        return []
    return [
        f"Promote {report['treatment']}? (asked {_KINDS[found['kind']]}) {found['promote']['sentence']}",
        *_condition_line(found),
        f"Roll {report['treatment']} back? (asked at any look) {found['rollback']['sentence']}",
        *_history_line(report),
        *_assignment_lines(report),
    ]


def _condition_line(gates: Shape) -> list[str]:
    """What is asked before all units are given; nothing of a closed gate or of an older report."""
    told = [f"{one['reason']}: {_HOLDS[one['answer']]}" for one in gates.get("conditions", ())]
    if not told:
        return []
    return [
        f"Promotion asks for more than the bounds: {'; '.join(told)}. All together: {gates['may_promote']}."
    ]


def _history_line(report: Shape) -> list[str]:
    """Below what it takes, nothing was taken from it."""
    history = report["history"]
    if not history["units"] or history["before"] is None:
        return []
    metric = report["metric"]
    start = usd(history["pnl_per_unit_usd"]) if metric == "pnl" else percent(history[metric])
    before = history["before"].replace(".000000Z", "Z")
    what = f"{history['units']:,} of {report['control']}'s units from before {before}"
    return [f"The comparison is centred at first on what {what} say: {start}."]


def _assignment_lines(report: Shape) -> list[str]:
    """Of a bandit: what it has cost; of a switchback: its rows, and whether a block acts on the next; of a
    shadow arm: what it would have made."""
    played, blocked, shadow = report.get("bandit"), report.get("switchback"), report.get("shadow")
    own = [] if played is None else [played["regret"]["sentence"]]
    own += [] if shadow is None else [shadow["sentence"]]
    return own if blocked is None else [*own, blocked["sentence"]]


def gate_tables(report: Shape) -> list[Grid]:
    """The named looks so far."""
    found = report.get("gates")
    if found is None or not found["looks"]:
        return []
    rows = [
        [
            share_text(look["planned"]),
            percent(look["fraction"]),
            f"{look['units']:,}",
            None if look["critical"] is None else f"{look['critical']:.2f}",
            percent(look["spent"], 2),
            look["answer"],
        ]
        for look in found["looks"]
    ]
    columns = ["named at", "of the plan held", "units", "z to reach", "error spent", "promote?"]
    return [Grid("Named looks, each at the units that it saw", columns, rows)]
