"""A signal to end before there is anything to stop in order."""

import subprocess
import sys

PROGRAM = """
import os, signal
from cli.serve import Interruption

class Connection:
    def __del__(self):
        {fault}

interruption = Interruption()
interruption.listen()
Connection()
print("goes on", flush=True)
interruption.check()
print("was not asked", flush=True)
"""


def run(fault):
    program = PROGRAM.replace("{fault}", fault)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)


def test_a_signal_within_a_finalizer_is_told_to_nobody_and_not_lost():
    done = run("os.kill(os.getpid(), signal.SIGTERM); sum(range(100))")
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n", "")


def test_another_fault_of_a_finalizer_is_told():
    done = run("raise ValueError('broken')")
    assert "ValueError: broken" in done.stderr
    assert done.stdout == "goes on\nwas not asked\n"
