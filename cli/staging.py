"""A folder to make something in, beside where it is to go: nothing of it stays, however the command ends.

Whoever uses one holds a lock on it, so what a kill has left is told from what another command is at.
"""

import fcntl
import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

PREFIX: Final = ".abctl-export-"
YOUNG_S: Final = 60.0
"""A folder is made first and locked then: one as young as this may be of a command that just begins."""
_NAME_CHARACTERS: Final = 8
_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TIDYING_S: Final = 5.0


class _Ending:
    """Raises KeyboardInterrupt at the first signal. Those of the next `tidying_s` do nothing: who asks again
    must not break off the removal of what is there. A later one raises again, should the first have been lost
    in a finalizer."""

    def __init__(self, tidying_s: float) -> None:
        self._tidying_s, self._raised_s = tidying_s, -math.inf

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if now_s - self._raised_s >= self._tidying_s:
            self._raised_s = now_s
            raise KeyboardInterrupt


@contextmanager
def ended_in_order(tidying_s: float = TIDYING_S) -> Generator[None]:
    """INT, TERM and HUP end what is within by KeyboardInterrupt, and let it tidy up. Who ignores one goes on
    so."""
    ending = _Ending(tidying_s)
    with ExitStack() as before:
        for number in _ENDS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before.callback(signal.signal, number, signal.signal(number, ending))
        yield


@contextmanager
def staged_beside(output: Path) -> Generator[Path]:
    """A folder yet to be made on the same disk, as near as there are folders; it is gone afterwards, and so
    are those that kills have left there."""
    near = next(parent for parent in output.absolute().parents if parent.is_dir())
    remove_left(near, time.time())
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=near) as place, ExitStack() as stack:
        with suppress(OSError):  # a disk without locks: nobody else gets one there, so nobody removes it
            stack.enter_context(_locked(Path(place), fcntl.LOCK_EX))
        yield Path(place) / "model"


def remove_left(near: Path, now_s: float) -> None:
    """Removes what nobody is at any more, and nothing that a user made: only what has a name of `tempfile`
    and holds at most a model. now_s: since the epoch."""
    for place in near.glob(f"{PREFIX}{'[a-z0-9_]' * _NAME_CHARACTERS}"):
        if any(each.name != "model" for each in _content(place)):
            continue
        with suppress(OSError), _locked(place, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if now_s - place.stat().st_mtime > YOUNG_S:
                shutil.rmtree(place)


def _content(place: Path) -> list[Path]:
    return list(place.iterdir()) if place.is_dir() and not place.is_symlink() else []


@contextmanager
def _locked(folder: Path, operation: int) -> Generator[None]:
    """operation: of `flock`. OSError: somebody else has it, it is no folder of its own, or its disk knows no
    locks."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(file, operation)
        yield
    finally:
        os.close(file)
