"""`abctl model train` at its smallest, and what it refuses before it starts."""

import json

import pytest

TINY = ["--epochs", "1", "--markets", "10"]


def test_a_trained_model_is_registered_and_can_be_promoted(abctl, tmp_path):
    told = abctl("model", "train", "--arm", "base", "--output", "m", *TINY, "--json")
    assert told.code == 0, told.err
    found = json.loads(told.out)
    assert (tmp_path / "m" / "model.onnx").is_file()
    promoted = abctl("model", "promote", found["id"][:12], "--arm", "base", "--reason", "tiny")
    assert f"arm base serves model {found['id']}" in promoted.out
    again = abctl("model", "import", "m", "--arm", "base", "--json")
    assert json.loads(again.out)["id"] == found["id"], "the same files are the same model"


def test_mlx_trains_what_serves_like_any_other(abctl, tmp_path):
    words = ("--arm", "transformer", "--output", "m", "--backend", "mlx", *TINY, "--json")
    told = abctl("model", "train", *words)
    assert told.code == 0, told.err
    assert abctl("model", "promote", json.loads(told.out)["id"][:12]).code == 0
    assert (tmp_path / "m" / "model.safetensors").is_file()
    looked = abctl("model", "attention", "--model", "m", "--world", "decoy-fast", "--json")
    assert looked.code == 0, looked.err


def test_training_without_registering_makes_no_database(abctl, tmp_path):
    told = abctl("model", "train", "--arm", "base", "--output", "m", *TINY, "--no-register")
    assert told.code == 0, told.err
    assert not (tmp_path / ".abctl").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--arm", "bass"], "--arm must be one of base, transformer"),
        (["--arm", "base", "--preset", "huge"], "base/default"),
        (["--arm", "base", "--world", "real"], "decoy-fast"),
        (["--arm", "base", "--backend", "jax"], "--backend must be one of torch, mlx"),
        (["--arm", "base", "--data", "nowhere"], "--data of recorded ones: give one"),
    ],
)
def test_what_cannot_be_trained_is_named(abctl, tmp_path, flags, said):
    told = abctl("model", "train", "--output", "m", *flags, *TINY)
    assert told.code == 3
    assert said in told.sentence
    assert not (tmp_path / ".abctl").exists()
