"""Whether somebody holds a file's lock: true exactly as long as the holder lives, for the kernel keeps it."""

import fcntl
import os
from pathlib import Path


def is_locked(lock: Path) -> bool:
    """Makes no file, and two that ask at once do not take each other for the holder."""
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
