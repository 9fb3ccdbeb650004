"""`abctl bandit` as typed."""

import json

import pytest

TOML = """
key = "play"
arms = ["base", "transformer"]
control = "base"
mode = "bandit"
bandit_floor = 0.1
"""


@pytest.fixture
def playing(abctl, tmp_path):
    """The command, in an experiment that is a bandit."""
    (tmp_path / "play.toml").write_text(TOML)
    made = abctl("experiment", "create", "play.toml")
    assert made.code == 0, made.err
    assert "shares follow the arms' chances to be the best, none below 10%" in " ".join(made.out.split())
    return lambda *words: abctl("bandit", *words, "--experiment", "play")


def test_its_life_on_the_command_line(playing, abctl):
    first = playing("run", "--once")
    assert first.code == 0, first.err
    assert "play: moved, base 50% transformer 50%" in " ".join(first.out.split())
    again = json.loads(playing("run", "--once", "--json").out)
    assert (again["action"], again["cause"], again["split_version"]) == ("hold", "not_due", 2)
    told = playing("status")
    assert "Regret so far: cannot say yet" in " ".join(told.out.split())
    assert max(map(len, told.out.splitlines())) <= 80
    found = json.loads(playing("status", "--json").out)
    assert found["regret"]["status"] == "not_ready"
    assert (found["floor"], found["interval_s"], found["last_move"]["version"]) == (0.1, 3600, 2)
    assert found["chances"] == pytest.approx({"base": 0.5, "transformer": 0.5})
    assert playing("resume").out == "the bandit of play was not held by hand\n"
    assert abctl("split", "restore", "1", "--experiment", "play").code == 0
    assert json.loads(playing("status", "--json").out)["cause"] == "by_hand"
    assert json.loads(playing("resume", "--json").out) == {"experiment": "play", "changed": True}
    assert abctl("split", "kill", "transformer", "--experiment", "play").code == 0
    assert json.loads(playing("status", "--json").out)["cause"] == "killed"


def test_what_is_no_bandit_is_refused_in_one_sentence(abctl):
    abctl("split", "set", "transformer", "0.1")
    told = abctl("bandit", "run", "--once")
    assert told.code == 3
    assert 'create one with mode = "bandit"' in told.sentence


def test_a_bandits_report_tells_its_regret(playing, abctl):
    told = abctl("report", "--experiment", "play")
    assert told.code == 0, told.err
    assert "Regret so far" in " ".join(told.out.split())
    for kind in ("html", "md"):
        page = abctl("report", "--experiment", "play", "--format", kind)
        assert page.code == 0, page.err
        assert "Regret so far" in page.out
    assert abctl("report", "--experiment", "play", "--format", "csv").code == 0
