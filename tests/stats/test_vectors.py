"""Our numbers against reference numbers of other implementations, and the replay that compares them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from replay.run import METHODS, replayed

REPLAY = Path(__file__).parent.parent / "vectors"
FEWEST_PASSED = 50


@pytest.fixture(scope="module")
def rows(shared_part):
    return {row.method: row for row in replayed(shared_part("vectors", "stats"))}


@pytest.mark.parametrize("method", [*METHODS, "datasets/published"])
def test_every_number_is_reproduced_or_explained(rows, method):
    row = rows[method]
    wrong = [verdict for verdict in row.verdicts if verdict.kind == "failed"]
    assert not row.trouble
    assert wrong == []
    assert row.counts["passed"] >= FEWEST_PASSED


def test_every_method_of_the_folder_is_known(shared_part):
    assert {path.stem for path in shared_part("vectors", "stats").glob("*.json")} == set(METHODS)


def test_most_of_what_peers_said_is_reproduced(rows):
    """What is explained may not become an excuse."""
    kinds = [verdict.kind for row in rows.values() for verdict in row.verdicts]
    assert kinds.count("passed") / len(kinds) > 0.89
    assert kinds.count("not offered") / len(kinds) < 0.01


def replay(folder):
    environment = {**os.environ, "PYTHONPATH": str(REPLAY)}
    command = [sys.executable, "-m", "replay", str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def write(folder, method, theirs):
    case = {"id": "ours-00", "note": "", "inputs": {"x": 0, "n": 10}, "outputs": {"scipy": theirs}}
    (folder / f"{method}.json").write_text(json.dumps({"method": method, "cases": [case]}))


def test_a_right_number_passes(tmp_path):
    write(tmp_path, "one_proportion_ci", {"exact": [0.0, 0.30849710781876083], "note": "a remark"})
    done = replay(tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[2].split() == ["one_proportion_ci", "1", "2", "0", "0", "0", "0", "0"]


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"exact": [0.0, 0.3084971]}, "scipy/exact/1"),
        ({"exact": [0.0, None]}, "scipy/exact/1"),
        ({"something_new": 1.0}, "scipy/something_new"),
    ],
)
def test_a_wrong_a_missing_and_an_unheard_of_number_fail_by_name(tmp_path, theirs, said):
    write(tmp_path, "one_proportion_ci", theirs)
    done = replay(tmp_path)
    assert done.returncode == 1
    assert f"FAILED one_proportion_ci ours-00 {said}" in done.stdout


def test_an_unknown_method_and_a_broken_file_fail_by_name(tmp_path):
    write(tmp_path, "tarot", {"card": 1.0})
    (tmp_path / "torn.json").write_text('{"method": "srm", "ca')
    done = replay(tmp_path)
    assert done.returncode == 1
    assert "FAILED tarot: no function of stats/ is known" in done.stdout
    assert "FAILED torn: torn.json is not a file of vectors" in done.stdout


def test_an_empty_folder_and_none_fail(tmp_path):
    empty, absent = replay(tmp_path), replay(tmp_path / "absent")
    assert (empty.returncode, absent.returncode) == (1, 1)
    assert "holds no vectors" in empty.stdout
    assert "make vectors DIR=" in absent.stderr
