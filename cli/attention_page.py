"""Attention as a heatmap: PNG, and one HTML file without scripts, every text escaped."""

from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

Shape = dict[str, Any]
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1f2933;margin:0 auto;max-width:64rem;padding:1.5rem}
h1{font-size:1.3rem;margin:0}svg{display:block;height:auto;width:100%}.dim{color:#52606d}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:1rem 0}
th,td{border-bottom:1px solid #dde3ea;padding:.2rem .8rem .2rem 0;text-align:left}
"""
_CAUTION = "Weights say where a layer reads; what a tick is worth is what is lost without it."
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # the heatmap is an image


def write_png(found: Shape, file: Path) -> None:
    """The heatmap alone."""
    _figure(found).savefig(file, format="png", dpi=150)


def write_html(found: Shape, file: Path) -> None:
    """Heatmap, probabilities, and the features of the ticks that were looked at most."""
    title = escape(f"Attention: {found['source']}")
    chosen = escape(f"{found['chosen']}: " + ", ".join(f"{a} {p:.1%}" for a, p in found["probs"].items()))
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
        f"<p>{chosen}</p>",
        f'<p class="dim">Model {escape(found["model"]["id"])}. {_CAUTION}</p>',
        _svg(_figure(found)),
        "<table><thead><tr><th>tick</th><th>weight</th><th>what sets it apart</th></tr></thead><tbody>",
        *(_row(top) for top in found["top"]),
        "</tbody></table></body></html>\n",
    ]
    file.write_text("\n".join(parts), encoding="utf-8")


def _row(top: Shape) -> str:
    facts = ", ".join(f"{name} {value:+.2f}" for name, value in top["features"].items())
    return f"<tr><td>{top['ago']} ago</td><td>{top['weight']:.1%}</td><td>{escape(facts)}</td></tr>"


def _figure(found: Shape) -> Figure:
    """Rows: every head of every layer. Columns: ticks, the newest on the right. Below: occlusion."""
    ticks = found["ticks"][::-1]
    weights = np.array([tick["weights"] for tick in ticks])  # [k, layers, heads]
    rows = weights.reshape(len(ticks), -1).T
    names = [f"layer {i + 1}, head {j + 1}" for i in range(found["layers"]) for j in range(found["heads"])]
    figure = Figure(figsize=(9.0, 2.4 + 0.32 * len(names)), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(0.32 * len(names) + 0.4, 1.4))
    drawn = upper.imshow(rows, aspect="auto", cmap="Blues", vmin=0.0)
    upper.set_yticks(range(len(names)), names)
    figure.colorbar(drawn, ax=upper, label="share read")
    lower.bar(range(len(ticks)), [100.0 * tick["occlusion"] for tick in ticks], color="#d1651b")
    lower.axhline(0.0, color="#1f2933", linewidth=0.6)
    lower.set_ylabel(f"{found['chosen']} loses\nwithout it, pp")
    lower.set_xlabel("ticks ago")
    step = max(1, len(ticks) // 10)
    at = range(len(ticks) - 1, -1, -step)
    lower.set_xticks(list(at), [str(ticks[i]["ago"]) for i in at])
    return figure


def _svg(figure: Figure) -> str:
    out = StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "text.parse_math": False, "svg.hashsalt": "abctl"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
