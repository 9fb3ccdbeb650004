import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from arms.artefact import read_artefact
from arms.errors import ArtefactError
from arms.onnx_import import import_onnx
from arms.onnx_runtime import load
from arms.schema import MARKET_V1


def users_model(path, window=4, batch="n", softmax=True, width=18, inputs=1, weight=None):
    """Somebody's linear model of the flattened window. weight: of every feature, else random ones."""
    drawn = np.random.default_rng(0).normal(size=(window * width, 3))
    weight = (drawn if weight is None else np.full_like(drawn, weight)).astype(np.float32)
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


@pytest.mark.parametrize("output", ["probs", "logits"])
def test_answers_that_are_not_finite_are_refused_whatever_they_are_said_to_be(tmp_path, output):
    users_model(tmp_path / "mine.onnx", weight=np.nan)
    with pytest.raises(ArtefactError, match=f"output={output}: the answer is not a probability") as refused:
        import_onnx(tmp_path / "mine.onnx", tmp_path / "arm", "mine", 4, MARKET_V1, output)
    assert ("needs output=logits" in str(refused.value)) == (output == "probs")


def test_a_name_that_no_arm_may_have_is_refused_before_anything_is_written(tmp_path):
    users_model(tmp_path / "mine.onnx")
    with pytest.raises(ArtefactError, match=r"^arm 'My Arm' must be 1-63 of a-z"):
        import_onnx(tmp_path / "mine.onnx", tmp_path / "arm", "My Arm", 4, MARKET_V1, "probs")
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
