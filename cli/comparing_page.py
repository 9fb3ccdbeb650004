"""A comparison as one HTML file: no script, no network, every text escaped."""

from html import escape
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from cli.comparing import ACTIONS, verdict_of
from cli.evaluating import COLUMNS, score_row
from stats.words import many

Shape = dict[str, Any]
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1f2933;margin:0 auto;max-width:72rem;padding:1.5rem}
h1{font-size:1.35rem;margin:0 0 .25rem}.headline{font-size:1.15rem;font-weight:600}
.charts{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(26rem,1fr))}
figure{border:1px solid #dde3ea;border-radius:6px;margin:0;padding:.6rem}
figcaption{font-weight:600}svg{display:block;height:auto;width:100%}
.table{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:1rem 0}
caption{font-weight:600;text-align:left}
th,td{border-bottom:1px solid #dde3ea;padding:.2rem .8rem .2rem 0;text-align:right}
td:first-child{text-align:left}.warning{background:#fff7e0;border-left:4px solid #d9a514;padding:.3rem .7rem}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_BASE, _TRANSFORMER, _INK = "#4c6a92", "#d1651b", "#1f2933"


def html_of(found: Shape) -> str:
    """The whole document."""
    exam = found["exam"]
    title = escape(f"Base and transformer on {exam['name']}")
    charts = {
        "Net PnL, added up in the order in which markets ended": _sums(found),
        "Difference of each market: transformer less base": _gaps(found),
    }
    figures = "".join(
        f"<figure><figcaption>{escape(name)}</figcaption>{_labelled(svg, name)}</figure>"
        for name, svg in charts.items()
    )
    windows, days = many(exam["windows"], "window"), many(exam["days"], "day")
    facts = f"{many(exam['markets'], 'market')} in {windows} of {days}."
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
            f'<p class="headline">{escape(verdict_of(found))}</p><p>{escape(facts)}</p>',
            *(f'<p class="warning">{escape(warning)}</p>' for warning in found["warnings"]),
            f'<div class="charts">{figures}</div>',
            _scores(found),
            _actions(found["disagreement"]),
            "</body></html>\n",
        ]
    )


def _labelled(svg: str, name: str) -> str:
    """For those who do not see it."""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(name)}" ', 1)


def _scores(found: Shape) -> str:
    names = ("base", "transformer")
    rows = [score_row(f"{name}: {found[name]['name']}", found[name]["score"]) for name in names]
    return _table("Net of fees, per market, traded or not; intervals of 95% by window", COLUMNS, rows)


def _actions(found: Shape) -> str:
    rows = [[f"base: {a}", *row] for a, row in zip(ACTIONS, found["actions"], strict=True)]
    head = ("", *(f"transformer: {action}" for action in ACTIONS))
    return _table(f"Actions on the same {found['ticks']:,} states", head, rows)


def _table(caption: str, head: Any, rows: Any) -> str:
    def line(kind: str, cells: Any) -> str:
        texts = ("-" if cell is None else escape(str(cell)) for cell in cells)
        return "<tr>" + "".join(f"<{kind}>{text}</{kind}>" for text in texts) + "</tr>"

    body = "".join(line("td", row) for row in rows)
    return (
        f'<div class="table"><table><caption>{escape(caption)}</caption>'
        f"<thead>{line('th', head)}</thead><tbody>{body}</tbody></table></div>"
    )


def _sums(found: Shape) -> str:
    rows = sorted(found["markets"], key=lambda m: m["end_us"])
    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, colour in (("base", _BASE), ("transformer", _TRANSFORMER)):
        held = np.cumsum([0.0, *(m[f"{name}_usd"] for m in rows)])
        axes.plot(held, color=colour, label=name)
    axes.axhline(0.0, color=_INK, linewidth=0.6)
    axes.set_xlabel("markets")
    axes.set_ylabel("USD")
    axes.legend(frameon=False)
    return _svg(figure)


def _gaps(found: Shape) -> str:
    gaps = [m["transformer_usd"] - m["base_usd"] for m in found["markets"]]
    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.hist(gaps, bins=40, color=_TRANSFORMER)
    axes.axvline(0.0, color=_INK, linewidth=0.6)
    gap = found["difference_usd"]
    if gap["low"] is not None:
        axes.axvspan(gap["low"], gap["high"], color=_BASE, alpha=0.25, label="95% interval of the mean")
        axes.legend(frameon=False)
    axes.set_xlabel("USD")
    axes.set_ylabel("markets")
    return _svg(figure)


def _svg(figure: Figure) -> str:
    out = StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "text.parse_math": False, "svg.hashsalt": "abctl"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
