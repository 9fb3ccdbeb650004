"""The KILL file: every change counts, and one that nobody can read is named."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from router.errors import BadKillFile
from router.kills import Changed, Kill, add_kill, is_killed, kill_file, lift_kill, read_kills


def kill(arm, experiment="main", at_us=1):
    return Kill(experiment, arm, at_us, "me", "odd")


def test_a_kill_holds_for_its_arm_and_experiment_until_lifted(tmp_path):
    assert read_kills(tmp_path) == ()
    assert [add_kill(tmp_path, k).is_new for k in (kill("a"), kill("b"), kill("a", at_us=2))] == [
        True,
        True,
        False,
    ]
    kills = read_kills(tmp_path)
    assert [(k.arm, k.at_us) for k in kills] == [("b", 1), ("a", 2)]
    assert is_killed(kills, "main", "a")
    assert not is_killed(kills, "other", "a")
    assert lift_kill(tmp_path, "main", "a").is_new
    assert not lift_kill(tmp_path, "main", "never-killed").is_new
    assert [k.arm for k in read_kills(tmp_path)] == ["b"]
    assert lift_kill(tmp_path, "main", "b") == Changed((), is_new=True)
    assert not kill_file(tmp_path).exists()


def test_changes_at_the_same_moment_all_count(tmp_path):
    arms = [f"arm-{i}" for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda arm: add_kill(tmp_path, kill(arm)), arms))
    assert {k.arm for k in read_kills(tmp_path)} == set(arms)


@pytest.mark.parametrize("content", [b"", b"transformer", b"{}", b'[{"arm":"a"}]', b"\xff"])
def test_a_file_that_nobody_can_read_is_never_taken_for_no_kill(tmp_path, content):
    kill_file(tmp_path).write_bytes(content)
    with pytest.raises(BadKillFile, match="KILL is not a list of kills"):
        read_kills(tmp_path)
    with pytest.raises(BadKillFile):
        add_kill(tmp_path, kill("a"))
    assert kill_file(tmp_path).read_bytes() == content
