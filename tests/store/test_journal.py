"""The journal: what it returned for is there, whatever is killed; damage costs only what it touches."""

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import journal
from store.errors import JournalFull, RecordTooLarge
from store.journal import Journal, Quota, frame_bytes, frames

PAYLOADS = st.lists(st.binary(max_size=60), max_size=8)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "journal"


def quota(root, limit_bytes=1 << 30):
    return Quota(root, limit_bytes)


def payloads_of(data, start=0):
    return [frame.payload for frame in frames(data, start)]


def everything(folder):
    """What a shipper would read, as frames."""
    position, found = 0, []
    while data := journal.read_from(folder, position, 64):
        found += frames(data, position)
        position += len(data)
    return found


@given(PAYLOADS, st.integers(0, 1_000))
def test_frames_are_read_as_written(payloads, start):
    data = b"".join(map(frame_bytes, payloads))
    found = list(frames(data, start))
    assert [frame.payload for frame in found] == payloads
    assert [start, *(frame.stop for frame in found)] == [*(frame.start for frame in found), start + len(data)]


@given(PAYLOADS.filter(bool), st.data())
def test_an_unfinished_tail_is_left_out(payloads, data):
    whole = b"".join(map(frame_bytes, payloads))
    cut = data.draw(st.integers(0, len(whole)))
    found = payloads_of(whole[:cut])
    assert found == payloads[: len(found)]
    assert sum(len(frame_bytes(p)) for p in found) <= cut


@given(PAYLOADS.filter(bool), st.data())
def test_a_flipped_byte_costs_one_frame(payloads, data):
    whole = bytearray(b"".join(map(frame_bytes, payloads)) + frame_bytes(b"end"))
    place = data.draw(st.integers(0, len(whole) - len(frame_bytes(b"end")) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    found = list(frames(bytes(whole), 0))
    (hurt,) = [frame for frame in found if frame.payload is None]
    assert hurt.start <= place < hurt.stop
    assert hurt.raw == whole[hurt.start : hurt.stop]
    assert len(found) == len(payloads) + 1
    assert found[-1].payload == b"end"


@given(st.binary(max_size=400))
def test_noise_never_raises_and_never_overlaps(noise):
    edges = [edge for frame in frames(noise, 7) for edge in (frame.start, frame.stop)]
    assert edges == sorted(edges)


def test_appended_records_come_back_over_segments(root):
    written = [os.urandom(n) for n in range(40)]
    with_segments = Journal(root / "e" / "j", quota(root), segment_bytes=100)
    positions = [with_segments.append(payload) for payload in written]
    assert len(journal.segment_starts(root / "e" / "j")) > 5
    assert [frame.payload for frame in everything(root / "e" / "j")] == written
    assert journal.end_of(root / "e" / "j") == positions[-1] == with_segments.position
    with_segments.close()


def test_a_record_larger_than_a_read_is_read_whole(root):
    one = Journal(root / "e" / "j", quota(root))
    one.append(b"x" * 1_000_000)
    one.append(b"y")
    assert [len(frame.payload) for frame in everything(root / "e" / "j")] == [1_000_000, 1]
    one.close()


def test_a_record_that_no_reader_would_take_is_refused(root):
    one = Journal(root / "e" / "j", quota(root))
    with pytest.raises(RecordTooLarge, match="larger than"):
        one.append(b"x" * (journal.MAX_PAYLOAD_BYTES + 1))
    assert one.position == journal.end_of(root / "e" / "j") == 0
    one.close()


def test_a_full_quota_refuses_and_leaves_no_trace(root):
    limit = quota(root, 100)
    one = Journal(root / "e" / "j", limit)
    one.append(b"x" * 50)
    before = journal.end_of(root / "e" / "j")
    with pytest.raises(JournalFull, match="ABCTL_JOURNAL_QUOTA_BYTES"):
        one.append(b"y" * 50)
    assert journal.end_of(root / "e" / "j") == before
    one.append(b"z")
    assert [f.payload for f in everything(root / "e" / "j")] == [b"x" * 50, b"z"]
    one.close()


def test_several_records_are_written_all_or_none(root):
    one = Journal(root / "e" / "j", quota(root, 200), segment_bytes=100)
    one.append_all([b"a" * 30, b"b" * 30, b"c" * 30])
    with pytest.raises(JournalFull):
        one.append_all([b"d", b"e" * 90])
    with pytest.raises(RecordTooLarge):
        one.append_all([b"f", b"x" * (journal.MAX_PAYLOAD_BYTES + 1)])
    one.append_all([])
    assert [f.payload for f in everything(root / "e" / "j")] == [b"a" * 30, b"b" * 30, b"c" * 30]
    assert one.position == journal.end_of(root / "e" / "j")
    one.close()


def test_whole_records_of_a_short_write_stay_and_nothing_behind_them_is_lost(root, monkeypatch):
    """A shipper may have read them before the rest was cut off: nothing else may come in their place."""
    one, folder = Journal(root / "e" / "j", quota(root)), root / "e" / "j"
    first, second = frame_bytes(b"a" * 20), frame_bytes(b"b" * 20)
    write = os.write
    monkeypatch.setattr(journal.os, "write", lambda fd, data: write(fd, data[: len(first) + 9]))
    with pytest.raises(JournalFull):
        one.append_all([b"a" * 20, b"b" * 20])
    monkeypatch.undo()
    assert one.position == journal.end_of(folder) == len(first)
    one.append_all([b"a" * 20, b"b" * 20])
    assert [f.payload for f in everything(folder)] == [b"a" * 20, b"a" * 20, b"b" * 20]
    assert one.position == journal.end_of(folder) == 2 * len(first) + len(second)
    one.close()


def test_a_segment_that_cannot_begin_leaves_the_old_one_the_last(root, monkeypatch):
    one, folder = Journal(root / "e" / "j", quota(root), segment_bytes=50), root / "e" / "j"
    one.append(b"a" * 60)
    opened = os.open

    def no_folder(path, flags, *mode):
        if path == folder:
            raise OSError(24, "Too many open files")
        return opened(path, flags, *mode)

    before = open_files()
    monkeypatch.setattr(journal.os, "open", no_folder)
    with pytest.raises(JournalFull):
        one.append(b"b")
    monkeypatch.undo()
    assert journal.segment_starts(folder) == [0]
    assert open_files() == before
    one.append(b"c")
    assert [f.payload for f in everything(folder)] == [b"a" * 60, b"c"]
    one.close()


def open_files():
    """How many this process has, where the system says it."""
    held = Path("/proc/self/fd")
    return len(list(held.iterdir())) if held.is_dir() else 0


@pytest.mark.parametrize("limit", range(20, 140))
def test_a_read_that_ends_inside_a_record_never_looks_into_it(root, limit):
    """A state holds bytes that a caller chose: they may look like a record."""
    one, folder = Journal(root / "e" / "j", quota(root)), root / "e" / "j"
    payloads = [b"first", b"x" * 10 + frame_bytes(b"") + b"y" * 30, b"last"]
    for payload in payloads:
        one.append(payload)
    position, found = 0, []
    while data := journal.read_from(folder, position, limit):
        found += [frame.payload for frame in frames(data, position)]
        position += len(data)
    assert found == payloads
    one.close()


def test_what_could_not_be_taken_for_the_disk_is_taken_later(root, monkeypatch):
    one = Journal(root / "e" / "j", quota(root), segment_bytes=50)
    for payload in (b"a" * 60, b"b"):
        one.append(payload)
    monkeypatch.setattr(journal.os, "dup", lambda fd: (_ for _ in ()).throw(OSError(24, "too many")))
    with pytest.raises(OSError, match="too many"):
        one.take_unsynced()
    monkeypatch.undo()
    taken = one.take_unsynced()
    assert len(taken) == 3, "the old segment, the folder, the new segment"
    assert one.take_unsynced() == []
    for descriptor in taken:
        os.close(descriptor)
    one.close()


def test_a_quota_that_stays_full_makes_no_segment_a_refusal(root):
    limit = quota(root, 10_000)
    one = Journal(root / "e" / "j", limit, segment_bytes=8_000)
    one.append(b"x" * 3_000)
    for _ in range(50):
        with pytest.raises(JournalFull):
            one.append(b"y" * 7_000)
        one.append(b"z")
    assert len(journal.segment_starts(root / "e" / "j")) == 2
    one.close()


def test_after_the_end_nothing_is_written_anywhere(root):
    one = Journal(root / "e" / "j", quota(root))
    one.append(b"a")
    one.close()
    with pytest.raises(JournalFull, match="cannot be written"):
        one.append(b"b")


def test_a_full_quota_ends_the_segment_so_that_it_can_go(root):
    """Many journals, each with a segment that SQL holds and that is not full, must not stay full for ever."""
    shared = quota(root, 1_000)
    one, two = (Journal(root / "e" / name, shared, segment_bytes=700) for name in ("one", "two"))
    for each in (one, two):
        each.append(b"x" * 480)
    with pytest.raises(JournalFull):
        one.append(b"y" * 100)
    with pytest.raises(JournalFull):
        one.append(b"y" * 100)
    assert journal.segment_starts(root / "e" / "one") == [0, one.position]
    assert journal.drop_segments(root / "e" / "one", one.position) == 1
    shared.measure()
    one.append(b"y" * 100)
    assert [frame.payload for frame in everything(root / "e" / "two")] == [b"x" * 480]
    for each in (one, two):
        each.close()


def test_the_quota_counts_all_journals_and_is_corrected(root):
    first = Journal(root / "e" / "j", quota(root))
    first.append(b"x" * 50)
    shared = quota(root, 150)
    assert shared.used_bytes == 62
    first.append(b"x" * 50)
    shared.measure()
    with pytest.raises(JournalFull):
        shared.check(50)
    first.close()


def test_a_full_disk_refuses_and_leaves_no_trace(root, make):
    script = """
import resource, signal, sys
from pathlib import Path
from store.errors import JournalFull
from store.journal import Journal, Quota
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
root = Path(sys.argv[1])
one = Journal(root / "e" / "j", Quota(root, 1 << 30))
kept = 0
for n in range(10):
    try:
        one.append(bytes([n]) * 300)
        kept += 1
    except JournalFull as full:
        print(full)
one.append(b"small")
print(kept)
"""
    child = make.python(script, root)
    said = child.communicate()[0].split("\n")
    assert child.returncode == 0
    assert said[0] == "the journal's disk is full; free disk space"
    assert [len(f.payload) for f in everything(root / "e" / "j")] == [300] * int(said[-2]) + [5]


def test_a_segment_that_cannot_begin_refuses_and_goes_on_later(root):
    one = Journal(root / "e" / "j", quota(root), segment_bytes=10)
    one.append(b"first record")
    blocker = journal.segment_path(root / "e" / "j", one.position)
    blocker.mkdir()
    with pytest.raises(JournalFull, match="cannot begin a segment"):
        one.append(b"second record")
    blocker.rmdir()
    one.append(b"third record")
    assert [f.payload for f in everything(root / "e" / "j")] == [b"first record", b"third record"]
    one.close()


def test_what_was_acknowledged_survives_kill_9(root, make):
    script = """
import sys
from pathlib import Path
from store.journal import Journal, Quota
root = Path(sys.argv[1])
one = Journal(root / "e" / "j", Quota(root, 1 << 30), segment_bytes=2000)
n = 0
while True:
    one.append(str(n).encode() * 20)
    print(n, flush=True)
    n += 1
"""
    child = make.python(script, root)
    for _ in range(300):
        acknowledged = int(child.stdout.readline())
    child.kill()
    acknowledged = max([acknowledged, *map(int, child.stdout.read().split())])
    child.wait()
    child.stdout.close()
    assert not journal.is_owned(root / "e" / "j")
    found = [f.payload for f in everything(root / "e" / "j")]
    assert found[: acknowledged + 1] == [str(n).encode() * 20 for n in range(acknowledged + 1)]


def test_ownership_ends_with_the_owner(root):
    one = Journal(root / "e" / "j", quota(root))
    assert journal.is_owned(root / "e" / "j")
    one.close()
    assert not journal.is_owned(root / "e" / "j")
    assert not journal.is_owned(root / "e" / "never")


def test_a_journal_has_its_name_only_when_it_is_owned(root, make):
    script = """
import sys
from pathlib import Path
from store.journal import Quota, new_journal
root = Path(sys.argv[1])
while True:
    new_journal(root, "e", Quota(root, 1 << 30))
"""
    child = make.python(script, root)
    seen = set()
    deadline_s = time.monotonic() + 20
    while len(seen) < 100 and time.monotonic() < deadline_s:
        for folder in journal.journal_folders(root / "e"):
            assert journal.is_owned(folder) or child.poll() is not None
            assert journal.segment_starts(folder) == [0]
            seen.add(folder)
    child.kill()
    child.communicate()
    assert len(seen) >= 100


def test_a_live_tail_waits_and_a_dead_one_is_handed_over(root):
    one = Journal(root / "e" / "j", quota(root))
    one.append(b"whole")
    position = one.position
    with journal.segment_path(root / "e" / "j", 0).open("ab") as file:
        file.write(frame_bytes(b"torn")[:-1])
    assert journal.read_from(root / "e" / "j", position, 64) == b""
    one.close()
    assert journal.read_from(root / "e" / "j", position, 64) == frame_bytes(b"torn")[:-1]


def test_a_record_that_is_completed_while_it_is_read_is_no_torn_one(root, monkeypatch):
    """The reader saw half of it; the owner wrote the rest and died before anybody asked whether it lives."""
    one = Journal(root / "e" / "j", quota(root))
    record, path = frame_bytes(b"completed"), journal.segment_path(root / "e" / "j", 0)
    path.write_bytes(record[:-4])
    is_owned = journal.is_owned

    def complete_and_die(folder):
        path.write_bytes(record)
        one.close()
        return is_owned(folder)

    monkeypatch.setattr(journal, "is_owned", complete_and_die)
    assert journal.read_from(root / "e" / "j", 0, 64) == record


def test_damage_at_the_end_of_a_finished_segment_does_not_block(root):
    one = Journal(root / "e" / "j", quota(root), segment_bytes=20)
    one.append(b"first")
    one.append(b"second")
    with journal.segment_path(root / "e" / "j", 0).open("r+b") as file:
        file.seek(17 + 13)
        file.write(b"\xff")
    one.append(b"third")
    found, position = [], 0
    while data := journal.read_from(root / "e" / "j", position, 64):
        found.append(payloads_of(data))
        position += len(data)
    assert position == one.position
    assert found == [[b"first"], [], [b"third"]]
    one.close()


def test_only_segments_that_sql_holds_are_deleted(root):
    folder = root / "e" / "j"
    one = Journal(folder, quota(root), segment_bytes=100)
    for _ in range(20):
        one.append(b"x" * 40)
    starts = journal.segment_starts(folder)
    assert journal.drop_segments(folder, 0) == 0
    assert journal.drop_segments(folder, starts[2] - 1) == 1
    assert journal.segment_starts(folder) == starts[1:]
    assert journal.start_of(folder) == starts[1]
    assert journal.drop_segments(folder, one.position) == len(starts) - 2
    assert journal.segment_starts(folder) == starts[-1:]
    one.close()


def settled(descriptors):
    """Syncs and closes them; how many they were."""
    for descriptor in descriptors:
        os.fsync(descriptor)
        os.close(descriptor)
    return len(descriptors)


def test_unsynced_records_are_handed_out_once(root):
    one = Journal(root / "e" / "j", quota(root))
    assert settled(one.take_unsynced()) == 0
    one.append(b"x")
    assert settled(one.take_unsynced()) == 1
    assert settled(one.take_unsynced()) == 0
    one.append(b"y")
    one.sync()
    assert settled(one.take_unsynced()) == 0
    one.close()


def test_nobody_waits_for_the_disk_when_a_segment_ends(root, monkeypatch):
    """What must be synced is handed out in the order of what may be lost: the old, the folder, the new."""
    one = Journal(root / "e" / "j", quota(root), segment_bytes=20)
    monkeypatch.setattr(os, "fsync", lambda _fd: pytest.fail("waits for the disk"))
    for _ in range(3):
        one.append(b"record")
    monkeypatch.undo()
    taken = one.take_unsynced()
    paths = [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in taken]
    folder = root / "e" / "j"
    starts = journal.segment_starts(folder)
    assert paths == [str(journal.segment_path(folder, starts[0])), str(folder),
                     str(journal.segment_path(folder, starts[1]))]  # fmt: skip
    assert settled(taken) == 3
    assert settled(one.take_unsynced()) == 0
    one.close()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.data())
def test_reading_goes_on_behind_what_a_crash_took(tmp_path_factory, sizes, data):
    """Each ended segment may have lost its end: every byte is either read or passed over, once."""
    root = tmp_path_factory.mktemp("j") / "journal"
    one, folder = Journal(root / "e" / "j", quota(root), segment_bytes=60), root / "e" / "j"
    for size in sizes:
        one.append(b"x" * size)
    for start in journal.segment_starts(folder)[:-1]:
        path = journal.segment_path(folder, start)
        os.truncate(path, data.draw(st.integers(0, path.stat().st_size)))
    held = sum(path.stat().st_size for path in folder.glob("*.seg"))
    position = read = passed = 0
    while position < one.position:
        passed += journal.next_of(folder, position) - position
        position = journal.next_of(folder, position)
        found = journal.read_from(folder, position, 64)
        assert found
        read, position = read + len(found), position + len(found)
    assert (read, position, read + passed) == (held, one.position, one.position)
    assert journal.next_of(folder, position) == position
    one.close()


def test_much_damage_is_read_through_quickly():
    noise = random.Random(1).randbytes(1 << 20)
    began_s = time.perf_counter()
    assert list(frames(noise + frame_bytes(b"end"), 0))[-1].payload == b"end"
    assert time.perf_counter() - began_s < 0.5
