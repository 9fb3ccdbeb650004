"""The command run in this process (quick) and a real service to run it against."""

import sys
from dataclasses import dataclass

import pytest

from cli import main as command
from cli.own_service import OwnService


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def sentence(self):
        """What went wrong: exactly one line, from us and not from Python."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("abctl: ")
        return lines[0].removeprefix("abctl: ")


@pytest.fixture
def abctl(tmp_path, monkeypatch, capfd):
    """abctl(*words) as the console script runs it, in an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["abctl", *map(str, words)])
        try:
            command.main()
        except SystemExit as end:
            code = end.code or 0
        else:
            code = 0
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """A running service with its own Valkey and SQLite."""
    running = OwnService(tmp_path_factory.mktemp("service"))
    running.start()
    yield running
    running.stop()
