"""The local journal: the only way in. A record is written here before the answer leaves.

A journal is a folder of segments, owned by one process (flock on `owner.lock`). Segments are named by the
byte position at which they start; a position counts bytes over all segments, so one int says how far
anybody has read. A frame is: `abj1`, length u32, crc32 of the payload u32 (little-endian), payload.

Law: what `append` returned for survives any kill of the process; an operating-system crash may lose what
was written after the last `sync`. Damaged bytes cost the frames that they touch and no
other: reading goes on at the next whole frame.
"""

import fcntl
import os
import struct
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from store.errors import JournalFull, RecordTooLarge
from store.locks import is_locked

_MAGIC = b"abj1"
_HEADER = struct.Struct("<4sII")
SEGMENT_BYTES = 8 << 20
MAX_PAYLOAD_BYTES = 4 << 20
_WRITING_S = 0.02
"""A file that changed less long ago may still be written: what ends too early there may just come."""
_CLOSED = -1
"""No file: whoever writes after the end gets an error, not somebody else's file."""


class Frame(NamedTuple):
    """One payload and where it stands: bytes [start, stop). payload is None where they are damaged."""

    start: int
    stop: int
    payload: bytes | None
    damage: str = ""
    raw: bytes = b""


def _framed(payload: bytes) -> bytes:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise RecordTooLarge(
            f"a record of {len(payload):,} bytes is larger than {MAX_PAYLOAD_BYTES:,}; send less"
        )
    return frame_bytes(payload)


def frame_bytes(payload: bytes) -> bytes:
    """A payload with its header."""
    return _HEADER.pack(_MAGIC, len(payload), zlib.crc32(payload)) + payload


def frames(buffer: bytes, start: int) -> Iterator[Frame]:
    """The whole frames of a buffer that begins at `start`, and what is damaged between them.

    What no whole frame follows is left out: it may be unfinished.
    """
    offset = 0
    while offset < len(buffer):
        stop = _stop_of(buffer, offset)
        if stop is not None:
            yield Frame(start + offset, start + stop, buffer[offset + _HEADER.size : stop])
            offset = stop
            continue
        found = _next_whole(buffer, offset + 1)
        if found is None:
            return
        yield Frame(start + offset, start + found, None, "damaged bytes", buffer[offset:found])
        offset = found


def _stop_of(buffer: bytes, offset: int) -> int | None:
    """Where the frame at an offset ends; None where no whole one stands there."""
    if len(buffer) - offset < _HEADER.size:
        return None
    magic, length, crc = _HEADER.unpack_from(buffer, offset)
    begin = offset + _HEADER.size
    if magic != _MAGIC or length > MAX_PAYLOAD_BYTES or begin + length > len(buffer):
        return None
    return begin + length if zlib.crc32(buffer[begin : begin + length]) == crc else None


def _next_whole(buffer: bytes, offset: int) -> int | None:
    found = buffer.find(_MAGIC, offset)
    while found >= 0:
        if _stop_of(buffer, found) is not None:
            return found
        found = buffer.find(_MAGIC, found + 1)
    return None


def segment_path(folder: Path, start: int) -> Path:
    """The file of the segment that begins at `start`."""
    return folder / f"{start:020d}.seg"


def segment_starts(folder: Path) -> list[int]:
    """Where the segments of a journal begin, in order."""
    return sorted(int(path.stem) for path in folder.glob("*.seg"))


class Journal:
    """The writing side: one process, one experiment. Not thread-safe."""

    def __init__(self, folder: Path, quota: "Quota", segment_bytes: int = SEGMENT_BYTES) -> None:
        self.id = folder.name
        self._quota = quota
        self._segment_bytes = segment_bytes
        self.position = 0
        self._segment_start = 0
        self._dirty = False
        self._broken = ""
        self._ended: list[int] = []
        self._lock_fd, self._fd = _made(folder)
        self._folder = folder

    def append(self, payload: bytes) -> int:
        """Writes one record and returns the position behind it, or raises and leaves no trace."""
        return self._append(_framed(payload))

    def append_all(self, payloads: Iterable[bytes]) -> int:
        """The same for several records, with one write. Where the disk ends in it the first of them may stay,
        for a reader may have passed them on; it raises all the same, so send all of them again.
        """
        return self._append(b"".join(map(_framed, payloads)))

    def _append(self, data: bytes) -> int:
        if self._broken:
            raise JournalFull(self._broken)
        self._check_quota(len(data))
        if self.position - self._segment_start >= self._segment_bytes:
            self._roll()
        self._write(data)
        self.position += len(data)
        self._dirty = True
        self._quota.used_bytes += len(data)
        return self.position

    def sync(self) -> None:
        """Forces what was appended to the disk."""
        descriptors = self.take_unsynced()
        try:
            for descriptor in descriptors:
                os.fsync(descriptor)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def take_unsynced(self) -> list[int]:
        """Descriptors to sync in this order, in another thread, and to close: of files with unsynced records,
        and of the folder where a segment is new. None twice."""
        current = [os.dup(self._fd)] if self._dirty else []
        taken, self._ended, self._dirty = [*self._ended, *current], [], False
        return taken

    def close(self) -> None:
        """Syncs and gives up ownership; a shipper finishes the journal."""
        self.sync()
        os.close(self._fd)
        os.close(self._lock_fd)
        self._fd = self._lock_fd = _CLOSED

    def _check_quota(self, more_bytes: int) -> None:
        """A full one ends its segment, unless there is little in it: only finished ones are deleted, and SQL
        may hold this one already.
        """
        try:
            self._quota.check(more_bytes)
        except JournalFull:
            if self.position - self._segment_start > self._segment_bytes // 8:
                self._roll()
            raise

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise JournalFull(f"the journal cannot be written: {error.strerror}; free disk space") from error
        if written != len(data):
            self._keep_whole(data[:written])
            raise JournalFull("the journal's disk is full; free disk space")

    def _keep_whole(self, data: bytes) -> None:
        """Of what was written before the disk ended: whole frames stay, for they may be on their way."""
        kept = _whole_bytes(data, 0)
        try:
            os.ftruncate(self._fd, self.position - self._segment_start + kept)
        except OSError as error:
            self._broken = f"the journal's end is damaged: {error.strerror}; free disk space and restart"
            raise JournalFull(self._broken) from error
        self.position += kept
        self._quota.used_bytes += kept
        self._dirty = self._dirty or kept > 0

    def _roll(self) -> None:
        """Goes on in a new segment; where that fails the old one stays as it is.

        No decision waits for the disk here: both segments and their folder are synced when it is time for it.
        """
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fresh = _open_segment(self._folder, self.position)
            except OSError:
                os.close(folder)
                raise
        except OSError as error:
            raise JournalFull(
                f"the journal cannot begin a segment: {error.strerror}; free disk space"
            ) from error
        self._ended += [self._fd, folder]
        self._fd = fresh
        self._segment_start = self.position
        self._dirty = False


def _made(folder: Path) -> tuple[int, int]:
    """A new journal's lock and first segment; named when both are there, so that it never looks dead."""
    staging = folder.with_name(f".{folder.name}")
    staging.mkdir(parents=True)
    lock = os.open(staging / "owner.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    segment = _open_segment(staging, 0)
    _sync_folder(staging)
    staging.rename(folder)
    for parent in (folder.parent, folder.parent.parent):
        _sync_folder(parent)
    return lock, segment


def _open_segment(folder: Path, start: int) -> int:
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    return os.open(segment_path(folder, start), flags, 0o600)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Quota:
    """How many bytes all journals of a data directory may hold. `used_bytes` is corrected by `measure`."""

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self._root = root
        self._limit_bytes = limit_bytes
        self.used_bytes = 0
        self.measure()

    def check(self, more_bytes: int) -> None:
        """Raises JournalFull where `more_bytes` do not fit."""
        if self.used_bytes + more_bytes > self._limit_bytes:
            raise JournalFull(
                f"the journal holds {self.used_bytes:,} of {self._limit_bytes:,} bytes, not in SQL yet;"
                " bring SQL and Redis back, or raise ABCTL_JOURNAL_QUOTA_BYTES"
            )

    def measure(self) -> None:
        """Counts again what lies on disk."""
        self.used_bytes = sum(size_of(path) for path in self._root.glob("*/*/*.seg"))


def size_of(path: Path) -> int:
    """A file's bytes; 0 where it was deleted meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def new_journal(root: Path, experiment: str, quota: Quota) -> Journal:
    """A journal of this process for an experiment, under root/experiment/ID."""
    return Journal(root / experiment / uuid.uuid4().hex, quota)


def journal_folders(experiment_folder: Path) -> list[Path]:
    """The journals of an experiment, those of dead processes too."""
    if not experiment_folder.is_dir():
        return []
    return sorted(p for p in experiment_folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def read_from(folder: Path, position: int, limit_bytes: int) -> bytes:
    """Whole frames from a position, about limit_bytes of them; b"" where none has followed yet.

    Stays within a segment. Where the segment is finished and no whole frame follows, its damaged rest.
    """
    starts = [start for start in segment_starts(folder) if start <= position]
    if not starts:
        return b""
    with segment_path(folder, starts[-1]).open("rb") as file:
        file.seek(position - starts[-1])
        data, whole = _read_whole(file, limit_bytes)
    if whole == 0 and data and _is_finished(folder, starts[-1]):
        return _rest_of(folder, starts[-1], position)
    return data[:whole]


def _read_whole(file: BinaryIO, limit_bytes: int) -> tuple[bytes, int]:
    """What was read, and how much of it is whole frames, and damaged ones between them."""
    data = file.read(limit_bytes)
    whole = _whole_bytes(data, 0)
    if whole == len(data):
        return data, whole
    data = _completed(file, data, whole)
    if _stop_of(data, whole) is not None:
        return data, _whole_bytes(data, whole)
    if _is_cut(data, whole) and time.time() - os.fstat(file.fileno()).st_mtime < _WRITING_S:
        return data, whole
    found = _next_whole(data, whole + 1)
    return data, whole if found is None else _whole_bytes(data, found)


def _completed(file: BinaryIO, data: bytes, at: int) -> bytes:
    """With the rest of a frame that the read has cut off, as far as the file has it."""
    while _is_cut(data, at):
        more = file.read(max(_HEADER.size, _claimed_stop(data, at) - len(data)))
        if not more:
            break
        data += more
    return data


def _rest_of(folder: Path, start: int, position: int) -> bytes:
    """The end of a finished segment, read anew: its owner may have completed a frame before it died."""
    with segment_path(folder, start).open("rb") as file:
        file.seek(position - start)
        data = file.read()
    last = 0
    while (stop := _stop_of(data, last) or _next_whole(data, last + 1)) is not None:
        last = stop
    return data[:last] or data


def _is_finished(folder: Path, start: int) -> bool:
    return segment_starts(folder)[-1] > start or not is_owned(folder)


def _whole_bytes(data: bytes, last: int) -> int:
    """Where whole frames from `last` on end, and damaged ones between them.

    What the read may have cut off is not looked into: a payload can hold what looks like a frame.
    """
    while (stop := _stop_of(data, last)) is not None or not _is_cut(data, last):
        stop = stop or _next_whole(data, last + 1)
        if stop is None:
            return last
        last = stop
    return last


def _is_cut(data: bytes, offset: int) -> bool:
    """Whether a frame begins here and ends behind the data."""
    if len(data) - offset < _HEADER.size:
        return _MAGIC.startswith(data[offset : offset + len(_MAGIC)])
    magic, length, _ = _HEADER.unpack_from(data, offset)
    return bool(magic == _MAGIC and length <= MAX_PAYLOAD_BYTES and _claimed_stop(data, offset) > len(data))


def _claimed_stop(data: bytes, offset: int) -> int:
    """Where the frame ends, if its header is right; where the header ends while it is not whole."""
    if len(data) - offset < _HEADER.size:
        return offset + _HEADER.size
    return offset + _HEADER.size + int(_HEADER.unpack_from(data, offset)[1])


def is_owned(folder: Path) -> bool:
    """Whether a living process still writes this journal."""
    return is_locked(folder / "owner.lock")


def start_of(folder: Path) -> int:
    """The position of the first byte that is still on disk."""
    starts = segment_starts(folder)
    return starts[0] if starts else 0


def next_of(folder: Path, position: int) -> int:
    """Where reading goes on: at the position, or at the next segment where the bytes before that one are
    gone: deleted, or lost with the last fsync interval when the operating system crashed."""
    starts = segment_starts(folder)
    for start, later in pairwise(starts):
        if position < later and max(position, start) < start + size_of(segment_path(folder, start)):
            return max(position, start)
    return max(position, starts[-1]) if starts else position


def end_of(folder: Path) -> int:
    """The position behind the last byte on disk."""
    starts = segment_starts(folder)
    return starts[-1] + size_of(segment_path(folder, starts[-1])) if starts else 0


def drop_segments(folder: Path, mark: int) -> int:
    """Deletes the segments before the last that SQL holds whole; returns how many."""
    starts = segment_starts(folder)
    doomed = [start for start, stop in pairwise(starts) if stop <= mark]
    for start in doomed:
        segment_path(folder, start).unlink(missing_ok=True)
    return len(doomed)
