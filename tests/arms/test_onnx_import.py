import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from arms.artefact import read_artefact
from arms.errors import ArtefactError
from arms.onnx_import import import_onnx
from arms.onnx_runtime import load
from arms.schema import MARKET_V1


def users_model(path, window=4, batch="n", softmax=True, width=18, inputs=1):
    """Somebody's linear model of the flattened window."""
    weight = np.random.default_rng(0).normal(size=(window * width, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["logits" if softmax else "y"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["y"], axis=-1))
    extra = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, [1]) for i in range(inputs - 1)]
    graph = helper.make_graph(
        nodes,
        "users",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, window, width]), *extra],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)]), path)
    return weight


@pytest.mark.parametrize("batch", ["n", 1])
@pytest.mark.parametrize("output", ["probs", "logits"])
def test_a_users_file_becomes_an_arm(tmp_path, batch, output):
    weight = users_model(tmp_path / "mine.onnx", batch=batch, softmax=output == "probs")
    made = import_onnx(tmp_path / "mine.onnx", tmp_path / "arm", "mine", 4, MARKET_V1, output)
    artefact = read_artefact(tmp_path / "arm")
    assert artefact.id == made.id
    assert artefact.weights is None
    assert (artefact.arm, artefact.kind, artefact.trained.origin) == ("mine", "imported", "mine.onnx")
    arm = load(artefact, MARKET_V1)
    histories = np.random.default_rng(1).uniform(-1, 1, (5, 4, 18)).astype(np.float32)
    acted = arm.act(histories, np.full(5, 4))
    logits = histories.reshape(5, -1) @ weight
    np.testing.assert_allclose(acted.probs.argmax(1), logits.argmax(1))
    assert not acted.value.any()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"softmax": False}, "output=logits"),
        ({"window": 5}, r"float32 \[n, 4, 18\] is expected"),
        ({"width": 17}, r"float32 \[n, 4, 18\] is expected"),
        ({"batch": 8}, r"float32 \[n, 4, 18\] is expected"),
        ({"inputs": 2}, "2 inputs"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_rule(tmp_path, model, said):
    users_model(tmp_path / "mine.onnx", **model)
    with pytest.raises(ArtefactError, match=said):
        import_onnx(tmp_path / "mine.onnx", tmp_path / "arm", "mine", 4, MARKET_V1, "probs")
    assert not (tmp_path / "arm").exists()


def test_no_file_an_empty_one_and_no_onnx_are_refused(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"not a model")
    for name, said in (
        ("nowhere", "must be an ONNX file"),
        ("empty", "must be an ONNX file"),
        ("text", "cannot load"),
    ):
        with pytest.raises(ArtefactError, match=said):
            import_onnx(tmp_path / name, tmp_path / "arm", "mine", 4, MARKET_V1, "probs")
