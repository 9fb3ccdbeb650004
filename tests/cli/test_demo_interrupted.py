"""Ctrl-C in the middle of `abctl demo`: it says so, and nothing runs on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cli import failures

COMMAND = Path(sys.executable).parent / "abctl"
PATIENCE_S = 60


def running_in(folder):
    """Processes whose environment names a data directory below `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ABCTL_DATA_DIR", "").startswith(str(folder)):
                found.append(process)
        except psutil.Error:
            continue
    return found


def told_so_far(log, process, text):
    deadline = time.monotonic() + PATIENCE_S
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize(("reached", "least"), [("== The demo", 0), ("service ready at", 3)])
def test_an_interrupted_demo_says_so_and_leaves_nothing_running(tmp_path, reached, least):
    """least: how many processes run at that moment."""
    log, environment = tmp_path / "log", {**os.environ, "PYTHONUNBUFFERED": "1"}
    words = [COMMAND, "demo", "--markets", "20", "--epochs", "100"]
    with (
        log.open("w") as out,
        subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=out, stderr=out) as process,
    ):
        told_so_far(log, process, reached)
        assert len(running_in(tmp_path)) >= least
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == failures.INTERRUPTED
    told = log.read_text()
    assert told.rstrip().splitlines()[-1] == (
        "abctl: interrupted: nothing of the demo runs any more; what it made stays in .demo"
    )
    assert "Traceback" not in told
    assert running_in(tmp_path) == []
