"""A report as one HTML file: no script, no network, every text escaped.

A service lets `python -m router.report_html` draw it, aside: matplotlib would hold up a worker's decisions.
"""

import json
import os
import sys
from collections.abc import Iterable
from html import escape

from router import report_gates, report_tables
from router.report_aside import POLICY
from router.report_charts import charts
from router.report_tables import Grid, Shape

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1f2933;background:#fff;
margin:0 auto;max-width:72rem;padding:1.5rem}
h1{font-size:1.35rem;margin:0 0 .25rem}h2{font-size:1.05rem;margin:2rem 0 .5rem}
.headline{font-size:1.2rem;font-weight:600;margin:.25rem 0 .5rem}
.better{color:#1c6b40}.worse{color:#a32020}.dim{color:#52606d}
.warning{background:#fff7e0;border-left:4px solid #d9a514;margin:.4rem 0;padding:.3rem .7rem}
.charts{display:grid;gap:1rem 1.5rem;grid-template-columns:repeat(auto-fit,minmax(26rem,1fr))}
figure{border:1px solid #dde3ea;border-radius:6px;margin:0;padding:.6rem}
figcaption{font-weight:600;margin-bottom:.3rem}svg{display:block;height:auto;width:100%}
.table{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{font-weight:600;padding:.2rem 0;text-align:left;white-space:nowrap}
th,td{border-bottom:1px solid #dde3ea;padding:.2rem .8rem .2rem 0;text-align:right;white-space:nowrap}
th{color:#52606d;font-weight:600}.left{text-align:left}
.tables{display:flex;flex-wrap:wrap;gap:1.5rem 3rem}
"""


def page(report: Shape) -> str:
    """The whole document."""
    title = escape(report_tables.title(report))
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body>",
            *_head(report),
            *_figures(report),
            "<h2>In detail</h2>",
            f'<div class="tables">{"".join(map(_table, report_tables.tables(report)))}</div>',
            _table(report_tables.stages_table(report)),
            *(f"<p>{escape(line)}</p>" for line in report_tables.check_lines(report)),
            f'<p class="dim">{escape(report_tables.naive_line(report))}</p>',
            "</body></html>\n",
        ]
    )


def _head(report: Shape) -> list[str]:
    verdict = report["verdict"]
    colour = verdict["verdict"] if verdict["verdict"] in {"better", "worse"} else ""
    facts = f"As of {report['as_of']}, {report['fill']} fills, split v{report['split']['version']}."
    return [
        f"<h1>{escape(report_tables.title(report))}</h1>",
        f'<p class="headline {colour}">{escape(report["headline"]["sentence"])}</p>',
        f"<p>{escape(verdict['reason'])}</p>",
        *(f'<p class="warning">{escape(warning)}</p>' for warning in report["warnings"]),
        _table(report_tables.effect_table(report)),
        f'<p class="dim">{escape(report["estimand"])} {escape(facts)}</p>',
        *(f"<p>{escape(line)}</p>" for line in report_gates.gate_lines(report)),
        *map(_table, report_gates.gate_tables(report)),
    ]


def _figures(report: Shape) -> list[str]:
    drawn = charts(report)
    if not drawn:
        return []
    stages = (
        "Shaded: stages of the split, with the treatment's share. Charts run from the experiment's start."
    )
    figures = [
        f"<figure><figcaption>{escape(title)}</figcaption>{_labelled(svg, title)}</figure>"
        for title, svg in drawn.items()
    ]
    return [f'<h2>Over time</h2><p class="dim">{stages}</p><div class="charts">', *figures, "</div>"]


def _labelled(svg: str, title: str) -> str:
    """For those who do not see it."""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)


def _table(grid: Grid) -> str:
    head = _row("th", grid.columns, grid.left)
    rows = "".join(_row("td", row, grid.left) for row in grid.rows)
    return (
        f'<div class="table"><table><caption>{escape(grid.title)}</caption>'
        f"<thead>{head}</thead><tbody>{rows}</tbody></table></div>"
    )


def _row(kind: str, cells: Iterable[object], left: int) -> str:
    texts = ["-" if cell is None else escape(str(cell)) for cell in cells]
    marked = (f"<{kind}{' class=left' if i < left else ''}>{text}</{kind}>" for i, text in enumerate(texts))
    return f"<tr>{''.join(marked)}</tr>"


def _main() -> None:
    """A report's JSON in, its page out, behind whoever answers requests."""
    os.nice(10)
    sys.stdout.buffer.write(page(json.load(sys.stdin)).encode())


if __name__ == "__main__":
    _main()
