"""docs/benchmarks.md: the page that holds the results; every part owns what stands between its marks."""

from collections.abc import Sequence
from pathlib import Path

from speed.found import Section, text_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

Every figure is beside a reference that ran on the same core in the same minutes; the ratios are what travels
to other machines. Tables between marks are written by scripts in `bench/`; nobody edits them by hand.
"""
_TITLE = """## Decisions

`python bench/decide_speed.py --write`. Core 0 has one HTTP worker alone; core 1 the load, shipper and writer,
Valkey and the supervisor. Bodies are 3 KB: 20 states of 18 features, 200 units, `started_at` sent. Models are
untrained nets of preset `default`. At abctl everything is on: key check, binding, journal, metrics, SQL.

- *floor*: bare ASGI on uvicorn (uvloop, httptools), msgspec, the same network as `torch.onnx.export` makes
  it, run inline by ONNX Runtime in fixed memory; the same reply fields; no routing, key, log or checks.
- *FastAPI noop*: FastAPI and pydantic validate the same body and answer a constant.
"""


def write(sections: Sequence[Section], measured_on: str) -> None:
    """Puts sections into the page, each in the place of its older self."""
    page = PAGE.read_text() if PAGE.exists() else _HEAD
    page = placed(page, "decisions", _TITLE.rstrip())
    for section in sections:
        note = f"Measured on {measured_on}."
        page = placed(page, section.part, f"{text_of(section)}\n\n{note}")
    PAGE.write_text(page)


def placed(page: str, name: str, content: str) -> str:
    """The page with the content between its own marks; at the end where there are none yet."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    block = f"{begin}\n{content}\n{end}"
    before, found, rest = page.partition(begin)
    if not found:
        return f"{page.rstrip()}\n\n{block}\n"
    _, closed, after = rest.partition(end)
    if not closed:
        raise SystemExit(f"{PAGE.name} has {begin} without {end}: mend it by hand")
    return f"{before}{block}{after}"
