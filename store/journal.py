"""The local journal: the only way in. A record is written here before the answer leaves.

A journal is a folder of segments, owned by one process (flock on `owner.lock`). Segments are named by the
byte position at which they start; a position counts bytes over all segments, so one int says how far
anybody has read. A frame is: length u32, crc32 u32 (little-endian), payload.

Law: what `append` returned for survives any kill of the process; an operating-system crash may lose what
was written after the last `sync`.
"""

import fcntl
import os
import struct
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from store.errors import JournalFull

_HEADER = struct.Struct("<II")
SEGMENT_BYTES = 8 << 20
MAX_PAYLOAD_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """One payload and where it stands: [start, stop) in bytes. payload is None where the bytes are damaged."""

    start: int
    stop: int
    payload: bytes | None
    damage: str = ""
    raw: bytes = b""


def frame_bytes(payload: bytes) -> bytes:
    """A payload with its header."""
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def frames(buffer: bytes, start: int) -> Iterator[Frame]:
    """The whole frames of a buffer that begins at `start`; an unfinished tail is left out.

    A frame with a wrong checksum is yielded as damaged; a length that cannot be makes all the rest one damaged frame.
    """
    offset = 0
    while len(buffer) - offset >= _HEADER.size:
        length, crc = _HEADER.unpack_from(buffer, offset)
        if length == 0 or length > MAX_PAYLOAD_BYTES:
            yield Frame(
                start + offset, start + len(buffer), None, "impossible length", bytes(buffer[offset:])
            )
            return
        stop = offset + _HEADER.size + length
        if stop > len(buffer):
            return
        payload = bytes(buffer[offset + _HEADER.size : stop])
        if zlib.crc32(payload) == crc:
            yield Frame(start + offset, start + stop, payload)
        else:
            yield Frame(start + offset, start + stop, None, "checksum mismatch", payload)
        offset = stop


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
        self._folder = folder
        self._quota = quota
        self._segment_bytes = segment_bytes
        folder.mkdir(parents=True)
        self._lock_fd = os.open(folder / "owner.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        self.position = 0
        self._segment_start = 0
        self._fd = self._open_segment(0)
        self._dirty = False

    def append(self, payload: bytes) -> int:
        """Writes one record and returns the position behind it, or raises JournalFull and leaves no trace."""
        data = frame_bytes(payload)
        self._quota.check(len(data))
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise JournalFull(f"the journal cannot be written: {error.strerror}; free disk space") from error
        if written != len(data):
            os.ftruncate(self._fd, self.position - self._segment_start)
            raise JournalFull("the journal's disk is full; free disk space")
        self.position += written
        self._dirty = True
        self._quota.used_bytes += written
        if self.position - self._segment_start >= self._segment_bytes:
            self._roll()
        return self.position

    def sync(self) -> None:
        """Forces what was appended to the disk."""
        if self._dirty:
            self._dirty = False
            os.fsync(self._fd)

    def take_unsynced(self) -> int | None:
        """A duplicate descriptor to sync in another thread; None where nothing is waiting."""
        if not self._dirty:
            return None
        self._dirty = False
        return os.dup(self._fd)

    def close(self) -> None:
        """Syncs and gives up ownership; a shipper finishes the journal."""
        self.sync()
        os.close(self._fd)
        os.close(self._lock_fd)

    def _open_segment(self, start: int) -> int:
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        return os.open(segment_path(self._folder, start), flags, 0o600)

    def _roll(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)
        self._segment_start = self.position
        self._fd = self._open_segment(self.position)
        self._dirty = False


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
                f"the journal holds {self.used_bytes:,} of {self._limit_bytes:,} bytes that are not in SQL yet;"
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


def read_from(folder: Path, position: int, limit_bytes: int) -> bytes:
    """Whole frames from a position, about limit_bytes of them; b"" at the end. Never crosses a segment's edge."""
    starts = [start for start in segment_starts(folder) if start <= position]
    if not starts:
        return b""
    with segment_path(folder, starts[-1]).open("rb") as file:
        file.seek(position - starts[-1])
        data = file.read(limit_bytes)
        whole = _whole_bytes(data)
        if whole == 0 and len(data) == limit_bytes:
            data += file.read(MAX_PAYLOAD_BYTES + _HEADER.size)
            whole = _whole_bytes(data)
    return data[:whole]


def _whole_bytes(data: bytes) -> int:
    """How many bytes of a read are whole frames."""
    last = 0
    for frame in frames(data, 0):
        last = frame.stop
    return last


def is_owned(folder: Path) -> bool:
    """Whether a living process still writes this journal."""
    try:
        fd = os.open(folder / "owner.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def end_of(folder: Path) -> int:
    """The position behind the last byte on disk."""
    starts = segment_starts(folder)
    return starts[-1] + size_of(segment_path(folder, starts[-1])) if starts else 0


def drop_segments(folder: Path, mark: int, keep_last: bool) -> int:
    """Deletes the segments that SQL holds whole; returns how many. The last one goes only where keep_last is False."""
    starts = segment_starts(folder)
    stops = [*starts[1:], end_of(folder)] if starts else []
    doomed = [s for s, stop in zip(starts, stops, strict=True) if stop <= mark]
    if keep_last and doomed and doomed[-1] == starts[-1]:
        doomed.pop()
    for start in doomed:
        segment_path(folder, start).unlink(missing_ok=True)
    return len(doomed)
