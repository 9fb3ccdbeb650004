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
