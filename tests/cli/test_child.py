"""A child of the service: what ends it, and what its end means."""

import logging
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from cli.child import Child
from cli.hangup import SILENT_S, Hangups
from cli.processes import ProcessConfig
from cli.rolling import Roll


@pytest.fixture
def child(tmp_path):
    """A shipper that waits for `go`."""
    life_read, life_write = os.pipe()
    config = ProcessConfig(
        data_dir=str(tmp_path), metrics_dir=str(tmp_path), sql_url="sqlite://", redis_url="",
        experiment="main", split_lead_s=2.0, fsync_interval_s=0.05, journal_quota_bytes=1 << 20,
        decisions_at_once=256, overload="refuse", arm_timeout_ms=100,
        pepper=b"", is_local=True, listen_fd=-1, life_fd=life_read,
    )  # fmt: skip
    child = Child("shipper", config, (life_read,))
    yield child
    child.end()
    os.close(life_write)
    os.close(life_read)


def open_files():
    return len(list(Path("/dev/fd").iterdir()))


def tend_until(child, true):
    deadline_s = time.monotonic() + 20.0
    while not true():
        assert time.monotonic() < deadline_s
        child.tend(time.monotonic())
        time.sleep(0.02)


def test_one_that_dies_is_counted_and_started_again(child, caplog):
    child.start(time.monotonic())
    first = child.process
    first.kill()
    with caplog.at_level(logging.WARNING):
        tend_until(child, lambda: child.process not in {None, first})
    assert (child.deaths, child.quick_deaths) == (1, 1)
    assert "next start in 0.5 s" in caplog.text


def test_one_that_was_asked_to_end_is_started_again_at_once_and_is_no_death(child, caplog):
    child.start(time.monotonic())
    first = child.process
    child.ask_to_end(time.monotonic())
    with caplog.at_level(logging.WARNING):
        tend_until(child, lambda: child.process not in {None, first})
    assert child.deaths == 0
    assert caplog.text == ""


def test_one_that_cannot_be_started_is_tried_again(child, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    fds = open_files()
    child.tend(time.monotonic())
    assert child.process is None
    assert child.deaths == 1
    assert "it cannot be started" in child.words
    assert open_files() == fds
    monkeypatch.undo()
    tend_until(child, lambda: child.process is not None)


def test_a_successor_that_cannot_be_started_leaves_the_others_alone(child, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    roll = Roll([child], 0.0)
    for now_s in (0.0, 0.1, 0.2):
        roll.step(now_s)
    assert roll.is_over
    assert "it cannot be started" in roll.failure
    assert roll.workers == [child]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_hangup_of_everybody_is_not_for_the_children(child):
    child.start(time.monotonic())
    tend_until(child, lambda: ignores(child.process.pid, signal.SIGHUP))
    child.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert child.process.poll() is None


def ignores(pid, number):
    """Whether a process ignores a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (ignored,) = [int(line.split()[1], 16) for line in lines if line.startswith("SigIgn")]
    return bool(ignored >> (number - 1) & 1)


def test_a_terminal_that_goes_without_a_word_is_forgotten(monkeypatch):
    terminals = [True]
    monkeypatch.setattr("cli.hangup.has_terminal", lambda: terminals[0])
    closed, disowned = (Hangups(had_terminal=True, is_ignored=False) for _ in range(2))
    terminals[0] = False
    for hangups in (closed, disowned):
        hangups.look(100.0)
    assert closed.meaning() == "stop"
    disowned.look(100.1 + SILENT_S)
    assert disowned.meaning() == "restart"
