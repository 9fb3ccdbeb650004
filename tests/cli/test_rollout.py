"""`abctl rollout` as typed: from a template to a rollback, on a directory of its own."""

import json
import sqlite3

import pytest


@pytest.fixture
def planned(abctl, tmp_path):
    """The command, with the default plan beside it."""
    (tmp_path / "plan.toml").write_text(abctl("rollout", "plan").out)
    return abctl


def test_a_template_is_a_plan_that_can_be_checked(planned):
    told = planned("rollout", "plan", "check", "plan.toml", "--units-per-day", "384", "--pnl-sd", "0.4")
    assert told.code == 0, told.err
    said = " ".join(told.out.split())
    assert "Finds 5.0 points with a chance of more than 99.9% (half of them by day 14" in said
    assert "units a day 384 (given)" in said
    assert "control's rate 0.5 (ASSUMED)" in said
    assert 'never shipped on "inconclusive"' in said
    assert max(map(len, told.out.splitlines())) <= 80
    found = json.loads(planned("rollout", "plan", "check", "plan.toml", "--json").out)
    assert found["known"]["pnl_sd_usd"] == {"value": None, "source": "unknown"}
    assert sum(found["alpha"]["rollback"]["tests"].values()) == pytest.approx(0.05)


def test_the_week_is_told_as_weak_as_it_is(abctl, tmp_path):
    (tmp_path / "week.toml").write_text(abctl("rollout", "plan", "--template", "guide-1-week").out)
    said = " ".join(abctl("rollout", "plan", "check", "week.toml", "--pnl-sd", "0.4").out.split())
    assert "promotes an equal arm with 5.0%" in said
    assert "(at the look of day 8)" in said
    assert "it ends after 8 days at the latest: the control gets its units back" in said
    assert "Waiver: One cycle" in said


def test_a_wrong_plan_is_refused_in_one_sentence_and_makes_nothing(abctl, tmp_path):
    (tmp_path / "plan.toml").write_text("version = 1\nholdbak = 0.05\n")
    for words in (["plan", "check"], ["start"]):
        told = abctl("rollout", *words, "plan.toml")
        assert told.code == 3
        assert "plan is not" not in told.sentence
        assert "breaks a rule" in told.sentence
    assert [path.name for path in tmp_path.iterdir()] == ["plan.toml"]
    assert abctl("rollout", "plan", "--template", "quick").code == 3


def test_its_life_on_the_command_line(planned):
    assert "10%: the first stage begins" in " ".join(
        planned("rollout", "start", "plan.toml", "--reason", "new model").out.split()
    )
    assert json.loads(planned("split", "show", "--json").out)["weights"]["transformer"] == 0.1
    again = planned("rollout", "start", "plan.toml")
    assert (again.code, "open rollout" in again.sentence) == (5, True)
    assert planned("rollout", "approve").code == 4
    assert planned("rollout", "pause", "--reason", "lunch").out == "rollout 1 of main is paused\n"
    assert planned("rollout", "pause").out == "rollout 1 of main was paused already\n"
    assert json.loads(planned("rollout", "status", "--json").out)["verdict"]["action"] == "paused"
    assert planned("rollout", "resume").out == "rollout 1 of main goes on\n"
    assert json.loads(planned("rollout", "run", "--once", "--json").out)["cause"] == "too_young"
    told = planned("rollout", "status")
    assert "stage 1 of 3" in told.out
    assert "last look" in told.out
    assert json.loads(planned("rollout", "status", "--json").out)["watch"]["by"]
    assert max(map(len, told.out.splitlines())) <= 80


def test_a_kill_gives_the_units_back_and_the_history_says_on_what(planned):
    planned("rollout", "start", "plan.toml")
    planned("split", "kill", "transformer", "--reason", "prices look wrong")
    assert "rolled back" in planned("rollout", "run", "--once").out
    assert json.loads(planned("split", "show", "--json").out)["restored_from"] == 1
    lines = json.loads(planned("rollout", "history", "--json").out)
    assert [line["kind"] for line in lines] == ["started", "advanced", "rolled_back"]
    assert lines[-1]["cause"] == "killed"
    assert lines[-1]["evidence"]["killed"] == ["transformer"]
    told = planned("rollout", "verify", "--json")
    assert told.code == 0, told.err
    assert [line["same"] for line in json.loads(told.out)] == [True, True]
    assert max(map(len, planned("rollout", "history").out.splitlines())) <= 80
    assert planned("rollout", "run").code == 0  # it is over: there is nothing to wait for


def test_abort_gives_back_or_keeps(planned):
    planned("rollout", "start", "plan.toml")
    assert planned("rollout", "abort", "--keep-split").out == "rollout 1 of main is over\n"
    assert json.loads(planned("split", "show", "--json").out)["weights"]["transformer"] == 0.1
    planned("rollout", "start", "plan.toml")
    planned("rollout", "abort")
    assert json.loads(planned("split", "show", "--json").out)["weights"]["transformer"] == 0.0
    over = planned("rollout", "pause")
    assert (over.code, "is over: aborted" in over.sentence) == (4, True)


def test_a_plan_of_another_release_is_ended_as_its_error_says(planned, tmp_path):
    planned("rollout", "start", "plan.toml")
    with sqlite3.connect(tmp_path / ".abctl" / "abctl.db") as database:
        database.execute("UPDATE rollout SET plan_digest = 'of another one'")
    database.close()
    refused = planned("rollout", "run", "--once")
    assert (refused.code, "or abort the rollout" in refused.sentence) == (3, True)
    assert planned("rollout", "abort").out == "rollout 1 of main is over\n"
    assert json.loads(planned("split", "show", "--json").out)["weights"]["transformer"] == 0.0


@pytest.mark.parametrize("word", ["status", "pause", "run", "verify", "history"])
def test_where_nothing_is_it_says_how_to_begin(abctl, tmp_path, word):
    words = ["run", "--once"] if word == "run" else [word]
    told = abctl("rollout", *words)
    assert told.code == 4
    assert list(tmp_path.iterdir()) == []
    abctl("db", "upgrade")
    if word != "history":
        assert "abctl rollout start PLAN.toml" in abctl("rollout", *words).sentence
