"""Becomes the private Valkey: python -I -S valkey_launch.py OWNER_PID LOCK_FILE PROGRAM CONFIG.

The server inherits the lock, so the kernel holds it exactly as long as the server lives: a second one waits
here until the first has ended, and never runs on the same append-only file. On Linux the server ends with
its owner. Imports nothing of ours, so that it takes milliseconds.
"""

import fcntl
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(owner_pid: int, lock: str, program: str, config: str) -> None:
    """Never returns."""
    _end_with(owner_pid)
    fd = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    os.set_inheritable(fd, True)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.execv(program, [program, config])  # noqa: S606


def _end_with(owner_pid: int) -> None:
    """Asks the kernel for TERM when the owner dies; a request that an exec keeps."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != owner_pid:
        sys.exit("the owner has died already")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4])
