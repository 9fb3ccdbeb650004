"""What keeps the shipper from carrying: a file in the data directory that lasts as long as the trouble does.

Decisions go on without the shipper, so nobody would notice until the journal is full.
"""

from contextlib import suppress
from pathlib import Path

import msgspec

from router.splits import rfc3339
from store.clock import Clock


class Trouble(msgspec.Struct, frozen=True):
    """Since when nothing was carried, and the last reason."""

    error: str
    since_us: int


def trouble_file(data_dir: Path) -> Path:
    """Where the shipper of a data directory says what hinders it."""
    return data_dir / "shipper.json"


def read_trouble(data_dir: Path) -> Trouble | None:
    """The trouble as written; None where there is none, or where the file cannot be read."""
    try:
        return msgspec.json.decode(trouble_file(data_dir).read_bytes(), type=Trouble)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def told(data_dir: Path) -> str | None:
    """The trouble in one sentence."""
    trouble = read_trouble(data_dir)
    if trouble is None:
        return None
    since = rfc3339(trouble.since_us)
    return f"nothing reaches SQL since {since}: {trouble.error}; decisions go on and wait in the journal"


class TroubleKeeper:
    """Keeps the file true. Where a full disk hinders this as well, the next round tries again."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self._path = trouble_file(data_dir)
        self._clock = clock
        self._known = read_trouble(data_dir)
        self._written = self._known
        self._is_clean = False

    def failed(self, error: str) -> None:
        """A round failed: the first failure in a row says since when, the last one says why."""
        since_us = self._clock() if self._known is None else self._known.since_us
        self._known = Trouble(error, since_us)
        self._is_clean = False
        if self._known == self._written:
            return
        staging = self._path.with_name("shipper.json.new")
        with suppress(OSError):
            staging.write_bytes(msgspec.json.encode(self._known))
            staging.replace(self._path)
            self._written = self._known

    def carried(self) -> None:
        """A round went well."""
        if self._is_clean:
            return
        self._known = self._written = None
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            self._is_clean = True
