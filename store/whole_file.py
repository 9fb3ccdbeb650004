"""Writes a small file that is whole and on the disk, or not there at all."""

import os
import uuid
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Makes the folder where it is missing; both are for their owner alone. Replaces what was there."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    staging = path.with_name(f".{uuid.uuid4().hex}")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    staging.replace(path)
