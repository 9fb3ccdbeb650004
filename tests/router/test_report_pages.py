"""A report as JSON, page and Markdown: valid, whole, escaped, and seen in a real browser."""

import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest

from router import change, report_tables
from router.definition import experiment_of
from router.question import SLICE_BYS, Question
from router.report import report_of
from router.report_aside import page_aside
from router.report_html import page
from router.report_markdown import markdown
from router.snapshot import first_split
from store import experiments, schema
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision, MarketOutcome, TradeOutcome
from store.sql import open_engine

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "report.schema.json").read_text())
START_US = 1_767_225_600_000_000
HOUR_US = 3_600_000_000
COUNTED = ("mature", "missing", "pending", "traded", "wins", "trades", "pnl_usd", "trade_rate", "win_rate")
HOSTILE = """<script>alert("1")</script>&$x^2$|`*"""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def history():
    """600 units of 25 days, a ramp, an arm that is better, some fallbacks, late and missing outcomes."""
    rng = random.Random(4)
    for n in range(600):
        stage = min(n // 200, 2)
        share = (0.1, 0.25, 0.5)[stage]
        arm = "transformer" if rng.random() < share else "base"
        start = START_US + n * HOUR_US
        served = "base" if rng.random() < 0.05 else arm
        unit, bot = f"{HOSTILE}-{n % 3}@{n:04d}", f"{HOSTILE}{n % 2}"
        for i in range(2):
            yield Decision(
                decision_id=f"d{n}-{i}", experiment="main", unit=unit, bot=bot, arm=arm, served_arm=served,
                reason="assigned", binding="started_at", split_version=stage + 2,
                weights={"base": 1 - share, "transformer": share}, forced=False, eligible=True,
                split_stale=False, received_at_us=start + i, started_at_us=start, sent_started_at_us=None,
                as_of_us=None, action="buy", probs=(0.0, 1.0, 0.0), value=0.0, model="m",
                schema="s", state=b"", history_digest=b"", history_used=1, latency_us=1,
            )  # fmt: skip
        won = rng.random() < (0.8 if arm == "transformer" else 0.5)
        pnl, came_us = (900_000 if won else -700_000), start + rng.randrange(950, 1900) * 1_000_000
        common = {"experiment": "main", "fee_micro": 10, "stake_micro": 10**6, "won": None, "fill": "live"}
        common |= {"closed_at_us": came_us, "received_at_us": came_us}
        for i in range(2):
            price = {"entry_price": 0.5, "exit_price": 1.0 if won else 0.0, "side": "up"}
            yield TradeOutcome(decision_id=f"d{n}-{i}", pnl_micro=pnl // 2, **price, **common)
        if n % 20:
            yield MarketOutcome(unit=unit, bot=bot, pnl_micro=pnl, trades=2, **common)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('pages')}/abctl.db")
    schema.upgrade(engine)
    fields = {
        "key": "main",
        "arms": ["base", "transformer"],
        "control": "base",
        "unit_kind": "<b>mar|ket</b>",
    }
    made = experiment_of(fields, START_US)
    experiments.ensure(engine, made, first_split(made, "test"), "test")
    for share, day in (("0.1", 0), ("0.25", 8), ("0.5", 16)):
        by, at_us = change.By("test", HOSTILE), START_US + day * 25 * HOUR_US
        change.set_share(engine, "main", "transformer", share, by, lambda at_us=at_us: at_us, 0)
    data = b"".join(frame_bytes(msgspec.msgpack.encode(record)) for record in history())
    assert not ingest(engine, "main", [Shipment("j", 0, data)], START_US).dead
    yield engine
    engine.dispose()


def told(engine, **more):
    question = Question(key="main", **more)
    return json.loads(msgspec.json.encode(report_of(engine, question, START_US + 601 * HOUR_US)))


@pytest.fixture(scope="module")
def report(engine):
    return told(engine, by="bot")


# JSON


@pytest.mark.parametrize("by", [None, *SLICE_BYS])
def test_reports_are_as_the_schema_says(engine, by):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    found = told(engine, by=by)
    jsonschema.validate(found, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert (found["slices"] is None) == (by is None)


def test_a_report_without_a_unit_is_as_the_schema_says(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/abctl.db")
    schema.upgrade(engine)
    made = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, START_US)
    experiments.ensure(engine, made, first_split(made, "test"), "test")
    for by in (None, *SLICE_BYS):
        found = told(engine, by=by)
        jsonschema.validate(found, SCHEMA, cls=jsonschema.Draft202012Validator)
        assert page(found).count("<figure>") == 0
        assert "cannot say yet" in markdown(found)
    engine.dispose()


def test_the_schema_names_every_field(report):
    assert set(report) == set(SCHEMA["required"]) == set(SCHEMA["properties"])


def test_the_window_adds_up(engine):
    whole, week = told(engine, days=400), told(engine, days=7)
    for arm, row in whole["window"]["arms"].items():
        told_row = whole["arms"][arm]
        for name in COUNTED:
            assert row[name] == told_row[name], name
        assert row["pnl_per_decision_usd"] == pytest.approx(row["pnl_usd"] / row["decisions"])
        assert row["edge"] == pytest.approx(row["wins"] / row["traded"] - 0.5), "each paid 0.5, two a unit"
        assert row["edge_trades"] == row["trades"]
    assert whole["window"]["covers_all"]
    closed = [n for n in range(600) if n + 0.5 >= 601 - 7 * 24]
    assert sum(row["units"] for row in week["window"]["arms"].values()) == len(closed)
    assert {k for k in week if week[k] != whole[k]} == {"days", "window"}


def test_served_by_a_stand_in_is_told_beside_assigned(report):
    treated, base = (report["served"]["arms"][arm] for arm in ("transformer", "base"))
    moved = treated["assigned"]["units"] - treated["served"]["units"]
    assert moved == treated["fallbacks"] // 2 > 3
    assert base["served"]["units"] == base["assigned"]["units"] + moved
    assert report["served"]["estimate_served"] != report["served"]["estimate_assigned"]


def test_slices_hold_every_mature_unit_once(engine):
    for by, slices in (("market", 3), ("bot", 2), ("day", 25), ("model", 1)):
        found = told(engine, by=by)
        assert len(found["slices"]["slices"]) == slices
        for arm, row in found["arms"].items():
            assert sum(part["units"][arm] for part in found["slices"]["slices"]) == row["mature"]


# page and Markdown


class Seen(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def seen(html):
    found = Seen()
    found.feed(html)
    return found


def test_the_page_has_all_charts_and_nothing_that_runs_or_is_fetched(report):
    html = page(report)
    found = seen(html)
    assert found.tags.count("svg") == found.tags.count("figure") == 6
    assert not {"script", "img", "iframe", "link", "b", "object", "form"} & set(found.tags)
    links = [value for name, value in found.attributes if name in {"href", "xlink:href", "src"}]
    assert all(value.startswith("#") for value in links)
    assert not re.search(r"url\((?!#)|@import", html)
    assert len(html) < 300_000
    for svg in re.findall(r"<svg .*?</svg>", html, re.DOTALL):
        ET.fromstring(svg)  # noqa: S314 - our own


def test_hostile_names_are_text(report):
    found = seen(page(report))
    text = "".join(found.text)
    assert HOSTILE in text, "the bots' names"
    assert "<b>mar|ket</b>" in text
    assert not [name for name, _ in found.attributes if name.startswith("on")]


def test_the_page_of_the_same_report_is_the_same(report):
    assert page(report) == page(json.loads(json.dumps(report)))


def test_an_arm_may_have_a_name_that_charts_would_hide_or_typeset(report):
    renamed = json.loads(json.dumps(report).replace('"transformer"', '"_$x^2$<i>"'))
    renamed["treatment"] = "_$x^2$<i>"
    text = "".join(seen(page(renamed)).text)
    assert text.count("_$x^2$<i>") >= 4, "the legends name it, as it is"


def test_markdown_is_tables_with_escaped_names(report):
    text = markdown(report)
    for line in text.splitlines():
        assert not re.search(r"(?<!\\)<", line), line
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) >= 3, line
    rows = [line for line in text.splitlines() if line.startswith("| \\<script")]
    assert len(rows) == 2
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}


def test_all_formats_say_the_headline_and_every_warning(report):
    page_text = "".join(seen(page(report)).text)
    plain_markdown = re.sub(r"\\(.)", r"\1", markdown(report))
    for said in (report["headline"]["sentence"], report["verdict"]["reason"], *report["warnings"]):
        assert said in page_text
        assert said in plain_markdown
    assert report["dependence"]["sentence"] in page_text
    assert report_tables.served_line(report) in plain_markdown


def test_a_process_aside_draws_the_same_page(report, tmp_path):
    assert page_aside(report, tmp_path).decode() == page(report)


def test_tables_and_markdown_import_no_plotting():
    code = (
        "import router.report_tables, router.report_markdown, router.report, router.app, cli.report_view, sys"
    )
    command = [sys.executable, "-c", f"{code}; print('matplotlib' in sys.modules)"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stdout == "False\n"


# a real browser


def browse(path, *words):
    with tempfile.TemporaryDirectory(prefix="abctl-browser-") as profile:
        flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
        flags += " --disable-component-update --disable-sync --hide-scrollbars --window-size=1200,1700"
        command = [CHROMIUM, *flags.split(), f"--user-data-dir={profile}", *words, path.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: install it to see the page as people do")
def test_a_browser_shows_the_charts(report, tmp_path):
    from PIL import Image

    file, shot = tmp_path / "report.html", tmp_path / "shot.png"
    file.write_text(page(report), encoding="utf-8")
    dom = seen(browse(file, "--dump-dom").stdout)
    assert dom.tags.count("svg") == 6
    assert "script" not in dom.tags
    browse(file, f"--screenshot={shot}")
    image = np.asarray(Image.open(shot).convert("RGB"))
    colours = ((0xD1, 0x65, 0x1B), (0x4C, 0x6A, 0x92), (0xE3, 0xE8, 0xEF))
    treatment, control, band = (np.argwhere(np.all(image == colour, axis=2)) for colour in colours)
    assert len(treatment) > 1_000, "the lines of the treatment"
    assert len(control) > 300, "the lines of the control"
    assert len(band) > 20_000, "the stages' bands"
    assert len(set((treatment[:, 0] // 100).tolist())) >= 6, "in all rows of charts, not in one"
    assert len(set((treatment[:, 1] // 600).tolist())) == 2, "in both columns"
