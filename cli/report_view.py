"""The report on a terminal, from its JSON shape: the verdict first, what is not evidence last."""

from typing import Any

from cli.terminal import (
    Table,
    paragraph,
    percent,
    points,
    say,
    share_text,
    show,
    signed_usd,
    time_text,
    usd,
    words_of,
)

Shape = dict[str, Any]
_NAMES = {"win_rate": "win rate", "profit_rate": "P(profit)", "pnl": "PnL/unit"}
_STYLES = {"better": "bold green", "worse": "bold red"}


def show_report(report: Shape) -> None:
    """Verdict, effect, adjusted rates, raw rates, units, stages, checks, and at last a naive test."""
    verdict = report["verdict"]
    against = f"{report['experiment']}: {report['treatment']} against {report['control']}"
    paragraph(f"{against}: {verdict['verdict']}", _STYLES.get(verdict["verdict"], "bold"))
    paragraph(verdict["reason"])
    say("")
    show(effect_table(report))
    paragraph(report["estimand"], "dim")
    for table in (
        adjusted_table(report),
        raw_table(report),
        money_table(report),
        units_table(report),
        *window_tables(report),
    ):
        say("")
        show(table)
    say("")
    show(stages_table(report))
    for line in check_lines(report):
        paragraph(line)
    for warning in report["warnings"]:
        paragraph(f"! {warning}", "yellow")
    say("")
    paragraph(naive_line(report), "dim")


def effect_table(report: Shape) -> Table:
    """The lower bound before the estimate: an estimate alone is read as a promise."""
    effects = [report["effect"]]
    if report["effect"]["metric"] != "pnl":
        effects.append(report["pnl_effect"])
    title = f"Effect since the start: {report['treatment']} minus {report['control']}, {report['fill']} fills"
    columns = ["", "low", "estimate", "high", "low, one-sided", "E", "status"]
    return Table(title, columns, [_effect_row(e) for e in effects])


def _effect_row(effect: Shape) -> list[object]:
    form = signed_usd if effect["metric"] == "pnl" else points
    bounds = [form(effect[name]) for name in ("low", "estimate", "high", "lower_one_sided")]
    return [_NAMES[effect["metric"]], *bounds, _e_text(effect["e_value"]), effect["status"].replace("_", " ")]


def _e_text(e_value: float | None) -> str | None:
    """Beyond a million more digits say no more."""
    if e_value is None:
        return None
    return "over 1e6" if e_value > 1e6 else f"{e_value:.3g}"


def adjusted_table(report: Shape) -> Table:
    """Rates that may be compared across stages."""
    metric = report["effect"]["metric"]
    rates = [] if metric == "pnl" else [_NAMES[metric]]
    rows = [
        [
            arm,
            *(percent(row[f"{metric}_adjusted"]) for _ in rates),
            usd(row["pnl_per_unit_adjusted_usd"]),
        ]
        for arm, row in report["arms"].items()
    ]
    return Table("Adjusted rates: their difference is the estimate", ["arm", *rates, "PnL/unit"], rows)


def raw_table(report: Shape) -> Table:
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
    return Table("Raw rates, for one look, not comparable across stages", columns, rows)


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{100 * low:.0f}-{100 * high:.0f}%"


def money_table(report: Shape) -> Table:
    """Money as counted, net of fees."""
    names = ("pnl_per_unit_usd", "pnl_low_usd", "pnl_high_usd", "pnl_per_staked_usd", "fee_usd", "pnl_usd")
    columns = ["arm", "PnL/unit", "low", "high", "PnL per $ staked", "fees", "PnL"]
    rows = [[arm, *(usd(row[n]) for n in names)] for arm, row in report["arms"].items()]
    return Table("Raw money, net of fees", columns, rows)


def units_table(report: Shape) -> Table:
    """Where the units are."""
    names = ("units", "mature", "pending", "missing", "traded", "wins", "zeros", "trades")
    rows = [[arm, *(f"{row[n]:,}" for n in names)] for arm, row in report["arms"].items()]
    return Table("Units by assigned arm", ["arm", *names], rows)


def window_tables(report: Shape) -> list[Table]:
    """The last days, where they are not everything."""
    window = report["window"]
    if window["covers_all"]:
        return []
    names = ("mature", "traded", "wins", "trades", "decisions")
    rows = [
        [arm, *(f"{row[n]:,}" for n in names), usd(row["pnl_usd"])] for arm, row in window["arms"].items()
    ]
    return [Table(f"Last {report['days']} days ({window['label']})", ["arm", *names, "PnL"], rows)]


def stages_table(report: Shape) -> Table:
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
    return Table("Stages, raw", ["", "from", "split", "units", "effect", "SRM p"], rows, left=3)


def check_lines(report: Shape) -> list[str]:
    """Whether the coin fell as it should, and what is not in the numbers."""
    srm = report["srm"]
    state = "ALARM, the units did not fall as the split says" if srm["alarm"] else "clean"
    return [
        f"Assignment (SRM over all stages): {state}; E = {srm['e_value']:.3g}, alarm at 1,000.",
        f"Left out or odd: {words_of(report['excluded'])}.",
    ]


def naive_line(report: Shape) -> str:
    """What a reader of other tools would have been told."""
    naive = report["naive"]
    if naive["p"] is None:
        return "Not evidence: a naive per-trade test would have said nothing, for an arm has no trades."
    return (
        f"Not evidence: a naive per-trade test would have said z = {naive['z']:.2f}, p = {naive['p']:.2g},"
        " as if trades were independent, looked at once and the split never changed."
    )
