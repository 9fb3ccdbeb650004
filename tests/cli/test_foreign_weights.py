"""`abctl model import FILE.safetensors`: what it registers, and what it says of files that are none."""

import json
import sys

import numpy as np
import pytest
import safetensors.numpy

from arms.foreign_weights import shapes_of


@pytest.fixture
def weights(tmp_path):
    """weights(name, **changes) writes a file; the changes replace tensors, None leaves one out."""

    def write(name="w.safetensors", changes=None):
        rng = np.random.default_rng(0)
        tensors = {n: rng.normal(0, 0.3, shape).astype(np.float32) for n, shape in shapes_of(18).items()}
        tensors |= changes or {}
        kept = {n: tensor for n, tensor in tensors.items() if tensor is not None}
        (tmp_path / name).write_bytes(safetensors.numpy.save(kept))
        return tmp_path / name

    return write


def test_weights_are_registered_and_can_be_promoted(abctl, weights):
    told = abctl("model", "import", weights(), "--arm", "base", "--json")
    assert told.code == 0, told.err
    found = json.loads(told.out)
    rows = json.loads(abctl("model", "list", "--json").out)
    assert [(row["id"], row["arm"], row["champion"]) for row in rows] == [(found["id"], "base", False)]
    facts = rows[0]["facts"]
    assert (facts["kind"], facts["window"], facts["trained"]["origin"]) == ("base", 5, "w.safetensors")
    promoted = abctl("model", "promote", found["id"][:12], "--arm", "base")
    assert f"arm base serves model {found['id']}" in promoted.out
    again = abctl("model", "import", weights(), "--arm", "base")
    assert f"model {found['id']} is registered" in again.out, "the same file is the same model"


def test_they_can_be_judged_like_any_other_model(abctl, weights):
    found = json.loads(abctl("model", "import", weights(), "--arm", "base", "--json").out)
    told = abctl(
        "model", "evaluate", "--model", found["id"][:12], "--world", "decoy-fast", "--markets", "25", "--json"
    )
    assert told.code == 0, told.err
    assert "does not say which markets it was made from" in told.err + told.out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actor.fc3.bias": None}, "w.safetensors has no tensor actor.fc3.bias [3]"),
        ({"actor.x": np.zeros(1, np.float32)}, 'w.safetensors has a tensor "actor.x"'),
        ({"actor.fc3.bias": np.zeros(4, np.float32)}, "shape [4] instead of [3]"),
        ({"actor.fc3.bias": np.full(3, np.nan, np.float32)}, "actor.fc3.bias of w.safetensors has 3 of 3"),
        ({"actor.fc3.bias": np.zeros(3, np.int32)}, "tensor actor.fc3.bias of w.safetensors is I32"),
        ({"actor.fc3.weight": np.full((3, 64), 3e38, np.float32)}, "failed its self-test"),
    ],
)
def test_tensors_that_break_a_rule(abctl, weights, changes, said):
    told = abctl("model", "import", weights(changes=changes), "--arm", "base")
    assert told.code == 3
    assert said in told.sentence
    assert json.loads(abctl("model", "list", "--json").out) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("w.pt", b"PK\x03\x04rest", "w.pt is a zip archive"),
        ("w.npz", b"PK\x03\x04rest", "w.npz is a zip archive"),
        ("w.pkl", b"\x80\x04\x95rest", "w.pkl is a pickle"),
        ("w.safetensors", b"\x80\x02}q\x00.", "w.safetensors is a pickle"),
        ("w.safetensors", b"", "1 to 67,108,864 bytes"),
    ],
)
def test_files_that_are_no_safetensors(abctl, tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    told = abctl("model", "import", tmp_path / name, "--arm", "base")
    assert told.code == 3
    assert said in told.sentence


def test_a_truncated_file(abctl, weights, tmp_path):
    whole = weights().read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    told = abctl("model", "import", tmp_path / "cut.safetensors", "--arm", "base")
    assert told.code == 3
    assert "cut.safetensors ends within tensor" in told.sentence
    assert "copy it again" in told.sentence


@pytest.mark.parametrize("flags", [("--window", 5), ("--output", "probs")])
def test_flags_of_onnx_files_are_refused(abctl, weights, flags):
    told = abctl("model", "import", weights(), "--arm", "base", *flags)
    assert told.code == 3
    assert "are for ONNX files" in told.sentence


def test_without_the_train_extra_it_says_what_to_install(abctl, weights, monkeypatch):
    file = weights()
    monkeypatch.setitem(sys.modules, "onnx", None)
    told = abctl("model", "import", file, "--arm", "base")
    assert told.code == 3
    assert "pip install 'abctl[train]'" in told.sentence
