"""What an answer rests on: the disk within the fsync interval, and the same answer from every process."""

import os
import time
from pathlib import Path

import pytest

INTERVAL_S = 0.05


@pytest.fixture
def synced(monkeypatch):
    """path -> (bytes that were there, when) of the last fsync of every file; the real fsync is done."""
    found, fsync = {}, os.fsync

    def noted(fd):
        size = os.fstat(fd).st_size
        fsync(fd)
        found[Path(f"/proc/self/fd/{fd}").readlink()] = (size, time.monotonic())

    monkeypatch.setattr(os, "fsync", noted)
    return found


def segments(node):
    return sorted(node.data_dir.journals.resolve().glob("*/*/*.seg"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of descriptors are read from /proc")
def test_what_was_answered_is_on_the_disk_within_the_interval(start_node, synced):
    node = start_node("synced", fsync_interval_s=INTERVAL_S)
    late_s = []
    for i in range(10):
        node.decide(f"u{i}")
        answered_s = time.monotonic()
        (segment,) = segments(node)
        size = segment.stat().st_size
        node.wait(lambda s=segment, n=size: synced.get(s, (0, 0))[0] >= n)
        late_s.append(max(0.0, synced[segment][1] - answered_s))
    print(f"on the disk after {sorted(round(s, 3) for s in late_s)} s")
    assert sorted(late_s)[4] < INTERVAL_S + 0.1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of descriptors are read from /proc")
def test_the_interval_is_the_one_that_is_set(start_node, synced):
    node = start_node("lazy", fsync_interval_s=30.0)
    node.decide("u")
    time.sleep(0.5)
    (segment,) = segments(node)
    assert segment.stat().st_size > 0
    assert segment not in synced


def test_a_decision_sent_again_to_another_process_gets_the_same_answer_and_is_one_row(start_node, question):
    """It cannot know what the first one said: it says the same, for the arm and the model are the same."""
    one = start_node("one")
    one.set_share("0.5")
    two = start_node("two", sql_url=one.engine.url.render_as_string(hide_password=False), arms=())
    asked = [question(f"u{i}", decision_id=f"d{i}") for i in range(20)]
    first, second = ([node.post("/v1/decide", body).json for body in asked] for node in (one, two))
    for name in ("decision_id", "arm", "served_arm", "action", "probs", "model", "propensity"):
        assert [said[name] for said in first] == [said[name] for said in second], name
    for node in (one, two):
        with node.carrying():
            pass
    with one.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT decision_id, arm FROM decision ORDER BY decision_id").all()
    assert dict(rows) == {said["decision_id"]: said["arm"] for said in first}
    assert len({said["arm"] for said in first}) == 2
