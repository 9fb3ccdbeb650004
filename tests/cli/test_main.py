"""Every command explains itself, with an example, and speaks JSON."""

import json
import shlex
from importlib.metadata import version

import pytest
import typer
from typer.core import TyperGroup

from cli import doctor
from cli.failures import UNAVAILABLE
from cli.main import app
from cli.starters import ensure_champions
from store.sql import open_engine


def leaves(command, path=()):
    if not isinstance(command, TyperGroup):
        yield " ".join(path), command
        return
    for name, child in command.commands.items():
        yield from leaves(child, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


def test_the_commands_are_those_of_the_design():
    assert set(COMMANDS) == {
        *("serve", "status", "report", "ope", "power", "aa", "import", "demo", "doctor"),
        *("data import", "data info"),
        *(f"db {name}" for name in ("upgrade", "verify", "rebuild", "export", "moments", "backup", "prune")),
        *(
            f"rollout {name}"
            for name in (
                "start",
                "status",
                "pause",
                "resume",
                "approve",
                "abort",
                "history",
                "verify",
                "run",
                "plan check",
            )
        ),
        *(f"bandit {name}" for name in ("run", "status", "resume")),
        *(f"split {name}" for name in ("show", "set", "restore", "history", "kill", "lift", "shadow")),
        *(f"experiment {name}" for name in ("create", "list", "show", "archive")),
        *("arm list", "arm add", "key create", "key list", "key revoke"),
        *(
            f"model {name}"
            for name in (
                "train",
                "evaluate",
                "compare",
                "attention",
                "export",
                "starters",
                "import",
                "list",
                "promote",
                "history",
                "rollback",
            )
        ),
    }


@pytest.mark.parametrize("path", COMMANDS)
def test_help_has_an_example_that_can_be_typed(abctl, path):
    told = abctl(*path.split(), "--help")
    assert told.code == 0
    example = " ".join(told.out.split("Example: ")[1].split("\n\n")[0].split())
    words = shlex.split(example)
    assert words[: 1 + len(path.split())] == ["abctl", *path.split()]
    known = {name for p in COMMANDS[path].params for name in (*p.opts, *p.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_json(path):
    assert any("--json" in param.opts for param in COMMANDS[path].params)


@pytest.mark.parametrize("words", [[], ["split"], ["model"]])
def test_without_a_command_help_is_shown(abctl, words):
    told = abctl(*words)
    assert "Usage: abctl" in told.out + told.err
    assert told.code in {0, 2}


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["split", "set", "transformer"],
        ["report", "--days", "soon"],
        ["report", "--days", "0"],
        ["report", "--format", "xml"],
        ["serve", "--port", "eighty"],
        ["experiment", "create", "missing.toml"],
        ["arm", "add", "mine", "missing.onnx", "--window", "5"],
        ["model", "train", "--arm", "base", "--output", "m", "--epochs", "0"],
        ["demo", "--markets", "1"],
    ],
)
def test_wrong_usage_is_exit_code_2_and_makes_nothing(abctl, tmp_path, words):
    told = abctl(*words)
    assert told.code == 2
    assert "Usage: abctl" in told.err
    assert not list(tmp_path.iterdir())


READING = [
    ["status"],
    ["report"],
    ["split", "show"],
    ["split", "history"],
    ["experiment", "list"],
    ["experiment", "show", "main"],
    ["arm", "list"],
    ["model", "list"],
    ["db", "upgrade"],
    ["doctor"],
]


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_json_is_all_there_is_on_stdout(abctl, words):
    abctl("db", "upgrade")
    told = abctl(*words, "--json")
    assert told.code == 0, told.err
    json.loads(told.out)


@pytest.fixture
def furnished(abctl, tmp_path):
    """A data directory as one is after some weeks: models, keys, experiments, and what people write."""
    assert abctl("db", "upgrade").code == 0
    engine = open_engine(f"sqlite:///{tmp_path / '.abctl' / 'abctl.db'}")
    ensure_champions(engine)
    engine.dispose()
    three = tmp_path / "three.toml"
    three.write_text('key = "three-arms"\narms = ["base", "transformer", "ghost"]\ncontrol = "base"\n')
    assert abctl("experiment", "create", three).code == 0
    for arm, share in (("transformer", "0.333333"), ("ghost", "0.123456")):
        words = ["split", "set", arm, share, "--no-wait", "--experiment", "three-arms"]
        assert abctl(*words, "--reason", f"see [/x] and [red]{'the minutes of the meeting ' * 4}").code == 0
    for name in ("operations-team", "market-maker-3"):
        scopes = [word for scope in ("decide", "record", "report") for word in ("--scope", scope)]
        assert abctl("key", "create", name, *scopes, "--experiment", "three-arms").code == 0
    assert abctl("key", "revoke", "market-maker-3").code == 0
    return abctl


MORE_READING = [["key", "list"], *([*words, "--experiment", "three-arms"] for words in READING[1:4])]


@pytest.mark.parametrize("words", [*READING, *MORE_READING], ids=" ".join)
def test_people_get_80_columns(furnished, words):
    told = furnished(*words)
    assert told.code == 0, told.err
    own = [line for line in told.out.splitlines() if "sqlite:///" not in line]
    assert max(map(len, own), default=0) <= 80
    assert told.out
    assert "\x1b" not in told.out


def test_a_reason_is_shown_as_it_was_given(furnished):
    told = furnished("split", "history", "--experiment", "three-arms")
    assert "see [/x] and" in " ".join(told.out.split())
    assert "[red]the" in told.out


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0.3.9", (0, 3, 9)), ("1.2.dev3", (1, 2)), ("2.13.0+cpu", (2, 13))],
)
def test_doctor_compares_versions_by_their_numbers(text, numbers):
    assert doctor.as_numbers(text) == numbers


def test_doctor_knows_an_mlx_without_attention(abctl, monkeypatch):
    monkeypatch.setattr(doctor, "MLX_MIN", (999,))
    told = abctl("doctor")
    assert told.code == UNAVAILABLE
    assert "has no attention module" in told.out
    assert "pip install --upgrade mlx" in " ".join(told.out.split())


def test_doctor_has_a_remedy_for_what_training_runs_into(abctl):
    told = " ".join(abctl("doctor").out.split())
    assert "out of memory in training? --batch-size 32" in told
    assert "loses to base?" in told


def test_doctor_names_the_extra_in_brackets(abctl, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", (("torch", lambda _settings: ("ok", version("no-such-torch"))),))
    assert "pip install 'abctl[train]'" in abctl("doctor").out


def test_doctor_says_what_is_bad_and_fails(abctl, monkeypatch):
    monkeypatch.setenv("ABCTL_DATABASE_URL", "postgresql://x@127.0.0.1:1/x")
    told = abctl("doctor")
    assert told.code == UNAVAILABLE
    assert told.sentence.startswith("bad: database;")
    found = abctl("doctor", "--json")
    assert [each["name"] for each in json.loads(found.out) if each["state"] == "bad"] == ["database"]
    assert json.loads(found.err)["error"]["kind"] == "unavailable"
