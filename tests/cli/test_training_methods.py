"""`abctl model train --method`: every method makes a model that serves; what it would ignore is refused."""

import json

import pytest

from arms.ppo import PpoConfig
from arms.training import TrainingConfig
from cli import failures
from cli.training_methods import USUAL, config_of

SMALL = ("--arm", "base", "--world", "decoy-fast", "--markets", "30", "--epochs", "1")
ORIGINS = {"bc": "cloning", "awr": "awr", "iql": "iql", "ppo": "ppo"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A cloned model that ppo can start from."""
    from cli.lab import simulated_course, train_artefact

    folder = tmp_path_factory.mktemp("clone") / "model"
    course = simulated_course("decoy-fast", 20, 1)
    train_artefact("base", "fast", course, TrainingConfig(epochs=1), folder, lambda _: None)
    return folder


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
    "a finish for ppo": (("--method", "ppo", "--finish"), "nothing to --finish"),
    "a batch of one for ppo": (("--method", "ppo", "--batch-size", "1"), "2 or more"),
    "a rate of nothing": (("--learning-rate", "0"), "above 0"),
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


def test_where_nothing_is_said_the_method_has_its_own_numbers():
    ppo, bc = config_of("ppo", 3, None, None, 0), config_of("bc", 3, None, None, 0)
    assert (ppo.batch_size, ppo.learning_rate) == (PpoConfig().batch_size, PpoConfig().learning_rate)
    assert bc == TrainingConfig(epochs=3)
    assert config_of("ppo", 3, 64, 0.1, 0).batch_size == 64
