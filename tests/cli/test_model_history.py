"""`abctl model promote`, `history` and `rollback` on a real registry; the choice by hand."""

import json
import shutil
import time

import pytest

from cli import failures
from cli.model_history import previous, serving
from cli.starters import starters_folder
from store.models import AliasChange


def change(at_us, model, arm="base", alias="champion"):
    return AliasChange(arm, alias, model, at_us, "me", "")


HISTORY = [change(1, "a"), change(2, "t", arm="transformer"), change(3, "b"), change(4, "b"), change(5, "c")]


@pytest.mark.parametrize(
    ("at_us", "expected"),
    [(0, []), (1, ["a"]), (2, ["a", "t"]), (4, ["b", "t"]), (9, ["c", "t"])],
)
def test_what_served_at_a_time(at_us, expected):
    assert [c.model_id for c in serving(HISTORY, at_us)] == expected


def test_the_one_before_is_another_model():
    assert previous(HISTORY, "base").model_id == "b"
    assert previous(HISTORY[:4], "base").model_id == "a"
    again = [*HISTORY, change(6, "b")]
    assert previous(again, "base").model_id == "c"  # twice goes back and forth


def test_there_and_back(abctl, tmp_path):
    first = imported(abctl, starters_folder() / "base")
    second = imported(abctl, other(tmp_path))
    assert first != second
    refused = abctl("model", "rollback", "--arm", "base")
    assert refused.code == failures.REFUSED
    assert "has never served a model" in refused.sentence
    for model in (first, second):
        assert abctl("model", "promote", model).code == failures.OK
    told = abctl("model", "rollback", "--arm", "base", "--reason", "trades too much", "--json")
    assert json.loads(told.out)["id"] == first
    changes = json.loads(abctl("model", "history", "--arm", "base", "--json").out)
    assert [c["model_id"] for c in changes] == [first, second, first]
    assert changes[-1]["reason"] == "trades too much"
    assert changes[-1]["actor"]
    (then,) = json.loads(abctl("model", "history", "--at", changes[1]["since"], "--json").out)
    assert then["model_id"] == second
    assert "trades too much" in abctl("model", "history").out
    assert champions(abctl) == [first]


def test_a_challenger_serves_nobody_until_it_is_promoted(abctl, tmp_path):
    first = imported(abctl, starters_folder() / "base")
    second = imported(abctl, other(tmp_path))
    assert abctl("model", "promote", first).code == failures.OK
    done = abctl("model", "promote", second, "--alias", "challenger", "--arm", "base")
    assert "abctl model promote base@challenger" in done.out
    named = {m["id"]: m["aliases"] for m in json.loads(abctl("model", "list", "--json").out)}
    assert named == {first: ["champion"], second: ["challenger"]}
    assert champions(abctl) == [first]
    done = abctl("model", "promote", "base@challenger", "--json")
    assert json.loads(done.out) == {"id": second, "arm": "base", "alias": "champion"}
    assert champions(abctl) == [second]
    changes = json.loads(abctl("model", "history", "--json").out)
    assert [c["alias"] for c in changes] == ["champion", "challenger", "champion"]
    assert json.loads(abctl("model", "rollback", "--arm", "base", "--json").out)["id"] == first


@pytest.mark.parametrize("name", ["transformer@challenger", "base@best", "@champion", "base@", "@"])
def test_a_name_that_names_nothing_is_refused(abctl, name):
    assert abctl("model", "promote", imported(abctl, starters_folder() / "base")).code == failures.OK
    done = abctl("model", "promote", name)
    assert done.code == failures.NOT_FOUND
    assert name in done.sentence


def test_too_little_of_an_id_is_refused_and_four_characters_are_enough(abctl):
    model = imported(abctl, starters_folder() / "base")
    for letters in range(1, 4):
        done = abctl("model", "promote", model[:letters])
        assert done.code == failures.REFUSED
        assert f"'{model[:letters]}' is too short: give at least 4 characters of an id" in done.sentence
    assert champions(abctl) == []
    assert abctl("model", "promote", model[:4]).code == failures.OK
    assert champions(abctl) == [model]


def test_another_alias_is_refused(abctl):
    done = abctl("model", "promote", "2a62", "--alias", "best")
    assert done.code == failures.REFUSED
    assert "champion or challenger" in done.sentence


def champions(abctl):
    return [m["id"] for m in json.loads(abctl("model", "list", "--json").out) if m["champion"]]


def other(tmp_path):
    """A model with the same answers and another id."""
    shutil.copytree(starters_folder() / "base", tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text().replace('"seed": 0', '"seed": 7'))
    return tmp_path / "other"


def imported(abctl, folder):
    done = abctl("model", "import", folder, "--arm", "base", "--json")
    assert done.code == failures.OK, done.err
    time.sleep(0.01)
    return json.loads(done.out)["id"]


def test_what_is_wrong_is_said(abctl):
    assert abctl("model", "history").code == failures.OK
    assert "no model yet" in abctl("model", "history").err
    assert abctl("model", "rollback", "--arm", "base").code == failures.NOT_FOUND
    done = abctl("model", "history", "--at", "yesterday")
    assert done.code == failures.REFUSED
    assert "--at" in done.sentence
