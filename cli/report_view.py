"""The report on a terminal, from its JSON shape."""

from typing import Any

from cli.terminal import note, paragraph, percent, share_text, table, time_text, usd

_NAMES = {"win_rate": "win rate", "profit_rate": "P(profit | assigned)", "pnl": "net PnL per unit"}


def show_report(report: dict[str, Any]) -> None:
    """Headline first, then the adjusted rates, then raw rates, then what a naive test would have said."""
    _show_headline(report)
    _show_arms(report)
    _show_raw(report)
    _show_stages(report)
    _show_checks(report)
    for warning in report["warnings"]:
        paragraph(f"! {warning}", style="yellow")


def _show_headline(report: dict[str, Any]) -> None:
    verdict = report["verdict"]
    style = {"better": "bold green", "worse": "bold red"}.get(verdict["verdict"], "bold")
    paragraph(
        f"{report['experiment']}: {report['treatment']} against {report['control']}: {verdict['verdict']}",
        style,
    )
    paragraph(verdict["reason"])
    paragraph(report["estimand"], style="dim")


def _effect_row(name: str, effect: dict[str, Any], money: bool) -> list[str | None]:
    form = usd if money else points
    row = [form(effect[k]) for k in ("lower_one_sided", "estimate", "low", "high")]
    return [name, *row, None if effect["e_value"] is None else f"{effect['e_value']:.3g}", effect["status"]]


def points(value: float | None) -> str | None:
    """A difference of shares in percentage points."""
    return None if value is None else f"{100 * value:+.1f} pp"


def _show_arms(report: dict[str, Any]) -> None:
    effect, pnl = report["effect"], report["pnl_effect"]
    rows = [_effect_row(_NAMES[effect["metric"]], effect, effect["metric"] == "pnl")]
    if effect["metric"] != "pnl":
        rows.append(_effect_row(_NAMES["pnl"], pnl, money=True))
    title = f"Effect since the start ({report['treatment']} - {report['control']}, {report['fill']} fills)"
    table(title, ["", "at least", "estimate", "low", "high", "E", "status"], rows)
    metric = {"win_rate": "win_rate_adjusted", "profit_rate": "profit_rate_adjusted"}.get(effect["metric"])
    arms = report["arms"]
    adjusted = [
        [arm, percent(row[metric]) if metric else None, usd(row["pnl_per_unit_adjusted_usd"])]
        for arm, row in arms.items()
    ]
    table(
        "Adjusted rates, whose difference is the effect",
        ["arm", _NAMES[effect["metric"]], "PnL/unit"],
        adjusted,
    )


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{100 * low:.0f}-{100 * high:.0f}%"


def _show_raw(report: dict[str, Any]) -> None:
    counts, rates, money = [], [], []
    for arm, row in report["arms"].items():
        names = ("units", "mature", "pending", "missing", "traded", "wins", "zeros", "trades")
        counts.append([arm, *(f"{row[n]:,}" for n in names)])
        rates.append(
            [
                arm,
                percent(row["win_rate"]),
                _interval(row["win_rate_low"], row["win_rate_high"]),
                percent(row["profit_rate"]),
                _interval(row["profit_rate_low"], row["profit_rate_high"]),
                percent(row["trade_rate"]),
                percent(row["fallback_rate"]),
            ]
        )
        money.append(
            [
                arm,
                *(
                    usd(row[n])
                    for n in (
                        "pnl_per_unit_usd",
                        "pnl_low_usd",
                        "pnl_high_usd",
                        "pnl_per_staked_usd",
                        "fee_usd",
                    )
                ),
            ]
        )
    table(
        "Units by assigned arm",
        ["arm", "units", "mature", "pending", "missing", "traded", "wins", "zeros", "trades"],
        counts,
    )
    table(
        "Raw rates (95% intervals, one look; not comparable across stages)",
        ["arm", "win rate", "", "P(profit)", "", "traded", "fallback"],
        rates,
    )
    table("Money, raw", ["arm", "PnL/unit", "low", "high", "PnL per $", "fees"], money)
    window = report["window"]
    if not window["covers_all"]:
        rows = [
            [arm, f"{r['mature']:,}", f"{r['traded']:,}", f"{r['wins']:,}", usd(r["pnl_usd"])]
            for arm, r in window["arms"].items()
        ]
        table(
            f"Last {report['days']} days ({window['label']})",
            ["arm", "mature", "traded", "wins", "PnL"],
            rows,
        )


def _show_stages(report: dict[str, Any]) -> None:
    rows = []
    for stage in report["stages"]:
        shares = " ".join(f"{arm} {share_text(w)}" for arm, w in stage["weights"].items())
        units = "/".join(str(n) for n in stage["counts"].values())
        p = stage["srm_p"]
        rows.append(
            [
                f"v{stage['version']}",
                time_text(stage["started_us"]),
                shares,
                units,
                None if p is None else f"{p:.3f}",
            ]
        )
    table("Stages", ["", "from", "split", "units", "SRM p"], rows, left=3)


def _show_checks(report: dict[str, Any]) -> None:
    srm, naive, excluded = report["srm"], report["naive"], report["excluded"]
    alarm = "ALARM: the coin did not fall as the split said" if srm["alarm"] else "clean"
    paragraph(f"Assignment (SRM over all stages): {alarm}, E = {srm['e_value']:.3g}, p = {srm['p']:.3g}.")
    left_out = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in excluded.items() if count)
    paragraph(f"Left out or odd: {left_out or 'nothing'}.")
    said = (
        "nothing (no trades in one arm)"
        if naive["p"] is None
        else f"z = {naive['z']:.2f}, p = {naive['p']:.2g}"
    )
    paragraph(f"Not evidence - {naive['label'].split(':')[0]}: {said}.", style="dim")


def say_where(where: str) -> None:
    """Which way the facts came."""
    note(f"({where})")
