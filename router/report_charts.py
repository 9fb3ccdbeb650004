"""The report's charts as SVG by matplotlib: static, small, no script, the same for the same report.

Texts stay texts; matplotlib escapes them, and what would be a formula to it is not read as one.
"""

from collections.abc import Callable, Sequence
from datetime import UTC
from io import StringIO
from math import isnan, nan
from threading import Lock
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

Shape = dict[str, Any]
_COLOURS = ("#4c6a92", "#d1651b", "#2f8f5b", "#8b5aa8", "#7a6a53", "#c0397a", "#3a9bb0", "#8c8c2f")
_BANDS = ("#f2f4f7", "#e3e8ef")
_INK, _PALE = "#1f2933", "#9aa5b1"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.edgecolor": _PALE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_ONE_AT_A_TIME = Lock()
"""matplotlib's settings belong to the process, and a service draws in several threads."""


def charts(report: Shape) -> dict[str, str]:
    """SVG by title; what a chart would be without anything to show is left out."""
    metric = report["metric"]
    rate = "profit_rate" if metric == "profit_rate" else "win_rate"
    has_units = bool(report["curves"]["at_us"])
    drawn: dict[str, Callable[[Axes, Shape], None]] = {}
    if has_units:
        drawn["Confidence sequence: the effect over time"] = _effect
        if metric != "pnl":
            drawn["Confidence sequence: net PnL per unit over time"] = _pnl_effect
        title = "Share of units with a profit" if rate == "profit_rate" else "Win rate of traded units"
        drawn[f"{title}, so far"] = _profit_rate if rate == "profit_rate" else _win_rate
        drawn["Net PnL per unit, so far"] = _pnl
    if any(any(stage["counts"].values()) for stage in report["stages"]):
        drawn["Assignment: what each stage got, against what the split says"] = _srm
    if any(report["delays"]["seconds"].values()):
        drawn["Outcome delay: how long after its start a unit is settled"] = _delays
    with _ONE_AT_A_TIME, mpl.rc_context(_STYLE):
        return {title: _svg(draw, report, title) for title, draw in drawn.items()}


def _svg(draw: Callable[[Axes, Shape], None], report: Shape, title: str) -> str:
    mpl.rcParams["svg.hashsalt"] = title
    figure = Figure(figsize=(5.6, 2.9), layout="constrained")
    FigureCanvasSVG(figure)
    draw(figure.add_subplot(), report)
    page = StringIO()
    figure.savefig(page, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = page.getvalue()
    return text[text.index("<svg") :]


def _times(values_us: Sequence[int]) -> list[float]:
    """Days since the epoch, as matplotlib counts dates."""
    return [at_us / 86_400e6 for at_us in values_us]


def _numbers(values: Sequence[float | None], factor: float = 1.0) -> list[float]:
    return [nan if value is None else value * factor for value in values]


def _along_time(axes: Axes, report: Shape) -> list[float]:
    """The time axis, with a band for every stage of the split; returns the moments."""
    at = _times(report["curves"]["at_us"])
    first, last = at[0], at[-1]
    starts = _times([stage["started_us"] for stage in report["stages"]])
    for i, (stage, start) in enumerate(zip(report["stages"], starts, strict=True)):
        end = starts[i + 1] if i + 1 < len(starts) else last
        low, high = max(start, first), min(end, last)
        if low < high:
            axes.axvspan(low, high, color=_BANDS[i % 2], lw=0, zorder=0)
            share = stage["weights"].get(report["treatment"], 0.0)
            name, place = f"v{stage['version']} {100 * share:g}%", ("data", "axes fraction")
            axes.annotate(name, (low, 1.0), xycoords=place, va="bottom", fontsize=7, color=_INK)
    locator = AutoDateLocator(minticks=3, maxticks=7, tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axes.margins(x=0.02)
    return at


def _effect(axes: Axes, report: Shape) -> None:
    _sequence(axes, report, report["curves"]["effect"])


def _pnl_effect(axes: Axes, report: Shape) -> None:
    _sequence(axes, report, report["curves"]["pnl_effect"])


def _sequence(axes: Axes, report: Shape, curve: Shape) -> None:
    at = _along_time(axes, report)
    factor, unit = (1.0, "USD per unit") if curve["metric"] == "pnl" else (100.0, "points")
    estimate, low, high = (_numbers(curve[name], factor) for name in ("estimate", "low", "high"))
    colour = _COLOURS[1]
    axes.axhline(0.0, color=_INK, lw=0.8, ls="--")
    axes.fill_between(at, low, high, color=colour, alpha=0.22, lw=0, label="interval, valid at any look")
    axes.plot(at, estimate, color=colour, lw=1.6, marker="o", ms=2.2, label="estimate")
    if not isnan(low[-1]):  # of now, to be seen even where it is the first
        axes.vlines(at[-1], low[-1], high[-1], color=colour, lw=2.4, alpha=0.7)
    axes.set_ylabel(f"difference, {unit}")
    if all(value is None for value in curve["low"]):
        axes.text(0.5, 0.06, "no interval yet", transform=axes.transAxes, ha="center", color=_INK)
    _bounded(axes, low, high)
    axes.legend(loc="best", fontsize=7, frameon=False)


def _bounded(axes: Axes, low: Sequence[float], high: Sequence[float]) -> None:
    """The first intervals are so wide that the later ones would be lines: show the later half whole."""
    later = [v for side in (low, high) for v in side[len(side) // 2 :] if not isnan(v)]
    if later:
        bottom, top = min(*later, 0.0), max(*later, 0.0)
        span = top - bottom or 1.0
        axes.set_ylim(bottom - 0.25 * span, top + 0.25 * span)


def _by_arm(axes: Axes, report: Shape, field: str, factor: float) -> None:
    at = _along_time(axes, report)
    lines = []
    for i, curve in enumerate(report["curves"]["arms"].values()):
        values = _numbers(curve[field], factor)
        lines += axes.plot(at, values, color=_COLOURS[i % len(_COLOURS)], lw=1.6, marker="o", ms=2.2)
    axes.legend(lines, list(report["curves"]["arms"]), loc="best", fontsize=7, frameon=False)


def _win_rate(axes: Axes, report: Shape) -> None:
    _by_arm(axes, report, "win_rate", 100.0)
    axes.yaxis.set_major_formatter(PercentFormatter())


def _profit_rate(axes: Axes, report: Shape) -> None:
    _by_arm(axes, report, "profit_rate", 100.0)
    axes.yaxis.set_major_formatter(PercentFormatter())


def _pnl(axes: Axes, report: Shape) -> None:
    axes.axhline(0.0, color=_INK, lw=0.8, ls="--")
    _by_arm(axes, report, "pnl_per_unit_usd", 1.0)
    axes.set_ylabel("USD per mature unit")


def _srm(axes: Axes, report: Shape) -> None:
    """Observed shares as bars; a line across each bar where the split says it should end."""
    stages = [stage for stage in report["stages"] if any(stage["counts"].values())]
    arms = list(report["arms"])
    width = 0.8 / len(arms)
    bars = []
    for i, arm in enumerate(arms):
        places = [row + (i - (len(arms) - 1) / 2) * width for row in range(len(stages))]
        got = [100 * stage["counts"][arm] / sum(stage["counts"].values()) for stage in stages]
        due = [100 * stage["weights"].get(arm, 0.0) for stage in stages]
        bars.append(axes.bar(places, got, 0.92 * width, color=_COLOURS[i % len(_COLOURS)], alpha=0.75))
        axes.hlines(due, [p - width / 2 for p in places], [p + width / 2 for p in places], color=_INK, lw=1.6)
    names = [
        f"v{stage['version']}\n{sum(stage['counts'].values()):,} units\nE = {stage['srm_e_value']:.2g}"
        for stage in stages
    ]
    axes.set_xticks(range(len(stages)), names, fontsize=7)
    axes.set_ylim(0, 100)
    axes.yaxis.set_major_formatter(PercentFormatter())
    axes.legend(bars, arms, loc="best", fontsize=7, frameon=False)


def _delays(axes: Axes, report: Shape) -> None:
    shares = [100 * share for share in report["delays"]["shares"]]
    lines, names = [], []
    for i, (arm, seconds) in enumerate(report["delays"]["seconds"].items()):
        if seconds:
            lines += axes.plot(seconds, shares, color=_COLOURS[i % len(_COLOURS)], lw=1.6)
            names.append(arm)
    axes.set_xlabel("seconds from the unit's start to its last outcome")
    axes.set_ylim(0, 103)
    axes.yaxis.set_major_formatter(PercentFormatter())
    axes.legend(lines, names, loc="lower right", fontsize=7, frameon=False)
