"""`abctl power`, as it is typed."""

import json

import pytest
from typer.testing import CliRunner

from cli.failures import Refused
from cli.main import app

ASKED = ["power", "--baseline", "0.55", "--lift", "0.05", "--share", "0.1", "--units-per-day", "384"]


def test_people_get_a_headline_and_a_table_of_80_columns() -> None:
    said = CliRunner().invoke(app, [*ASKED, "--correlation", "0.5"]).stdout
    assert said.startswith("A rise of 5 points takes 21.9 days by one planned look")
    assert all(name in said for name in ("one planned look", "looked at any time", "paired shadow"))
    assert max(len(line) for line in said.splitlines()) <= 80


def test_the_shadow_is_never_assumed_in_silence() -> None:
    assert "left out: give --correlation" in CliRunner().invoke(app, ASKED).stdout


def test_the_simulation_agrees_with_what_is_computed() -> None:
    found = json.loads(CliRunner().invoke(app, [*ASKED, "--simulate", "4000", "--json"]).stdout)["simulated"]
    assert found["seed"] == 1
    for each in (found["fixed"], found["sequential"]):
        assert each["low"] - 0.01 <= each["computed"] <= each["high"] + 0.01


def test_what_is_lacking_is_named() -> None:
    said = CliRunner().invoke(app, ["power", "--lift", "0.05"])
    assert said.exit_code == 2
    assert "--baseline and --units-per-day missing: give them, or --from-history" in said.output


@pytest.mark.parametrize("wrong", [["--share", "1.5"], ["--simulate", "10", "--cv", "0.5"], ["--icc", "2"]])
def test_what_breaks_a_rule_is_refused(wrong: list[str]) -> None:
    assert isinstance(CliRunner().invoke(app, [*ASKED, *wrong]).exception, Refused)
