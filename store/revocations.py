"""Revocations of API keys that must hold on this node at once, also while SQL is away: one file each.

`revoked/NAME.json` in the data directory is polled by every worker, which also brings it to SQL. The file's
name alone revokes: where everything else fails, `touch` does it.
"""

from pathlib import Path

import msgspec
from sqlalchemy import Engine

from store.api_keys import checked_name, revoke
from store.data_dir import DataDir
from store.errors import UnknownKey
from store.whole_file import write_whole


class Revocation(msgspec.Struct, frozen=True):
    """Who revoked a key, when and why."""

    name: str
    at_us: int
    actor: str
    reason: str


def _folder(data_dir: DataDir) -> Path:
    return data_dir.root / "revoked"


def announce(data_dir: DataDir, revocation: Revocation) -> None:
    """From the next poll on (0.25 s) no worker of this data directory takes the key."""
    path = _folder(data_dir) / f"{checked_name(revocation.name)}.json"
    write_whole(path, msgspec.json.encode(revocation))


def announced(data_dir: DataDir) -> frozenset[str]:
    """The names of keys revoked here that SQL may not know of yet."""
    return frozenset(path.stem for path in _folder(data_dir).glob("*.json"))


def settle(data_dir: DataDir, engine: Engine) -> list[str]:
    """Brings all to SQL and drops the files; returns the names that no key has. Safe in many processes."""
    paths = sorted(_folder(data_dir).glob("*.json"))
    return [path.stem for path in paths if not _is_settled(path, engine)]


def _is_settled(path: Path, engine: Engine) -> bool:
    said = _read(path)
    is_known = True
    if said is not None:
        try:
            revoke(engine, said.name, said.at_us, said.actor, said.reason)
        except UnknownKey:
            is_known = False
    path.unlink(missing_ok=True)
    return is_known


def _read(path: Path) -> Revocation | None:
    """What a file says, or, where it says nothing of the key that it is named for (it is empty, or a copy of
    another), what its name alone does; None where another process has settled it."""
    try:
        content, made_us = path.read_bytes(), path.stat().st_mtime_ns // 1000
    except FileNotFoundError:
        return None
    by_hand = Revocation(path.stem, made_us, "a file", f"{path.name} was put there by hand")
    try:
        said = msgspec.json.decode(content, type=Revocation)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return by_hand
    return said if said.name == path.stem else by_hand
