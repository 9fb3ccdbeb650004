"""The report's page: the verdict first, the bound before the estimate, what is no evidence last."""

import csv
import io
import json
from copy import deepcopy
from pathlib import Path

import pytest

from cli import report_view
from cli.terminal import width
from router import report_tables

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
        "by at least",
        "95% interval",
        "Effect since the start",
        "Adjusted rates",
        "Raw rates",
        "Raw money",
        "Units by assigned arm",
        "description, not evidence",
        "Assigned and served",
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
    table = report_tables.effect_table(REPORT)
    assert list(table.columns[1:4]) == ["low", "estimate", "high"]
    assert [row[0] for row in table.rows] == ["P(profit)", "PnL/unit"]


def test_adjusted_rates_differ_by_the_estimate():
    arms, effect = REPORT["arms"], REPORT["effect"]
    gap = arms["transformer"]["profit_rate_adjusted"] - arms["base"]["profit_rate_adjusted"]
    assert gap == pytest.approx(effect["estimate"])


def test_names_and_numbers_are_never_broken(page):
    report = deepcopy(REPORT)
    name = "a-very-long-arm-name-that-somebody-chose-in-a-hurry-and-regrets"
    for part in (report["arms"], report["window"]["arms"], report["served"]["arms"]):
        part[name] = part.pop("transformer")
    report["arms"][name] |= {"pnl_usd": -1_234_567.891, "units": 1_234_567}
    text = page(report)
    assert name in text
    assert "-$1,234,567.89" in text
    assert "1,234,567" in text


def test_a_metric_in_money_has_no_rate_row():
    report = deepcopy(REPORT)
    report["effect"] = report["pnl_effect"]
    assert [row[0] for row in report_tables.effect_table(report).rows] == ["PnL/unit"]
    assert list(report_tables.adjusted_table(report).columns) == ["arm", "PnL/unit"]


def test_the_window_says_what_it_is_and_what_it_covers(page):
    assert "Last 7 days (description, not evidence): all units so far" in page()
    report = deepcopy(REPORT)
    report["window"]["covers_all"] = False
    assert "Last 7 days (description, not evidence): units that ended since" in page(report)


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


@pytest.mark.parametrize(("form", "first"), [("md", "# main: "), ("html", "<!DOCTYPE html>")])
def test_pages_are_printed_and_nothing_else(abctl, form, first):
    abctl("split", "set", "transformer", "0.1")
    told = abctl("report", "--format", form, "--by", "day")
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith(first)


def test_json_contradicts_every_other_form(abctl):
    assert abctl("report", "--json", "--format", "html").code == 2


def test_a_past_moment_is_a_moment_and_past(abctl):
    abctl("split", "set", "transformer", "0.1")
    assert "--as-of" in abctl("report", "--as-of", "yesterday").sentence
    assert "lies in the future" in abctl("report", "--as-of", "2099-01-01T00:00:00Z").sentence
    assert "before 'main' was created" in abctl("report", "--as-of", "2020-01-01T00:00:00Z").sentence
    now = json.loads(abctl("report", "--json").out)
    then = json.loads(abctl("report", "--json", "--as-of", now["as_of"]).out)
    assert then == now


def test_help_says_which_report_reads_decisions(abctl):
    told = " ".join(abctl("report", "--help").out.replace("│", " ").split())
    assert "Without it no report reads decisions" in told
