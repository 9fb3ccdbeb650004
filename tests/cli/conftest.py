"""The command run in this process (quick) and a real service to run it against."""

import sys
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from cli import main as command
from cli.lab import WORLDS
from cli.own_service import OwnService
from market.recording import DEPTH_NAMES, MARKET_SCHEMA, TICK_SCHEMA, write_recording
from market.tape import QUOTE_NAMES


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


RECORDED_ASSETS = ("btc", "btc", "eth", "btc", "btc", "sol", "btc", "btc")


def recorded(folder, assets=RECORDED_ASSETS, spoil=lambda ticks: ticks, excluded=None):
    """Simulated markets as a recording of these assets; `spoil` makes the ticks odd."""
    ticks, rows = [], []
    for i, asset in enumerate(assets):
        tape = WORLDS["decoy-fast"].tape(i)
        name, start_us = f"{asset}-updown-15m-{i}", 10_000_000_000 * i
        end_us = start_us + int(tape.end_us - tape.tick_us[0])
        quotes = np.where(tape.prices == 0, np.nan, tape.prices / 1e6)
        columns = {name: quotes[:, i] for i, name in enumerate(QUOTE_NAMES)}
        columns |= {name: tape.depths[:, i] / 1e6 for i, name in enumerate(DEPTH_NAMES)}
        at_us = tape.tick_us - tape.tick_us[0] + start_us
        ticks.append(pl.DataFrame({"market": [name] * len(at_us), "tick_us": at_us, **columns}, TICK_SCHEMA))
        counts = dict.fromkeys(("gaps", "max_gap_us", "one_sided", "crossed", "duplicates"), 0)
        facts = {"market": name, "start_us": start_us, "end_us": end_us, "up_won": tape.up_won}
        rows.append(
            {**facts, "excluded": excluded, "ticks": len(at_us), **counts, "fees": "none", "source": "x"}
        )
    write_recording(folder, spoil(pl.concat(ticks)), pl.DataFrame(rows, MARKET_SCHEMA))


@pytest.fixture
def recording():
    """Makes a folder a recording of simulated markets."""
    return recorded
