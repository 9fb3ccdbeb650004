"""The report's page: the verdict first, the bound before the estimate, what is no evidence last."""

import csv
import io
import json
from copy import deepcopy
from pathlib import Path

import pytest

from cli import report_view
from cli.terminal import width

REPORT = json.loads(Path(__file__).with_name("report.json").read_text())


@pytest.fixture
def page(capsys):
    def render(report=REPORT):
        report_view.show_report(report)
        return capsys.readouterr().out

    return render


def test_the_order_of_the_page(page):
    text = page()
    marks = [
        "main: transformer against base: better",
        "is at least",
        "Effect since the start",
        "Adjusted rates",
        "Raw rates",
        "Raw money",
        "Units by assigned arm",
        "Stages",
        "Assignment (SRM",
        "Not evidence",
    ]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)


def test_the_page_fits_and_wastes_no_line(page):
    text = page()
    assert max(map(len, text.splitlines())) <= width()
    assert "\n\n\n" not in text
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_the_lower_bound_leads_the_effect():
    table = report_view.effect_table(REPORT)
    assert list(table.columns[1:4]) == ["low", "estimate", "high"]
    assert [row[0] for row in table.rows] == ["P(profit)", "PnL/unit"]


def test_adjusted_rates_differ_by_the_estimate():
    arms, effect = REPORT["arms"], REPORT["effect"]
    gap = arms["transformer"]["profit_rate_adjusted"] - arms["base"]["profit_rate_adjusted"]
    assert gap == pytest.approx(effect["estimate"])


def test_names_and_numbers_are_never_broken(page):
    report = deepcopy(REPORT)
    name = "a-very-long-arm-name-that-somebody-chose-in-a-hurry-and-regrets"
    report["arms"][name] = report["arms"].pop("transformer")
    report["arms"][name] |= {"pnl_usd": -1_234_567.891, "units": 1_234_567}
    text = page(report)
    assert name in text
    assert "-$1,234,567.89" in text
    assert "1,234,567" in text


def test_a_metric_in_money_has_no_rate_row():
    report = deepcopy(REPORT)
    report["effect"] = report["pnl_effect"]
    assert [row[0] for row in report_view.effect_table(report).rows] == ["PnL/unit"]
    assert list(report_view.adjusted_table(report).columns) == ["arm", "PnL/unit"]


def test_a_window_is_shown_only_where_it_is_not_everything(page):
    assert "window, not evidence" not in page()
    report = deepcopy(REPORT)
    report["window"]["covers_all"] = False
    assert "Last 7 days (window, not evidence)" in page(report)


def test_alarms_and_warnings_are_said(page):
    report = deepcopy(REPORT)
    report["srm"]["alarm"] = True
    report["excluded"] |= {"forced": 3, "unserved": 1_234}
    report["naive"] |= {"z": 4.2, "p": 0.00003}
    report["warnings"] = ["units with paper fills are left out"]
    text = page(report)
    assert "ALARM" in text
    assert "Left out or odd: 3 forced, 1,234 unserved." in " ".join(text.split())
    assert "z = 4.20, p = 3e-05" in " ".join(text.split())
    assert "! units with paper fills" in text


def test_csv_has_one_row_per_arm(abctl):
    abctl("split", "set", "transformer", "0.1")
    told = abctl("report", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(told.out)))
    assert [row["arm"] for row in rows] == ["base", "transformer"]
    assert rows[0]["win_rate"] == "", "not known is empty, never 0 or nan"


def test_the_json_format_is_json(abctl):
    abctl("split", "set", "transformer", "0.1")
    assert json.loads(abctl("report", "--format", "json").out)["experiment"] == "main"
