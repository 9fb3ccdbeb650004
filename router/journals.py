"""The journals that one worker writes: one an experiment, opened at its first record."""

import os
import uuid
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from router.problems import Problem
from store.errors import JournalFull
from store.journal import SEGMENT_BYTES, Journal, Quota
from store.records import Record

_ENCODE = msgspec.msgpack.Encoder().encode


class Journals:
    """Not thread-safe: the event loop's own."""

    def __init__(self, root: Path, quota: Quota, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._root = root
        self._quota = quota
        self._segment_bytes = segment_bytes
        self._journals: dict[str, Journal] = {}

    def append(self, experiment: str, record: Record) -> None:
        """Journals a record, or raises 503: an answer never leaves unlogged."""
        try:
            self._of(experiment).append(_ENCODE(record))
        except (JournalFull, OSError) as error:
            raise Problem(503, "journal_full", str(error), retry_after_s=1) from error

    def append_all(self, experiment: str, records: Iterable[Record]) -> None:
        """The same for several records, with one write. Where it raises the first of them may be there."""
        try:
            self._of(experiment).append_all(map(_ENCODE, records))
        except (JournalFull, OSError) as error:
            raise Problem(503, "journal_full", str(error), retry_after_s=1) from error

    def _of(self, experiment: str) -> Journal:
        journal = self._journals.get(experiment)
        if journal is None:
            folder = self._root / experiment / uuid.uuid4().hex
            journal = self._journals[experiment] = Journal(folder, self._quota, self._segment_bytes)
        return journal

    def measure(self) -> None:
        """Corrects the quota by what lies on disk now."""
        self._quota.measure()

    def unsynced(self) -> list[int]:
        """Descriptors of what is unsynced; the caller syncs them in this order and closes them.

        A journal that cannot be asked now (too many open files) stays unsynced, and is asked again.
        """
        taken: list[int] = []
        for journal in self._journals.values():
            with suppress(OSError):
                taken += journal.take_unsynced()
        return taken

    def close(self) -> None:
        """Syncs and closes all."""
        for journal in self._journals.values():
            journal.close()


def sync_all(descriptors: list[int]) -> None:
    """Forces files to the disk and closes the descriptors, all of them even where one fails; for a thread."""
    with ExitStack() as stack:
        for descriptor in reversed(descriptors):  # what is pushed last runs first, whatever another raises
            stack.callback(os.close, descriptor)
            stack.callback(os.fsync, descriptor)


def segment_bytes_of(quota_bytes: int) -> int:
    """The segment being written is never deleted, so it must stay a small part of the quota."""
    return min(SEGMENT_BYTES, quota_bytes // 8)
