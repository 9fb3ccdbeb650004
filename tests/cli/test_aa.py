"""`abctl aa` on a log that was imported."""

import csv
import json

import numpy as np
import pytest

from cli.failures import NOT_FOUND, REFUSED

WORDS = (
    *("--map", "unit=who", "--map", "arm=arm", "--map", "decided_at=at", "--map", "pnl_usd=pnl"),
    *("--control", "old", "--treatment", "new", "--share", "new=0.5"),
)


@pytest.fixture
def aa(abctl, tmp_path):
    """Imports a log of 5 trades a unit, all of them won or lost together, and runs the command."""

    def run(*words, units=400):
        rng = np.random.default_rng(1)
        with (tmp_path / "log.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["who", "arm", "at", "pnl"])
            for unit in range(units):
                arm, pnl = rng.choice(["old", "new"]), rng.choice([1.0, -1.0])
                day, minute = 1 + unit * 28 // units, unit % 60
                rows.writerows(
                    [f"u{unit}", arm, f"2026-01-{day:02d}T10:{minute:02d}:0{tick}Z", pnl] for tick in range(5)
                )
        ran = abctl("import", tmp_path / "log.csv", "-e", "own", *WORDS, "--metric", "profit_rate")
        assert ran.code == 0, ran.err
        return abctl("aa", "-e", "own", *words)

    return run


def test_the_rates_on_a_log_with_correlated_trades(aa):
    ran = aa("--runs", "200", "--lift", "0.4", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["schema"], found["status"], found["looks"], found["units"]) == ("abctl.aa/1", "ok", 28, 400)
    rates = found["no_difference"]
    assert rates["ours"]["ever"]["low"] <= 0.05
    assert rates["naive"]["ever"]["low"] > 0.5
    assert rates["clustered"]["ever"]["low"] > 0.05
    assert found["planted"]["ours"]["ever"]["share"] > 0.9


def test_the_same_seed_says_the_same(aa, abctl):
    first = aa("--runs", "100", "--seed", "5", "--json").out
    again = abctl("aa", "-e", "own", "--runs", "100", "--seed", "5", "--json").out
    said, repeated = (json.loads(text) | {"as_of": ""} for text in (first, again))
    assert said == repeated


def test_people_get_a_sentence_and_a_table_of_80_columns(aa):
    said = aa("--runs", "100").out
    assert said.startswith("own: on its own 400 units, their arms dealt anew 100 times")
    assert all(name in said for name in ("naive z over trades", "z with unit-level errors", "abctl report"))
    assert max(map(len, said.splitlines())) <= 80


def test_too_few_units_are_no_proof(aa):
    ran = aa("--runs", "100", units=12)
    assert ran.code == 0
    assert "cannot say" in ran.out
    assert "an interval needs 20 in each" in " ".join(ran.out.split())


def test_a_lift_without_room_is_refused(aa):
    ran = aa("--runs", "100", "--lift", "0.9")
    assert ran.code == REFUSED
    assert "no room for it" in ran.err


def test_an_experiment_that_is_not_there(abctl):
    assert abctl("aa").code == NOT_FOUND
