"""Exported folders: what torch, MLX and ONNX Runtime read from them answers as the served model does.

The files are read here as a user reads them, by the frameworks alone, and compared with each other.
"""

import json
import re
import subprocess
import sys

import mlx.core as mx
import numpy as np
import onnxruntime
import pytest
import safetensors.numpy
import torch

from arms import mlx_export, mlx_file, mlx_nets, mlx_training, onnx_file, torch_export, torch_file
from arms import torch_training as training
from arms.artefact import ARTEFACT, Trained, artefact_within, read_artefact
from arms.errors import ArtefactError
from arms.exported_folder import ASKED, asked, write_exported
from arms.foreign_weights import FOREIGN, import_weights, shapes_of
from arms.onnx_import import import_onnx
from arms.onnx_runtime import load
from arms.presets import PRESETS, preset_of
from arms.schema import MARKET_V1
from arms.torch_nets import DecisionNet
from arms.training import TrainingConfig

LIMIT = 1e-5
WRITERS = {"torch": torch_file.written, "mlx": mlx_file.written, "onnx": onnx_file.written}
EVERY = sorted(PRESETS)
SLOW = {("transformer", "default"): 512, ("transformer", "large"): 128}
"""The wheels of MLX for Linux have the plainest BLAS: so many inputs are asked once more after the export."""


@pytest.fixture(scope="module")
def trained(lag_world, evaluate_on, tmp_path_factory):
    """trained(kind, preset, backend): the folder of an artefact after one short epoch on a market of noise
    and cues."""
    learn, judge = lag_world(1, 40), evaluate_on(lag_world(2, 4))
    made = {}

    def train(kind, name, backend="torch"):
        if (kind, name, backend) not in made:
            learner, exporter = {
                "torch": (training, torch_export),
                "mlx": (mlx_training, mlx_export),
            }[backend]
            folder = tmp_path_factory.mktemp("trained") / "model"
            preset, config = (
                preset_of(kind, name),
                TrainingConfig(epochs=1, rows_per_epoch=600, batch_size=64),
            )
            fitted = learner.train(learn, preset, config, judge)
            exporter.export(fitted.net, preset, kind, MARKET_V1, fitted.trained, folder)
            made[kind, name, backend] = folder
        return made[kind, name, backend]

    return train


@pytest.fixture
def written(tmp_path):
    """written(artefact folder, target): the exported folder, and what its config.json says."""

    def write(source, target):
        folder = tmp_path / target
        folder.mkdir()
        write_exported(source, target, WRITERS[target], MARKET_V1, folder)
        return folder, json.loads((folder / "config.json").read_text())

    return write


def answered(folder, preset, rows=ASKED):
    """name of file -> probs and value of the first that were asked, by the frameworks alone."""
    histories, lengths = (each[:rows] for each in asked(MARKET_V1, preset.window))
    found = {}
    if (folder / "model.pt").exists():
        net = DecisionNet(preset, 18).eval()
        net.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
        program = torch.export.load(folder / "model.pt2").module()
        inputs = torch.from_numpy(histories), torch.from_numpy(lengths)
        with torch.inference_mode():
            logits, value = net(*inputs)
            found["model.pt"] = torch.softmax(logits, -1).numpy(), value.numpy()
            parts = [program(*both) for both in zip(*(each.split(512) for each in inputs), strict=True)]
        found["model.pt2"] = tuple(np.concatenate(each) for each in zip(*parts, strict=True))
    if (folder / "weights.safetensors").exists():
        net = mlx_nets.DecisionNet(preset, 18)
        net.eval()
        net.load_weights(str(folder / "weights.safetensors"), strict=True)
        logits, value = net(mx.array(histories), mx.array(lengths))
        found["weights.safetensors"] = np.array(mx.softmax(logits, axis=-1)), np.array(value)
        decide = mx.import_function(str(folder / "model.mlxfn"))
        parts = [
            [
                np.array(a)
                for a in decide(mx.array(histories[i : i + 64]), mx.array(lengths[i : i + 64], mx.int32))
            ]
            for i in range(0, rows, 64)
        ]
        found["model.mlxfn"] = tuple(np.concatenate(each) for each in zip(*parts, strict=True))
    if (folder / "model.onnx").exists():
        session = onnxruntime.InferenceSession(folder / "model.onnx")
        found["model.onnx"] = tuple(
            session.run(["probs", "value"], {"history": histories, "length": lengths})
        )
    return found


def far(one, other):
    """The largest difference; of values relative to the largest, if above 1."""
    scale = max(1.0, np.abs(other[1]).max())
    return max(np.abs(one[0] - other[0]).max(), np.abs(one[1] - other[1]).max() / scale)


def assert_all_agree(written, source, preset, rows=ASKED):
    """rows: how many MLX is asked once more, here."""
    found = {}
    for target in WRITERS:
        folder, described = written(source, target)
        answers = answered(folder, preset, rows if target == "mlx" else ASKED)
        assert described["files"] == list(answers)
        assert described["agreement"]["inputs"] == ASKED == 4096
        assert described["agreement"]["probs"] < LIMIT
        assert described["agreement"]["value"] < LIMIT
        found |= answers
    served = found.pop("model.onnx")
    assert len(found) == 4
    assert served[0].std(axis=0).min() > 1e-4, "answers that never change would agree, too"
    for name, answers in found.items():
        assert far(answers, [each[: len(answers[0])] for each in served]) < LIMIT, name
    return served


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_preset_answers_the_same_in_all_frameworks(trained, written, kind, name):
    assert_all_agree(written, trained(kind, name), preset_of(kind, name), SLOW.get((kind, name), ASKED))


@pytest.mark.parametrize("kind", ["base", "transformer"])
def test_so_does_what_mlx_trained(trained, written, kind):
    assert_all_agree(written, trained(kind, "fast", "mlx"), preset_of(kind, "fast"))


def test_so_do_real_weights_from_elsewhere(shared_part, written, tmp_path):
    file = shared_part("data", "lacuna_weights", "rl_model.safetensors")
    import_weights(file, tmp_path / "lacuna", "base", MARKET_V1)
    _, value = assert_all_agree(written, tmp_path / "lacuna", FOREIGN)
    assert not value.any(), "its critic does not speak in USD"


def made_up_lacuna(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {n: rng.normal(0, 0.3, shape).astype(np.float32) for n, shape in shapes_of(18).items()}
    safetensors.numpy.save_file(tensors, tmp_path / "w.safetensors")
    return import_weights(tmp_path / "w.safetensors", tmp_path / "lacuna", "base", MARKET_V1)


def test_foreign_weights_that_are_made_up_agree_too(written, tmp_path):
    made_up_lacuna(tmp_path)
    assert_all_agree(written, tmp_path / "lacuna", FOREIGN)


@pytest.mark.parametrize("target", WRITERS)
def test_the_artefact_goes_along_unchanged(trained, written, target):
    source = trained("base", "fast")
    folder, described = written(source, target)
    assert artefact_within(folder) == folder / ARTEFACT
    assert artefact_within(source) == source
    again = read_artefact(folder / ARTEFACT)
    assert again == read_artefact(source)
    assert described["model"] == again.id


def test_from_torch_to_mlx_and_back_it_stays_the_same_model(trained, written, tmp_path):
    """Both directions, each from the folder that the other one wrote."""
    to_mlx, _ = written(trained("transformer", "fast", "torch"), "mlx")
    to_torch, described = written(artefact_within(to_mlx), "torch")
    state = torch.load(to_torch / "model.pt", weights_only=True)
    named = mx.load(str(to_mlx / "weights.safetensors"))
    assert state.keys() == named.keys()
    assert all(np.array_equal(np.array(named[name]), tensor.numpy()) for name, tensor in state.items())
    assert described["model"] == read_artefact(trained("transformer", "fast", "torch")).id


@pytest.mark.parametrize("rows", [1, 2, 65])
def test_the_program_of_torch_takes_any_number_of_histories(trained, written, rows):
    folder, _ = written(trained("transformer", "fast"), "torch")
    histories, lengths = asked(MARKET_V1, 10)
    program = torch.export.load(folder / "model.pt2").module()
    probs, value = program(torch.from_numpy(histories[:rows]), torch.from_numpy(lengths[:rows]))
    served = load(read_artefact(folder / ARTEFACT), MARKET_V1).act(histories[:rows], lengths[:rows])
    assert far((probs.detach().numpy(), value.detach().numpy()), (served.probs, served.value)) < LIMIT


def readme_prints(folder):
    """What the README's code prints, run beside it as a reader would."""
    (code,) = re.findall(
        r"^```python\n(.*?)^```$", (folder / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert not re.search(r"\b(arms|cli|abctl)\b", code)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [float(number) for number in re.findall(r"-?\d+\.\d*(?:e-?\d+)?", done.stdout)]


@pytest.mark.parametrize("target", WRITERS)
def test_the_readme_runs_and_gives_the_served_answer(trained, written, target):
    folder, _ = written(trained("transformer", "fast"), target)
    arm = load(read_artefact(folder / ARTEFACT), MARKET_V1)
    acted = arm.act(np.zeros((1, 10, 18), dtype=np.float32), np.array([1]))
    assert readme_prints(folder)[:4] == pytest.approx([*acted.probs[0], acted.value[0]], abs=1e-4)


def test_every_length_is_asked_and_padded_with_zeros():
    histories, lengths = asked(MARKET_V1, 20)
    assert set(lengths.tolist()) == set(range(1, 21))
    real = np.arange(20)[None, :] >= 20 - lengths[:, None]
    assert not histories[~real].any()
    assert histories[real].any(axis=1).all()
    assert (histories >= MARKET_V1.low).all() and (histories <= MARKET_V1.high).all()
    np.testing.assert_array_equal(histories, asked(MARKET_V1, 20)[0])


def test_it_says_how_far_it_is(trained, tmp_path):
    told, source = [], trained("base", "fast")
    write_exported(source, "onnx", onnx_file.written, MARKET_V1, tmp_path, told.append)
    assert len(told) == ASKED // 64
    assert (told[0], told[-1]) == tuple(
        f"model.onnx was asked {count} of 4,096 inputs" for count in ("64", "4,096")
    )


def imported_onnx(trained, tmp_path, **options):
    """A user's graph: a linear layer of the newest state."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(0, 0.3, (18, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["states", "newest"], ["state"], axis=1),
        helper.make_node("MatMul", ["state", "weight"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["n", 7, 18])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array(6, dtype=np.int64), "newest"),
        ],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    onnx.save(model, tmp_path / "own.onnx")
    return import_onnx(tmp_path / "own.onnx", tmp_path / "own", "mine", 7, MARKET_V1, "logits")


def test_a_model_without_weights_goes_to_onnx_alone(trained, written, tmp_path):
    artefact = imported_onnx(trained, tmp_path)
    folder, described = written(tmp_path / "own", "onnx")
    assert described["agreement"] == {"inputs": ASKED, "probs": 0.0, "value": 0.0}
    assert (folder / "model.onnx").read_bytes() == artefact.onnx
    assert len(readme_prints(folder)) == 3
    for target in ("torch", "mlx"):
        with pytest.raises(ArtefactError, match="no weights for another framework: export it with --to onnx"):
            written(tmp_path / "own", target)


@pytest.mark.parametrize("target", ["torch", "mlx"])
def test_weights_of_another_model_are_noticed(net_of, trained, written, tmp_path, target):
    """Its graph is sound and passes its self-test: only asking both tells."""
    folder = tmp_path / "mixed"
    torch_export.export(
        net_of("base", "fast"), preset_of("base", "fast"), "base", MARKET_V1, Trained(), folder
    )
    (folder / "model.safetensors").write_bytes((trained("base", "fast") / "model.safetensors").read_bytes())
    load(read_artefact(folder), MARKET_V1)
    with pytest.raises(ArtefactError, match=r"answers otherwise than model .* 4,096 inputs, more than 1e-05"):
        written(folder, target)


@pytest.mark.parametrize("target", ["torch", "mlx"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actor.fc1.bias": None}, r"actor.fc1.bias is absent, not \[32\]"),
        ({"more": np.zeros(1, np.float32)}, r"more is \[1\], not absent"),
        ({"actor.fc1.bias": np.zeros(5, np.float32)}, r"actor.fc1.bias is \[5\], not \[32\]"),
    ],
)
def test_weights_that_do_not_fit_are_named(trained, written, tmp_path, target, changes, said):
    artefact = read_artefact(trained("base", "fast"))
    tensors = safetensors.numpy.load(artefact.weights) | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    folder = tmp_path / "changed"
    folder.mkdir()
    for file in trained("base", "fast").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.safetensors").write_bytes(safetensors.numpy.save(kept))
    with pytest.raises(ArtefactError, match=said):
        written(folder, target)
    for restored in (torch_export.restored, mlx_export.restored):
        with pytest.raises(ArtefactError, match=said):
            restored(read_artefact(folder), preset_of("base", "fast"), 18)


@pytest.mark.parametrize("restored", [torch_export.restored, mlx_export.restored], ids=["torch", "mlx"])
def test_what_cannot_be_trained_further_is_said(trained, tmp_path, restored):
    lacuna = made_up_lacuna(tmp_path)
    with pytest.raises(ArtefactError, match=f"model {lacuna.id} holds a LACUNA net"):
        restored(lacuna, preset_of("base", "default"), 18)
    with pytest.raises(ArtefactError, match="imported as ONNX and has no weights to train further"):
        restored(imported_onnx(trained, tmp_path), preset_of("base", "default"), 18)
