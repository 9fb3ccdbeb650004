"""The pepper of API keys: a secret of the installation that SQL does not hold.

It is the setting `key_pepper`, which all services of one database share, else a file in the data directory.
"""

import os
import secrets
import uuid
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from store.data_dir import DataDir
from store.errors import BadKey

FILE = "pepper"
CHARACTERS_MIN = 32


def pepper_of(setting: str, data_dir: DataDir) -> bytes:
    """32 bytes; a data directory's own pepper is made at its first use. BadKey where its file was cut short:
    what is left could be guessed."""
    text = setting or _read_or_made(data_dir.root / FILE)
    return blake2b(text.encode(), digest_size=32, person=b"abctl pepper").digest()


def _read_or_made(path: Path) -> str:
    if not path.exists():
        _make(path)
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if len(text) < CHARACTERS_MIN:
        rule = f"{path} must hold the pepper of the API keys, {CHARACTERS_MIN} characters or more"
        raise BadKey(f"{rule}: restore it, or remove it, which ends all keys")
    return text


def _make(path: Path) -> None:
    """On the disk before anybody depends on it; of two processes at once the first makes it."""
    staging = path.with_name(f"{FILE}.{uuid.uuid4().hex}")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{secrets.token_hex(32)}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    with suppress(FileExistsError):
        path.hardlink_to(staging)
    staging.unlink()
