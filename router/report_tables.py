"""A report's JSON shape as tables and lines of text, for a terminal and for a page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from router.report_words import (
    e_text,
    p_text,
    percent,
    points,
    share_text,
    signed_usd,
    span_text,
    time_text,
    usd,
    words_of,
)

Shape = dict[str, Any]
_NAIVE_ALPHA = 0.05
NAMES = {"win_rate": "win rate", "profit_rate": "P(profit)", "pnl": "PnL/unit"}


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of finished texts; None is shown as a dash. The first `left` columns are aligned left."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    left: int = 1


def title(report: Shape) -> str:
    """main: transformer against base: better."""
    verdict = report["verdict"]["verdict"]
    return f"{report['experiment']}: {report['treatment']} against {report['control']}: {verdict}"


def effect_table(report: Shape) -> Grid:
    """The lower bound before the estimate: an estimate alone is read as a promise."""
    effects = [report["effect"]]
    if report["effect"]["metric"] != "pnl":
        effects.append(report["pnl_effect"])
    head = f"Effect since the start: {report['treatment']} minus {report['control']}, {report['fill']} fills"
    columns = ["", "low", "estimate", "high", "1-sided", "E", "p", "status"]
    return Grid(head, columns, [_effect_row(effect) for effect in effects])


def _effect_row(effect: Shape) -> list[object]:
    form = signed_usd if effect["metric"] == "pnl" else points
    bounds = [form(effect[name]) for name in ("low", "estimate", "high", "lower_one_sided")]
    status = effect["status"].replace("_", " ")
    return [NAMES[effect["metric"]], *bounds, e_text(effect["e_value"]), p_text(effect["p"]), status]


def adjusted_table(report: Shape) -> Grid:
    """Rates that may be compared across stages."""
    metric = report["effect"]["metric"]
    rates = [] if metric == "pnl" else [NAMES[metric]]
    rows = [
        [
            arm,
            *(percent(row[f"{metric}_adjusted"]) for _ in rates),
            usd(row["pnl_per_unit_adjusted_usd"]),
        ]
        for arm, row in report["arms"].items()
    ]
    return Grid("Adjusted rates: their difference is the estimate", ["arm", *rates, "PnL/unit"], rows)


def raw_table(report: Shape) -> Grid:
    """Rates as counted."""
    columns = ["arm", "P(profit)", "95%", "win rate", "95%", "traded", "fallback"]
    rows = [
        [
            arm,
            percent(row["profit_rate"]),
            _interval(row["profit_rate_low"], row["profit_rate_high"]),
            percent(row["win_rate"]),
            _interval(row["win_rate_low"], row["win_rate_high"]),
            percent(row["trade_rate"]),
            percent(row["fallback_rate"]),
        ]
        for arm, row in report["arms"].items()
    ]
    return Grid("Raw rates, for one look, not comparable across stages", columns, rows)


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{100 * low:.0f}-{100 * high:.0f}%"


def money_table(report: Shape) -> Grid:
    """Money as counted, net of fees."""
    names = ("pnl_per_unit_usd", "pnl_low_usd", "pnl_high_usd", "pnl_per_staked_usd", "fee_usd", "pnl_usd")
    columns = ["arm", "PnL/unit", "low", "high", "PnL per $ staked", "fees", "PnL"]
    rows = [[arm, *(usd(row[n]) for n in names)] for arm, row in report["arms"].items()]
    return Grid("Raw money, net of fees", columns, rows)


def units_table(report: Shape) -> Grid:
    """Where the units are."""
    names = ("units", "mature", "pending", "missing", "traded", "wins", "zeros", "trades")
    rows = [[arm, *(f"{row[n]:,}" for n in names)] for arm, row in report["arms"].items()]
    return Grid("Units by assigned arm", ["arm", *names], rows)


def window_table(report: Shape) -> Grid:
    """The last days: a column per arm."""
    window = report["window"]
    arms = list(window["arms"].values())
    rows = [[name, *(form(arm[field]) for arm in arms)] for name, field, form in _WINDOW_ROWS]
    rows += [[f"latency, {n}% within", *(_latency(window, arm, n) for arm in arms)] for n in (50, 99)]
    span = (
        "all units so far"
        if window["covers_all"]
        else f"units that ended since {time_text(window['since_us'])}"
    )
    head = f"Last {report['days']} days ({window['label']}): {span}"
    return Grid(head, ["", *window["arms"]], rows)


def _count(value: int) -> str:
    return f"{value:,}"


def _latency(window: Shape, arm: Shape, percent_within: int) -> str | None:
    """Rounded up to its bucket's edge; beyond the last one nothing is known but that."""
    if not arm.get("timed"):
        return None
    within_ms = arm[f"latency_p{percent_within}_ms"]
    last_ms = window["latency"]["edges_ms"][-1]
    return f"over {last_ms:g} ms" if within_ms is None else f"{within_ms:g} ms"


_WINDOW_ROWS: tuple[tuple[str, str, Callable[[Any], str | None]], ...] = (
    *((name, name, _count) for name in ("units", "mature", "pending", "missing", "decisions", "trades")),
    ("trade rate", "trade_rate", percent),
    ("win rate", "win_rate", percent),
    ("net PnL", "pnl_usd", usd),
    ("net PnL per unit", "pnl_per_unit_usd", usd),
    ("net PnL per decision", "pnl_per_decision_usd", usd),
    ("edge over entry price", "edge", points),
    ("fallback rate", "fallback_rate", percent),
)


def guardrails_tables(report: Shape) -> list[Grid]:
    """What must not get worse; nothing for a report of a release that did not watch it."""
    rows = [[_GUARDS[row["name"]], *map(_amount(row), _SIDES), *_judgement(row)] for row in _guards(report)]
    columns = ["", *(report[side] for side in ("treatment", "control")), "difference", "low", "high"]
    head = "Guardrails: what must not get worse beside the metric"
    return [Grid(head, [*columns, "evidence", "status"], rows)] if rows else []


def _guards(report: Shape) -> list[Shape]:
    """Those that have a name here."""
    return [row for row in report.get("guardrails", ()) if row["name"] in _GUARDS]


def _amount(row: Shape) -> Callable[[str], str | None]:
    plain, signed = _FORMS[row["unit"]]
    return lambda side: (plain if side in {"treatment", "control"} else signed)(row[side])


def _judgement(row: Shape) -> tuple[str, str]:
    return row["evidence"], row["status"]


def _span(value: float | None) -> str | None:
    return None if value is None else f"{value:,.1f} s"


def _signed_span(value: float | None) -> str | None:
    return None if value is None else f"{value:+,.1f} s"


_SIDES = ("treatment", "control", "difference", "low", "high")
_FORMS = {"share": (percent, points), "s": (_span, _signed_span), "usd": (usd, signed_usd)}
_GUARDS = {
    "fallback_rate": "fallback rate",
    "missing_rate": "outcome missing",
    "trade_rate": "trade rate",
    "delay_s": "outcome delay",
    "slow_rate": "slow decisions",
    "shortfall_usd": "worst 5% of units",
    "drawdown_usd": "deepest fall",
}


def resolution_tables(report: Shape) -> list[Grid]:
    """How many outcomes had come, at equal age."""
    found = report.get("resolution")
    if found is None or not any(age["resolved"]["estimate"] is not None for age in found["ages"]):
        return []
    rows = [[span_text(age["age_s"]), *_resolved(age["resolved"])] for age in found["ages"]]
    columns = ["age", report["treatment"], report["control"], "difference", "low", "high", "p", "status"]
    return [Grid("Outcomes that had come, at equal age, of closed windows", columns, rows)]


def _resolved(found: Shape) -> list[object]:
    rates = (percent(found[side]) for side in ("treatment", "control"))
    bounds = (points(found[name]) for name in ("estimate", "low", "high"))
    return [*rates, *bounds, p_text(found["p"]), found["status"].replace("_", " ")]


def resolution_line(report: Shape) -> list[str]:
    """Whether outcomes come as fast in either arm."""
    found = report.get("resolution")
    if found is None:
        return []
    if found["later"] is not None:
        said = f"{found['later']}'s come later (p = {p_text(found['p'])})"
    elif found["p"] is None:
        said = f"cannot say: {found['reason']}"
    else:
        said = f"no difference shown (p = {p_text(found['p'])})"
    return [f"Do outcomes come as fast in both arms? {said[0].upper()}{said[1:]}."]


def served_table(report: Shape) -> Grid:
    """By assignment, and by who answered."""
    served = report["served"]
    metric = "profit_rate" if report["metric"] == "profit_rate" else "win_rate"
    columns = ["arm", "assigned", NAMES[metric], "PnL/unit", "served", NAMES[metric], "PnL/unit", "mixed"]
    rows = []
    for arm, row in served["arms"].items():
        cells: list[object] = [arm]
        for side in (row["assigned"], row["served"]):
            cells += [f"{side['units']:,}", percent(side[metric]), usd(side["pnl_per_unit_usd"])]
        rows.append([*cells, f"{row['mixed']:,}"])
    return Grid("Assigned and served, mature units", columns, rows)


def served_line(report: Shape) -> str:
    """How far the headline is diluted by stand-ins."""
    served = report["served"]
    form = signed_usd if report["metric"] == "pnl" else points
    both = (form(served[name]) or "unknown" for name in ("estimate_assigned", "estimate_served"))
    assigned, as_served = both
    return f"Estimate by assignment {assigned}, as served {as_served} ({served['label']})."


def slice_tables(report: Shape) -> list[Grid]:
    """The slices that were asked for."""
    found = report["slices"]
    if found is None:
        return []
    form = signed_usd if report["metric"] == "pnl" else points
    rows = [
        [
            part["name"],
            "/".join(f"{n:,}" for n in part["units"].values()),
            *(form(part[name]) for name in ("low", "estimate", "high")),
            e_text(part["e_value"]),
            signed_usd(part["pnl_estimate_usd"]),
            "yes" if part["stands_out"] else "no",
        ]
        for part in found["slices"]
    ]
    columns = [found["by"], "units", "low", "estimate", "high", "E", "PnL/unit", "stands out"]
    return [Grid(f"By {found['by']}, units as {'/'.join(report['arms'])}", columns, rows)]


def slice_lines(report: Shape) -> list[str]:
    """What the slices may be used for, and how many questions were allowed for."""
    found = report["slices"]
    if found is None:
        return []
    return [f"By {found['by']}: {found['label']}. {len(found['slices'])} slices, {found['control']}."]


def stages_table(report: Shape) -> Grid:
    """One row per split that brought units, in time, and the newest."""
    form = signed_usd if report["effect"]["metric"] == "pnl" else points
    rows = [
        [
            f"v{stage['version']}",
            time_text(stage["started_us"]),
            " ".join(f"{arm} {share_text(share)}" for arm, share in stage["weights"].items()),
            "/".join(f"{n:,}" for n in stage["counts"].values()),
            form(stage["estimate"]),
            None if stage["srm_p"] is None else f"{stage['srm_p']:.2g}",
        ]
        for stage in report["stages"]
        if any(stage["counts"].values()) or stage is report["stages"][-1]
    ]
    return Grid("Stages, raw", ["", "from", "split", "units", "effect", "SRM p"], rows, left=3)


def tables(report: Shape) -> list[Grid]:
    """All but the effect and the stages, in order."""
    makers = (adjusted_table, raw_table, money_table, units_table, window_table, served_table)
    watched = (*guardrails_tables(report), *resolution_tables(report))
    return [*(make(report) for make in makers), *watched, *slice_tables(report)]


def check_lines(report: Shape) -> list[str]:
    """Whether the coin fell as it should, what the numbers are worth, and what is not in them."""
    srm = report["srm"]
    state = "ALARM, the units did not fall as the split says" if srm["alarm"] else "clean"
    if srm["impossible"]:
        state += f", but {srm['impossible']:,} units lie in an arm whose share was 0"
    return [
        served_line(report),
        *slice_lines(report),
        report["dependence"]["sentence"],
        f"Assignment (SRM over all stages): {state}; {srm['rule']}.",
        *resolution_line(report),
        f"Left out or odd: {words_of(report['excluded'])}.",
    ]


def naive_line(report: Shape) -> str:
    """What a reader of other tools would have been told, and why not to believe it."""
    naive, said = report["naive"], "Not evidence: a naive per-trade test would have said"
    if naive["p"] is None:
        pair = _pair(report)
        idle = (arm for arm, row in report["arms"].items() if arm in pair and not row["trades"])
        return f"{said} nothing: no trade of {' and '.join(idle)} was reported."
    return (
        f"{said} {_naive_finding(report)} (z = {naive['z']:.2f}, p = {naive['p']:.2g}), as if trades were"
        " independent, looked at once and the split never changed. Do not believe it: trades of one unit"
        " share its outcome, every look is one more chance of a false alarm, and a split that changes mixes"
        " good and bad times."
    )


def _naive_finding(report: Shape) -> str:
    """In the words of who tests once at 5%."""
    treatment, control = _pair(report)
    if report["naive"]["p"] >= _NAIVE_ALPHA:
        return "that neither arm wins more of its trades"
    better, other = (treatment, control) if report["naive"]["z"] > 0.0 else (control, treatment)
    return f"that {better} wins more of its trades than {other}"


def _pair(report: Shape) -> tuple[str, str]:
    return report["treatment"], report["control"]
