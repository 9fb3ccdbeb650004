"""A training that ends anywhere goes on from its checkpoint to the same bits, and no other file will do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from arms import mlx_nets, mlx_training, torch_export, torch_training
from arms.checkpoint import Checkpoint
from arms.cloning import clone, material_of
from arms.epochs import Watch
from arms.errors import ArtefactError, TrainingError
from arms.presets import preset_of
from arms.training import TrainingConfig

TINY = TrainingConfig(epochs=4, rows_per_epoch=400, batch_size=64, learning_rate=5e-3)
TRAIN = {"torch": torch_training.train, "mlx": mlx_training.train}
WEIGHTS_OF = {"torch": torch_export.weights_of, "mlx": mlx_nets.weights_of}
PRESET = preset_of("transformer", "fast")
EVERY = pytest.mark.parametrize("backend", ["torch", "mlx"])


def rolled(_name, array):
    return np.roll(array.reshape(-1), 1).reshape(array.shape)


def another(name, array):
    """A generator of torch has a form that not every array of bytes has."""
    seeded = torch.Generator().manual_seed(9).get_state().numpy()
    return seeded if name == "generator" else rolled(name, array)


ALTERED = {"torch": another, "mlx": rolled}


class Killed(Exception):
    """Where a process would die."""


@pytest.fixture(scope="module")
def lessons(lag_world):
    return lag_world(1, 40)


@pytest.fixture(scope="module")
def evaluate(lag_world, evaluate_on):
    return evaluate_on(lag_world(2, 20))


def dying_after(batches):
    """A watch's `batch` that dies after so many steps of this run."""
    left = iter(range(batches))

    def batch(_share):
        if next(left, None) is None:
            raise Killed

    return batch


def facts(epochs):
    """What a repetition reproduces: all but the speed."""
    return [replace(epoch, samples_per_s=0.0) for epoch in epochs]


def same_weights(backend, one, other):
    ours, theirs = WEIGHTS_OF[backend](one.net), WEIGHTS_OF[backend](other.net)
    assert set(ours) == set(theirs)
    return all(np.array_equal(ours[name], theirs[name]) for name in ours)


@EVERY
@pytest.mark.parametrize("kind", ["base", "transformer"])
def test_whenever_it_is_killed_it_ends_with_the_same_bits(backend, kind, lessons, evaluate, tmp_path):
    preset = preset_of(kind, "fast")
    whole = TRAIN[backend](lessons, preset, TINY, evaluate, Watch())
    checkpoint, runs, before = Checkpoint(tmp_path / "c", {"seed": "0"}), 0, []
    while True:
        runs += 1
        watch = Watch(batch=dying_after(9), checkpoint=checkpoint, begun=lambda e: before.append(len(e)))
        try:
            ended = TRAIN[backend](lessons, preset, TINY, evaluate, watch)
            break
        except Killed:
            continue
    assert runs > 2, "it was killed within epochs, more than once"
    assert before == sorted(before) and before[0] == 0 and before[-1] > 1
    assert facts(ended.epochs) == facts(whole.epochs)
    assert ended.trained == whole.trained
    assert same_weights(backend, ended, whole)


@EVERY
def test_what_the_checkpoint_holds_decides_and_not_the_seed(backend, lessons, evaluate, tmp_path):
    """Without optimizer or generator the bits differ: each part of the state is needed."""
    whole = TRAIN[backend](lessons, PRESET, TINY, evaluate, Watch())
    checkpoint = Checkpoint(tmp_path / "c", {})
    with pytest.raises(Killed):
        TRAIN[backend](lessons, PRESET, TINY, evaluate, Watch(batch=dying_after(9), checkpoint=checkpoint))
    standing = checkpoint.load()
    parts = {name.split("/")[0].split(".")[0] for name in standing.state}
    assert parts == {"net", "mean", "best", "adam", "generator"}
    for part in ("net", "mean", "adam", "generator"):
        altered = {
            name: ALTERED[backend](name, array) if name.startswith(part) else array
            for name, array in standing.state.items()
        }
        checkpoint.save(replace(standing, state=altered))
        ended = TRAIN[backend](lessons, PRESET, TINY, evaluate, Watch(checkpoint=checkpoint))
        assert not same_weights(backend, ended, whole), part


def test_a_patience_that_ran_out_is_not_given_anew(lessons, evaluate, tmp_path):
    config = replace(TINY, epochs=40, patience=1, rows_per_epoch=2_400)
    checkpoint = Checkpoint(tmp_path / "c", {})
    whole = torch_training.train(lessons, PRESET, config, evaluate, Watch(checkpoint=checkpoint))
    assert 1 < len(whole.epochs) < 40
    again = torch_training.train(lessons, PRESET, config, evaluate, Watch(checkpoint=checkpoint))
    assert again.epochs == whole.epochs
    assert same_weights("torch", again, whole)


@EVERY
def test_enough_is_the_best_epoch_so_far(backend, lessons, evaluate, tmp_path):
    checkpoint = Checkpoint(tmp_path / "c", {})
    with pytest.raises(Killed):
        TRAIN[backend](lessons, PRESET, TINY, evaluate, Watch(batch=dying_after(15), checkpoint=checkpoint))
    held = checkpoint.load()
    ended = TRAIN[backend](lessons, PRESET, TINY, evaluate, Watch(checkpoint=checkpoint, is_enough=True))
    assert ended.epochs == held.epochs
    assert ended.trained.epochs == held.kept
    best = {name.removeprefix("best/"): a for name, a in held.state.items() if name.startswith("best/")}
    weights = WEIGHTS_OF[backend](ended.net)
    assert all(np.array_equal(weights[name], best[name]) for name in best if "critic.fc3" not in name)


@EVERY
def test_a_loss_that_explodes_leaves_the_epoch_before(backend, lessons, evaluate, tmp_path):
    material = material_of(lessons, PRESET.window)
    checkpoint = Checkpoint(tmp_path / "c", {})

    def poison(epoch):
        if epoch.epoch == 2:
            material.lessons.gains[:] = np.nan

    module = {"torch": torch_training, "mlx": mlx_training}[backend]
    learner = module._Learner(PRESET, material.ticks.states.shape[1], TINY)
    with pytest.raises(TrainingError, match="epoch 3, batch 1 is nan"):
        clone(learner, material, TINY, evaluate, Watch(poison, checkpoint=checkpoint))
    held = checkpoint.load()
    assert [epoch.epoch for epoch in held.epochs] == [1, 2]
    assert all(np.isfinite(array).all() for array in held.state.values())


@pytest.fixture
def written(lessons, evaluate, tmp_path):
    checkpoint = Checkpoint(tmp_path / "c", {"seed": "0", "data": "abc"})
    config = replace(TINY, epochs=1)
    torch_training.train(lessons, PRESET, config, evaluate, Watch(checkpoint=checkpoint))
    return checkpoint


def test_of_another_training_is_refused_by_the_name_of_what_differs(written):
    with pytest.raises(ArtefactError, match="is of a training with seed 0, not 1"):
        replace(written, made_of={"seed": "1", "data": "abc"}).load()
    with pytest.raises(ArtefactError, match="is of a training with method None, not awr"):
        replace(written, made_of={"seed": "0", "method": "awr"}).load()


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-40], lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"{}"]
)
def test_a_damaged_file_is_refused(written, damage):
    written.path.write_bytes(damage(written.path.read_bytes()))
    with pytest.raises(ArtefactError, match="is no checkpoint"):
        written.load()


def test_one_altered_bit_is_noticed(written):
    content = bytearray(written.path.read_bytes())
    content[-100] ^= 1
    written.path.write_bytes(content)
    with pytest.raises(ArtefactError, match="was altered"):
        written.load()


def test_half_a_file_beside_it_does_no_harm(written):
    standing = written.load()
    written.path.with_name(f".{written.path.name}.new").write_bytes(b"half")
    assert facts(written.load().epochs) == facts(standing.epochs)
    written.save(standing)
    assert sorted(path.name for path in written.path.parent.iterdir()) == ["c"]
    written.remove()
    written.remove()
    assert written.load() is None


def test_a_disk_that_takes_nothing_is_said(written):
    standing = written.load()
    with pytest.raises(ArtefactError, match="cannot be written"):
        replace(written, path=written.path / "below a file").save(standing)
