"""A function of MLX in processes of its own: the same answers in the same order, and none of them stays."""

import os
import signal
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from arms.errors import ArtefactError
from arms.exported_folder import in_parts
from arms.mlx_asked import asked_singly
from arms.mlx_processes import asked_by

ROWS = 64 * 5 + 7


@pytest.fixture(scope="module")
def function(tmp_path_factory):
    """Of one history, and of many: their sums by feature, and how long they are."""
    path = tmp_path_factory.mktemp("function") / "f.mlxfn"

    def sums(history, length):
        return history.sum(axis=1), length * 1.5

    with mx.exporter(str(path), sums) as traced:
        for rows in (1, 7, 64):
            traced(mx.zeros((rows, 4, 3)), mx.ones((rows,), mx.int32))
    return path


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    return rng.normal(size=(ROWS, 4, 3)).astype(np.float32), np.arange(ROWS) % 4 + 1


def children():
    """Processes of ours that still are."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.parametrize("processes", [1, 2, 9])
def test_many_processes_answer_as_one_does(function, inputs, processes):
    before = children()
    found, expected = (list(asking(*inputs)) for asking in (
        asked_by(function, processes), in_parts(asked_singly(str(function)))
    ))  # fmt: skip
    assert [len(value) for _, value in found] == [64] * 5 + [7]
    for (probs, value), (more, other) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(probs, more)
        np.testing.assert_array_equal(value, other)
    assert children() == before


def test_who_stops_listening_leaves_none_behind(function, inputs):
    before = children()
    answers = asked_by(function, 2)(*inputs)
    next(answers)
    assert len(children() - before) == 2
    answers.close()
    assert children() == before


def test_a_process_that_is_killed_is_one_sentence(function, inputs):
    before = children()
    answers = asked_by(function, 2)(*inputs)
    next(answers)
    for child in children() - before:
        os.kill(int(child), signal.SIGKILL)
    with pytest.raises(ArtefactError, match=r"failed \(it ended with -9\): nothing is written"):
        list(answers)
    assert children() == before


def test_what_a_process_says_at_its_end_is_told(inputs, tmp_path):
    (tmp_path / "f.mlxfn").write_bytes(b"no function")
    with pytest.raises(ArtefactError, match=r"a process that asks MLX failed \(.*\S.*\): nothing is written"):
        list(asked_by(tmp_path / "f.mlxfn", 2)(*inputs))
