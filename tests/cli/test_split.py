"""`abctl split` and `abctl status` as typed, before any service, beside one and after it."""

import json
import sqlite3
import time
from contextlib import closing

import pytest
from sqlalchemy import create_engine, inspect

from cli.own_service import OwnService


@pytest.fixture
def at_service(abctl, service, monkeypatch):
    """The command in a directory whose data directory belongs to the running service."""
    monkeypatch.setenv("ABCTL_DATA_DIR", str(service.data_dir))
    return abctl


def test_a_split_can_be_set_before_the_first_start(abctl, tmp_path):
    told = abctl("split", "set", "transformer", "0.1", "--reason", "start small")
    assert told.code == 0
    assert "no service runs here" in told.err
    assert "transformer    10%" in told.out
    assert abctl("report", "--days", "7").code == 0
    service = OwnService(tmp_path / ".abctl")
    service.start()
    try:
        through = abctl("split", "show", "--json")
        assert "through the service" in through.err
        assert json.loads(through.out)["weights"] == {"base": 0.9, "transformer": 0.1}
    finally:
        service.stop()
    assert "no service runs here" in abctl("split", "show").err


def test_set_waits_until_the_split_is_in_force(abctl):
    began = time.monotonic()
    abctl("split", "set", "transformer", "0.2")
    waited_s = time.monotonic() - began
    began = time.monotonic()
    abctl("split", "set", "transformer", "0.3", "--no-wait")
    assert waited_s > 1.5
    assert time.monotonic() - began < waited_s


def test_through_a_service_found_by_its_data_directory(at_service):
    set_ = at_service("split", "set", "transformer", "0.1", "--json")
    assert json.loads(set_.out)["weights"]["transformer"] == 0.1
    assert "through the service at http://127.0.0.1:" in set_.err
    assert "v  in force from" in at_service("split", "history").out
    restored = at_service("split", "restore", "1", "--no-wait")
    assert "base          100%" in restored.out


def test_kill_and_lift_through_the_service(at_service, service):
    killed = at_service("split", "kill", "transformer", "--reason", "prices look wrong")
    assert killed.code == 0
    assert "abctl split lift transformer" in killed.out
    assert "KILLED    main/transformer" in at_service("status").out
    assert (service.data_dir / "KILL").is_file()
    lifted = at_service("split", "lift", "transformer", "--json")
    assert json.loads(lifted.out) == {
        "experiment": "main", "arm": "transformer", "state": "lifted", "changed": True,
    }  # fmt: skip
    assert json.loads(at_service("status", "--json").out)["killed"] == []


@pytest.mark.parametrize("words", [["split", "kill", "transfomer"], ["split", "lift", "transfomer"]])
def test_a_misspelt_arm_is_not_killed(at_service, words):
    told = at_service(*words)
    assert told.code in {3, 4}
    assert "transformer" in told.sentence


def test_a_misspelt_arm_is_not_killed_by_file_either(abctl, tmp_path):
    abctl("split", "set", "transformer", "0.1", "--no-wait")
    assert abctl("split", "kill", "transfomer").code == 4
    assert not (tmp_path / ".abctl" / "KILL").exists()


@pytest.mark.parametrize("word", ["kill", "lift"])
def test_a_kill_where_no_service_has_ever_been_is_none(abctl, tmp_path, word):
    told = abctl("split", word, "transformer", "--data-dir", "typo")
    assert told.code == 4
    assert "--data-dir" in told.sentence
    assert list(tmp_path.iterdir()) == []


def test_a_lift_of_what_was_not_killed_here_changes_nothing_here_and_is_told(abctl, tmp_path):
    abctl("db", "upgrade")
    told = abctl("split", "lift", "transformer")
    assert told.code == 0
    assert told.out == "transformer was not killed in main; other services are told all the same\n"
    abctl("split", "kill", "transformer")
    assert abctl("split", "lift", "transformer").out == "transformer may serve again in main\n"
    assert json.loads(abctl("split", "lift", "transformer", "--json").out)["changed"] is False
    abctl("db", "upgrade")  # tells the audit what was done without it
    with closing(sqlite3.connect(tmp_path / ".abctl" / "abctl.db")) as connection:
        told = connection.execute("SELECT action FROM audit WHERE action LIKE 'arm.%' ORDER BY id").fetchall()
    # Every lift is told, since another node's kill may be heard of here and stand in no file of ours.
    assert told == [("arm.lifted",), ("arm.killed",), ("arm.lifted",), ("arm.lifted",)]


def test_a_lift_of_what_was_not_killed_through_the_service(at_service):
    assert "was not killed in main" in at_service("split", "lift", "transformer").out


def test_a_kill_without_a_service_says_when_it_counts(abctl):
    abctl("db", "upgrade")
    assert "none runs now" in abctl("split", "kill", "transformer").err


def test_status_of_a_running_service(at_service, service):
    told = at_service("status")
    assert f"service   {service.url} (ready)" in told.out
    assert "main, split version" in told.out
    found = json.loads(at_service("status", "--json").out)
    assert found["ready"] == "ready"
    assert found["journal_bytes_not_in_sql"] == 0


def test_status_only_looks(abctl, tmp_path):
    told = abctl("status")
    assert told.code == 0
    assert "not running; start it: abctl serve" in told.out
    assert "nothing there yet" in told.out
    assert list(tmp_path.iterdir()) == []


def test_a_reason_with_brackets_is_shown_as_it_is(abctl):
    for reason in ("see [/x]", "[red]", "[link=http://x]y"):
        share = f"0.{len(reason)}"
        assert abctl("split", "set", "transformer", share, "--no-wait", "--reason", reason).code == 0
    told = abctl("split", "history")
    assert told.code == 0
    for reason in ("see [/x]", "[red]", "[link=http:"):
        assert reason in told.out


def test_a_share_that_is_in_force_already_is_said_to_be(abctl):
    abctl("split", "set", "transformer", "0.1", "--no-wait")
    again = abctl("split", "set", "transformer", "0.10", "--reason", "once more")
    assert again.code == 0
    assert "version 2 says so already: nothing is changed" in again.err
    assert "in force everywhere" not in again.err
    assert json.loads(abctl("split", "set", "transformer", "0.1", "--json").out)["changed"] is False
    assert len(json.loads(abctl("split", "history", "--json").out)) == 2


def test_the_split_of_an_archived_experiment_is_refused(abctl, tmp_path):
    (tmp_path / "old.toml").write_text('key = "old"\narms = ["base", "transformer"]\ncontrol = "base"\n')
    abctl("experiment", "create", "old.toml")
    abctl("experiment", "archive", "old")
    for words in (["set", "transformer", "0.5"], ["restore", "1"]):
        told = abctl("split", *words, "--experiment", "old")
        assert told.code == 5
        assert "'old' is archived" in told.sentence


class TestAnArmWithoutAModel:
    """Allowed, for bots may carry it; never in silence."""

    @pytest.fixture
    def ghostly(self, abctl, tmp_path):
        (tmp_path / "g.toml").write_text('key = "g"\narms = ["base", "ghost"]\ncontrol = "base"\n')
        return lambda *words: abctl(*words, "--experiment", "g") if words[0] == "split" else abctl(*words)

    def test_is_named_when_it_is_made_given_units_and_looked_at(self, ghostly):
        made = ghostly("experiment", "create", "g.toml")
        assert made.code == 0
        assert "(warning: arm ghost has no model yet" in made.err
        assert "ghost has" not in ghostly("status").out
        given = ghostly("split", "set", "ghost", "0.5", "--no-wait")
        assert given.code == 0
        assert "(warning: arm ghost has 50% of the units and no model" in given.err
        assert "abctl model import FILE --arm ghost" in given.err
        assert "! arm ghost has 50% of the units and no model" in ghostly("status").out
        found = json.loads(ghostly("status", "--json").out)["experiments"]
        assert [len(each["warnings"]) for each in found] == [0, 1]

    def test_is_not_named_once_it_has_no_units_or_is_history(self, ghostly):
        ghostly("experiment", "create", "g.toml")
        ghostly("split", "set", "ghost", "0.5", "--no-wait")
        assert "warning" not in ghostly("split", "set", "ghost", "0", "--no-wait").err
        assert "ghost has" not in ghostly("status").out
        ghostly("split", "set", "ghost", "0.5", "--no-wait")
        ghostly("experiment", "archive", "g")
        assert "ghost has" not in ghostly("status").out

    def test_what_ships_has_one_from_the_first_start_on(self, abctl):
        assert "warning" not in abctl("split", "set", "transformer", "0.1", "--no-wait").err
        assert "no model" not in abctl("status").out


ANY_COMMAND = [
    ["status"],
    ["report"],
    ["split", "show"],
    ["split", "set", "transformer", "0.2"],
    ["experiment", "list"],
    ["arm", "list"],
    ["model", "list"],
    ["model", "promote", "ffff"],
]


@pytest.mark.parametrize("revision", ["0001", "9999"])
def test_a_database_of_another_release_is_named_not_migrated_and_does_not_hinder_a_kill(
    abctl, tmp_path, revision
):
    abctl("split", "set", "transformer", "0.1", "--no-wait")
    file = tmp_path / ".abctl" / "abctl.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    for words in ANY_COMMAND:
        told = abctl(*words)
        assert told.code == 3, words
        assert f"at revision {revision}" in told.sentence
        assert "abctl db upgrade" in told.sentence
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(revision,)]
    assert abctl("split", "kill", "transformer").code == 0


class TestOnAServersDatabase:
    """With ABCTL_DATABASE_URL no command needs a data directory, so none makes one."""

    @pytest.fixture
    def at_postgres(self, abctl, fresh_postgres_url, monkeypatch):
        monkeypatch.setenv("ABCTL_DATABASE_URL", fresh_postgres_url)
        return abctl

    def tables(self, url):
        engine = create_engine(url)
        try:
            return inspect(engine).get_table_names()
        finally:
            engine.dispose()

    def test_looking_makes_neither_tables_nor_a_directory(self, at_postgres, fresh_postgres_url, tmp_path):
        for words in (["report"], ["split", "show"], ["split", "history"], ["arm", "list"]):
            told = at_postgres(*words)
            assert told.code == 4, words
            assert "nothing here yet: no tables in" in told.sentence
            assert "ABCTL_DATABASE_URL" in told.sentence
        for words in (["status"], ["experiment", "list"], ["model", "list"]):
            assert at_postgres(*words).code == 0, words
        assert at_postgres("split", "set", "nope", "0.1").code == 4
        assert self.tables(fresh_postgres_url) == []
        assert list(tmp_path.iterdir()) == []

    def test_changing_makes_the_tables_alone(self, at_postgres, tmp_path):
        assert at_postgres("split", "set", "transformer", "0.1", "--no-wait").code == 0
        shown = at_postgres("split", "show", "--json")
        assert json.loads(shown.out)["weights"] == {"base": 0.9, "transformer": 0.1}
        assert at_postgres("report").code == 0
        assert list(tmp_path.iterdir()) == []

    def test_upgrade_makes_tables_and_the_default_experiment(self, at_postgres, tmp_path):
        assert json.loads(at_postgres("db", "upgrade", "--json").out)["changed"] is True
        assert json.loads(at_postgres("db", "upgrade", "--json").out)["changed"] is False
        assert at_postgres("split", "show").code == 0
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["split", "set", "transformer", "1.5"], 3),
        (["split", "set", "nope", "0.1"], 4),
        (["split", "show"], 4),
        (["split", "history"], 4),
        (["report", "--data-dir", "typo"], 4),
        (["arm", "list"], 4),
        (["model", "promote", "ffff"], 4),
    ],
)
def test_a_command_that_fails_makes_nothing(abctl, tmp_path, words, code):
    told = abctl(*words)
    assert told.code == code
    assert told.sentence
    assert list(tmp_path.iterdir()) == []


def test_a_broken_share_is_refused_before_a_service_is_asked(abctl):
    told = abctl("split", "set", "transformer", "0.0000001", "--url", "http://127.0.0.1:1")
    assert told.code == 3
    assert "write 0 or 0.000001 instead" in told.sentence
