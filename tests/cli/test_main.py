"""Every command explains itself, with an example, and speaks JSON."""

import json
import shlex

import pytest
import typer
from typer.core import TyperGroup

from cli.main import app


def leaves(command, path=()):
    if not isinstance(command, TyperGroup):
        yield " ".join(path), command
        return
    for name, child in command.commands.items():
        yield from leaves(child, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


def test_the_commands_are_those_of_the_design():
    assert set(COMMANDS) == {
        *("serve", "status", "report", "demo", "doctor", "data import", "data info"),
        *(f"db {name}" for name in ("upgrade", "verify", "rebuild", "export", "backup", "prune")),
        *(f"split {name}" for name in ("show", "set", "restore", "history", "kill", "lift")),
        *(f"experiment {name}" for name in ("create", "list", "show", "archive")),
        *("arm list", "arm add", "key create", "key list", "key revoke"),
        *(f"model {name}" for name in ("train", "starters", "import", "list", "promote")),
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
        ["report", "--json", "--format", "csv"],
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


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_people_get_80_columns(abctl, words):
    abctl("db", "upgrade")
    told = abctl(*words)
    assert told.code == 0, told.err
    own = [line for line in told.out.splitlines() if "sqlite:///" not in line]
    assert max(map(len, own), default=0) <= 80
    assert "\x1b" not in told.out
