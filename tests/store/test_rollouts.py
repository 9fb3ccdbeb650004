"""A line of a rollout and its split are one transaction; of many writers one gets the line."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import msgspec
import pytest

from store import audit, experiments, rollouts
from store.errors import RolloutMoved, SplitMoved
from store.records import Split
from store.rollouts import Event, Line, Rollout

FIRST = Rollout(
    experiment="", number=1, treatment="b", plan="p", plan_digest="d", base_version=1, since_us=1_000
)


@pytest.fixture
def key(engine, make):
    experiment, split = make.experiment_and_split(make.key())
    experiments.create(engine, experiment, split, "me")
    return experiment.key


def event(key, seq, **more):
    fields = {"rollout": 1, "at_us": 1_000 + seq, "kind": "verdict", "stage": 0, "share": 0.1}
    return Event(experiment=key, seq=seq, **(fields | {"split_version": 1, "actor": "loop"} | more))


def begun(key):
    return lambda: Line(event(key, 1, kind="started"), begun=msgspec.structs.replace(FIRST, experiment=key))


def plain(key, seq):
    return lambda: Line(event(key, seq))


def split_of(engine, key, version):
    with engine.connect() as connection:
        newest = experiments.splits(connection, key)[-1]
    return msgspec.structs.replace(newest, version=version, created_at_us=newest.created_at_us + version)


def read(engine, key):
    with engine.connect() as connection:
        return rollouts.events(connection, key), experiments.splits(connection, key)


def actions(engine, key):
    with engine.connect() as connection:
        return [change["action"] for change in audit.changes(connection, key, 100)]


def test_lines_are_kept_as_they_were_written_in_their_order(engine, key):
    rollouts.append(engine, key, 1, begun(key))
    said = event(
        key, 2, action="hold", cause="too_young", evidence_digest="e", evidence='{"a":1}', reason="r"
    )
    rollouts.append(engine, key, 2, lambda: Line(said))
    assert read(engine, key)[0] == (begun(key)().event, said)
    with engine.connect() as connection:
        assert rollouts.newest(connection, key) == msgspec.structs.replace(FIRST, experiment=key)
        assert rollouts.events(connection, key, 2) == ()
        assert rollouts.every(connection, "another") == ()


@pytest.mark.parametrize("seq", [1, 3])
def test_a_line_that_is_there_or_leaves_a_gap_is_refused(engine, key, seq):
    rollouts.append(engine, key, 1, begun(key))
    with pytest.raises(RolloutMoved):
        rollouts.append(engine, key, seq, plain(key, seq))
    assert len(read(engine, key)[0]) == 1


def test_a_line_moves_its_split_and_both_are_in_the_audit(engine, key):
    rollouts.append(engine, key, 1, begun(key))
    made = Line(event(key, 2, kind="advanced", split_version=2), split=split_of(engine, key, 2))
    rollouts.append(engine, key, 2, lambda: made)
    lines, splits = read(engine, key)
    assert [line.seq for line in lines] == [1, 2]
    assert [split.version for split in splits] == [1, 2]
    assert {"rollout.started", "rollout.advanced"} <= set(actions(engine, key))


def test_where_the_split_has_moved_there_is_no_line_and_no_audit_either(engine, key):
    rollouts.append(engine, key, 1, begun(key))
    before = actions(engine, key)
    late = Line(event(key, 2, kind="advanced", split_version=3), split=split_of(engine, key, 3))
    with pytest.raises(SplitMoved):
        rollouts.append(engine, key, 2, lambda: late)
    lines, splits = read(engine, key)
    assert (len(lines), len(splits), actions(engine, key)) == (1, 1, before)


def test_what_fails_while_it_is_made_leaves_nothing(engine, key):
    def made():
        raise ValueError("evidence is too old")

    with pytest.raises(ValueError, match="too old"):
        rollouts.append(engine, key, 1, made)
    assert read(engine, key)[0] == ()
    rollouts.append(engine, key, 1, begun(key))


def test_of_many_writers_of_one_line_one_writes_it_and_its_split(engine, key):
    rollouts.append(engine, key, 1, begun(key))
    together = Barrier(6)
    split: Split = split_of(engine, key, 2)

    def writes(n):
        made = Line(event(key, 2, kind="advanced", split_version=2, actor=f"w{n}"), split=split)
        together.wait(20)
        try:
            rollouts.append(engine, key, 2, lambda: made)
        except (RolloutMoved, SplitMoved):
            return None
        return f"w{n}"

    with ThreadPoolExecutor(6) as pool:
        wrote = [name for name in pool.map(writes, range(6)) if name]
    lines, splits = read(engine, key)
    assert [line.actor for line in lines] == ["loop", *wrote]
    assert len(splits) == 2
