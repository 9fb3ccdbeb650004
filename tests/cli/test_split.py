"""`abctl split` and `abctl status` as typed, before any service, beside one and after it."""

import json
import sqlite3
import time

import pytest

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
    assert json.loads(lifted.out) == {"experiment": "main", "arm": "transformer", "state": "lifted"}
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


def test_a_database_of_another_release_is_named_and_does_not_hinder_a_kill(abctl, tmp_path):
    abctl("split", "set", "transformer", "0.1", "--no-wait")
    with sqlite3.connect(tmp_path / ".abctl" / "abctl.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert "abctl db upgrade" in abctl("status").sentence
    assert "9999" in abctl("report").sentence
    assert abctl("split", "kill", "transformer").code == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["split", "set", "transformer", "1.5"], 3),
        (["split", "set", "nope", "0.1"], 4),
        (["split", "show"], 4),
        (["split", "history"], 4),
        (["report", "--data-dir", "typo"], 4),
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
