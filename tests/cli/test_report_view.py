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


@pytest.mark.parametrize(
    ("z", "p", "said"),
    [
        (4.2, 0.00003, "that transformer wins more of its trades than base (z = 4.20, p = 3e-05)"),
        (-4.2, 0.00003, "that base wins more of its trades than transformer (z = -4.20, p = 3e-05)"),
        (1.0, 0.32, "that neither arm wins more of its trades (z = 1.00, p = 0.32)"),
    ],
)
def test_what_a_naive_test_concludes_is_said_with_why_not_to_believe_it(z, p, said):
    line = report_tables.naive_line({**REPORT, "naive": {"z": z, "p": p}})
    assert line.startswith(f"Not evidence: a naive per-trade test would have said {said}, as if")
    assert "Do not believe it: trades of one unit share its outcome" in line


@pytest.mark.parametrize(
    ("idle", "said"),
    [(("base",), "no trade of base was"), (("base", "transformer"), "no trade of base and transformer was")],
)
def test_where_no_trades_were_reported_the_arm_is_named(idle, said):
    arms = {arm: row | {"trades": 0 if arm in idle else 7} for arm, row in REPORT["arms"].items()}
    line = report_tables.naive_line(
        {**REPORT, "naive": {"z": None, "p": None}, "arms": {**arms, "third": {**arms["base"], "trades": 0}}}
    )
    assert said in line and "third" not in line


def test_a_clean_coin_beside_units_that_it_could_not_give_is_no_plain_clean():
    (line,) = [
        said
        for said in report_tables.check_lines({**REPORT, "srm": {**REPORT["srm"], "impossible": 1_050}})
        if said.startswith("Assignment")
    ]
    assert "clean, but 1,050 units lie in an arm whose share was 0;" in line


def test_slices_say_which_arm_has_how_many_units():
    part = {"name": "BTC", "units": {"base": 3, "transformer": 4}, "stands_out": False}
    part |= dict.fromkeys(("low", "estimate", "high", "e_value", "pnl_estimate_usd"))
    sliced = {"by": "market", "slices": [part], "label": "description", "control": "e-BH"}
    (table,) = report_tables.slice_tables({**REPORT, "slices": sliced})
    assert table.title == "By market, units as base/transformer"
    assert table.rows[0][:2] == ["BTC", "3/4"]
    assert report_tables.slice_lines({**REPORT, "slices": sliced}) == [
        "By market: description. 1 slices, e-BH."
    ]


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
