"""`abctl demo` as typed, with few markets and one epoch: it ends, its books balance, nobody is left."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

DEMO = [sys.executable, "-P", "-c", "from cli.main import main; main()", "demo", "--epochs", "1"]


@pytest.fixture
def folder():
    """With a short name, for the socket in it."""
    with tempfile.TemporaryDirectory(prefix="abctl-demo-") as name:
        yield Path(name)


def demo(folder, *words):
    done = subprocess.run(
        [*DEMO, "--directory", folder, *map(str, words)], capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def check_transcript(said):
    """The books balance; the real commands and their answers stand there."""
    (books,) = re.findall(r"decisions: ([\d,]+) sent = ([\d,]+) answered = ([\d,]+) in SQL", said)
    assert len(set(books)) == 1
    assert "every market kept one and the same arm" in said
    for command in ("split set transformer 0.1", "split set transformer 0.5", "report --days 7", "status"):
        assert f"$ abctl {command}" in said
    assert "decisions/s" in said
    return int(books[0].replace(",", ""))


def test_twice_in_the_same_directory(folder, tools, monkeypatch):
    monkeypatch.setenv("ABCTL_SPLIT_LEAD_S", "1.1")
    for _ in range(2):
        assert check_transcript(demo(folder, "--markets", 20)) == 20 * 150
        assert tools.processes_of(folder) == {}
    assert len(list(folder.iterdir())) == 1


@pytest.mark.timeout(200)
def test_on_recorded_markets(folder, tools, shared_dir, monkeypatch):
    """All 36 markets of the second day. So few settle nothing, and the demo says so."""
    monkeypatch.setenv("ABCTL_SPLIT_LEAD_S", "1.1")
    said = demo(folder, "--data", shared_dir / "data" / "polymarket_btc15m_1s")
    assert check_transcript(said) > 20_000
    assert "markets cannot settle this" in said
    assert tools.processes_of(folder) == {}
