"""`abctl model train --method`: every method makes a model that serves; what it would ignore is refused."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from arms.artefact import read_artefact
from arms.epochs import UNWATCHED, Watch
from arms.ppo import PpoConfig
from arms.training import TrainingConfig
from cli import failures
from cli.lab import simulated_course, train_artefact
from cli.ppo_course import train_ppo
from cli.training_methods import USUAL, config_of

SMALL = ("--arm", "base", "--world", "decoy-fast", "--markets", "30", "--epochs", "1")
ORIGINS = {"bc": "cloning", "awr": "awr", "iql": "iql", "ppo": "ppo"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A cloned model that ppo can start from."""
    folder = tmp_path_factory.mktemp("clone") / "model"
    course = simulated_course("decoy-fast", 20, 1)
    train_artefact("base", "fast", course, TrainingConfig(epochs=1), folder)
    return folder


class Ended(Exception):
    """Where a training is ended after an epoch."""


def ended(_epoch):
    raise Ended


@pytest.mark.parametrize("method", USUAL)
def test_every_method_makes_a_model_that_is_served(abctl, tmp_path, clone, method):
    more = ("--start", clone) if method == "ppo" else ()
    done = abctl("model", "train", *SMALL, "--method", method, *more, "--output", tmp_path / "m", "--json")
    assert done.code == failures.OK, done.err
    model = json.loads(done.out)["id"]
    (entry,) = json.loads(abctl("model", "list", "--json").out)
    assert entry["id"] == model
    assert ORIGINS[method] in entry["facts"]["trained"]["origin"].lower()
    assert abctl("model", "promote", model).code == failures.OK
    (line,) = (tmp_path / "m.training" / "training.log").read_text().splitlines()
    assert line.startswith("Epoch 1/1: Loss=")


REFUSED = {
    "a method that is none": (("--method", "dqn"), "bc, awr, iql, ppo"),
    "a start for cloning": (("--start", "models/base"), "--start is for ppo"),
    "dropout for ppo": (("--method", "ppo", "--dropout", "0.2"), "leave --dropout out"),
    "a finish of nothing": (("--method", "ppo", "--finish"), "--finish needs a checkpoint"),
    "a batch of one for ppo": (("--method", "ppo", "--batch-size", "1"), "2 or more"),
    "a rate of nothing": (("--learning-rate", "0"), "above 0"),
    "a rate without end": (("--learning-rate", "inf"), "finite"),
    "a world beside recordings": (("--data", "recorded"), "give one"),
    "a port without a page": (("--port", "5000"), "give --dashboard too"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_method_cannot_do_is_refused_in_one_sentence(abctl, tmp_path, case):
    words, sentence = REFUSED[case]
    done = abctl("model", "train", *SMALL, *words, "--output", tmp_path / "m")
    assert done.code == failures.REFUSED
    assert sentence in done.sentence
    assert not (tmp_path / "m").exists()


def test_a_start_of_another_arm_is_refused(abctl, tmp_path, clone):
    words = ("--arm", "transformer", "--method", "ppo", "--start", clone, "--markets", "20", "--epochs", "1")
    done = abctl("model", "train", *words, "--output", tmp_path / "m")
    assert done.code != failures.OK
    assert "base/fast and cannot start a transformer/fast" in done.sentence


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("method", USUAL)
def test_weights_that_are_no_numbers_leave_the_model_that_is_there(abctl, tmp_path, clone, method):
    """The last step of an epoch spoils them after a loss that was fine; NaN holds, which beats any loser."""
    shutil.copytree(clone, tmp_path / "m")
    before = hashes(tmp_path / "m")
    more = ("--method", method, "--learning-rate", "1e30", "--output", tmp_path / "m")
    done = abctl("model", "train", *SMALL, *more)
    assert done.code != failures.OK
    assert "lower the learning rate" in done.sentence
    assert hashes(tmp_path / "m") == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".m")] == []


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_a_net_spoiled_by_the_last_batch_of_an_epoch_is_not_taken_for_one_that_holds(
    abctl, tmp_path, backend
):
    """There is one batch an epoch: its loss is fine, and what it leaves answers NaN."""
    words = ("--arm", "base", "--markets", "20", "--batch-size", "530")
    done = abctl("model", "train", *words, "--learning-rate", "1e30", "--output", tmp_path / "m")
    assert done.code != failures.OK
    assert "epoch 1: the net's answers are not finite" in done.sentence
    assert not (tmp_path / "m").exists()


def test_ppo_leaves_the_checkpoint_of_others_alone(abctl, tmp_path):
    course, held = simulated_course("decoy-fast", 30, 0), tmp_path / "m.training" / "checkpoint.safetensors"
    with pytest.raises(Ended):
        train_artefact(
            "base", "fast", course, TrainingConfig(), tmp_path / "m", Watch(ended), checkpoint_at=held
        )
    before = held.read_bytes()
    done = abctl("model", "train", *SMALL, "--method", "ppo", "--output", tmp_path / "m")
    assert done.code == failures.REFUSED
    assert "is of a training with method bc, not ppo" in done.sentence
    assert held.read_bytes() == before


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_a_start_that_nothing_improves_keeps_its_odds(clone, tmp_path, backend):
    """ppo plays sharper odds than its start's; again and again that would end in certainty."""
    start = read_artefact(clone)
    course = simulated_course("decoy-fast", 20, 1)
    config = PpoConfig(epochs=1, critic_epochs=1)
    artefact, _ = train_ppo("base", "fast", course, config, tmp_path / "m", UNWATCHED, backend, start)
    assert artefact.trained.epochs == 0
    np.testing.assert_allclose(artefact.golden.probs, start.golden.probs, atol=1e-5)


def test_an_arm_that_is_none_is_refused(abctl, tmp_path):
    done = abctl("model", "train", "--arm", "nope", "--output", tmp_path / "m")
    assert done.code == failures.REFUSED
    assert "base, transformer" in done.sentence


def test_where_nothing_is_said_the_method_has_its_own_numbers():
    ppo, bc = config_of("ppo", 3, None, None, 0), config_of("bc", 3, None, None, 0)
    assert (ppo.batch_size, ppo.learning_rate) == (PpoConfig().batch_size, PpoConfig().learning_rate)
    assert bc == TrainingConfig(epochs=3, batch_size=64)
    assert config_of("ppo", 3, 64, 0.1, 0).batch_size == 64
