"""Flags before the environment before abctl.toml; a typo makes nothing and is named."""

import json

import pytest

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


def test_an_experiment_named_by_a_flag_is_not_made(monkeypatch):
    assert read_settings(experiment="typo").own_experiment == "main"
    monkeypatch.setenv("ABCTL_EXPERIMENT", "mine")
    assert read_settings().own_experiment == "mine"
    assert read_settings(experiment="typo").own_experiment == "main"


def test_the_database_is_sqlite_in_the_data_directory_unless_named(tmp_path):
    assert read_settings().sql_url == f"sqlite:///{tmp_path}/.abctl/abctl.db"
    assert read_settings(database_url="postgresql://h/d").sql_url == "postgresql://h/d"


def test_doctor_names_a_misspelt_variable(abctl, monkeypatch):
    monkeypatch.setenv("ABCTL_DATABSE_URL", "postgresql://h/d")
    told = abctl("doctor", "--json")
    assert told.code == 6
    finding = next(f for f in json.loads(told.out) if f["name"] == "environment")
    assert (finding["state"], "ABCTL_DATABSE_URL" in finding["text"]) == ("bad", True)


def test_doctor_tells_what_training_would_use(abctl):
    findings = {f["name"]: f for f in json.loads(abctl("doctor", "--json").out)}
    assert "threads" in findings["torch"]["text"]
    assert "default device" in findings["mlx"]["text"]
    assert findings["starter models"]["state"] == "ok"


def test_every_setting_has_a_default():
    assert not [name for name, field in Settings.model_fields.items() if field.is_required()]
