"""Flags before the environment before abctl.toml; a typo makes nothing and is named."""

import json

import pytest

from cli.own_service import OwnService
from cli.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_order_of_the_sources(tmp_path, monkeypatch):
    assert read_settings().port == 8711
    (tmp_path / "abctl.toml").write_text("port = 1\nworkers = 3\n")
    assert read_settings().port == 1
    monkeypatch.setenv("ABCTL_PORT", "2")
    assert read_settings().port == 2
    assert read_settings(port=3).port == 3
    assert read_settings(port=None).port == 2
    assert read_settings().workers == 3


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("ABCTL_DATA_DIR", "")
    assert str(read_settings().data_dir) == ".abctl"


SERVE = ("serve", "--port", "0")
CHANGE = ("split", "set", "transformer", "0.1", "--no-wait")


@pytest.mark.parametrize("words", [SERVE, CHANGE], ids=["serve", "split set"])
def test_a_misspelt_experiment_is_named_and_makes_nothing(abctl, tmp_path, monkeypatch, words):
    monkeypatch.setenv("ABCTL_EXPERIMENT", "mian")
    told = abctl(*words)
    assert told.code == 4
    assert "there is no experiment 'mian'" in told.sentence
    assert "abctl experiment" in told.sentence
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_experiment_is_none_in_a_database_that_is_there_either(abctl, monkeypatch):
    abctl("db", "upgrade")
    monkeypatch.setenv("ABCTL_EXPERIMENT", "mian")
    told = abctl(*SERVE)
    assert told.code == 4
    assert "ABCTL_EXPERIMENT" in told.sentence
    assert "abctl experiment create" in told.sentence
    assert abctl(*CHANGE).code == 4
    assert abctl("db", "upgrade").code == 0
    assert [e["key"] for e in json.loads(abctl("experiment", "list", "--json").out)] == ["main"]


def test_an_experiment_that_was_made_can_be_the_default(abctl, tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('key = "mine"\narms = ["base", "transformer"]\ncontrol = "base"\n')
    assert abctl("experiment", "create", "mine.toml").code == 0
    service = OwnService(tmp_path / ".abctl", {"ABCTL_EXPERIMENT": "mine"})
    service.start()
    try:
        assert json.loads(service.command("split", "show", "--json"))["experiment"] == "mine"
    finally:
        service.stop()


def test_the_database_is_sqlite_in_the_data_directory_unless_named(tmp_path):
    assert read_settings().sql_url == f"sqlite:///{tmp_path}/.abctl/abctl.db"
    assert read_settings(database_url="postgresql://h/d").sql_url == "postgresql://h/d"


def test_doctor_names_a_misspelt_variable(abctl, monkeypatch):
    monkeypatch.setenv("ABCTL_DATABSE_URL", "postgresql://h/d")
    told = abctl("doctor", "--json")
    assert told.code == 6
    finding = next(f for f in json.loads(told.out) if f["name"] == "environment")
    assert (finding["state"], "ABCTL_DATABSE_URL" in finding["text"]) == ("bad", True)


def test_doctor_knows_the_variables_of_the_deployment(abctl, monkeypatch):
    monkeypatch.setenv("ABCTL_POSTGRES_PASSWORD", "s3cret")
    monkeypatch.setenv("ABCTL_API1", "127.0.0.1:1")
    findings = {f["name"]: f for f in json.loads(abctl("doctor", "--json").out)}
    assert findings["environment"]["state"] == "ok"


def test_doctor_tells_what_training_would_use(abctl):
    findings = {f["name"]: f for f in json.loads(abctl("doctor", "--json").out)}
    assert "threads" in findings["torch"]["text"]
    assert "default device" in findings["mlx"]["text"]
    assert findings["starter models"]["state"] == "ok"


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("DECISIONS_AT_ONCE", "0", "greater than or equal to 1"),
        ("DECISIONS_AT_ONCE", "10001", "less than or equal to 10000"),
        ("DECISIONS_AT_ONCE", "1.5", "valid integer"),
        ("OVERLOAD", "drop", "'refuse' or 'control'"),
        ("ARM_TIMEOUT_MS", "0.5", "greater than or equal to 1"),
        ("ARM_TIMEOUT_MS", "60001", "less than or equal to 60000"),
        ("ARM_TIMEOUT_MS", "nan", "finite number"),
    ],
)
def test_what_is_out_of_range_names_the_setting_and_the_rule(abctl, monkeypatch, name, value, rule):
    monkeypatch.setenv(f"ABCTL_{name}", value)
    told = abctl(*SERVE)
    assert told.code == 3
    assert told.sentence.startswith(f"setting {name.lower()} (ABCTL_{name}): ")
    assert rule in told.sentence


def test_every_setting_has_a_default():
    assert not [name for name, field in Settings.model_fields.items() if field.is_required()]
