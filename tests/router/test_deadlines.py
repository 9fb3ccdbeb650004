"""`deadline_ms`, and arms in processes of their own, over HTTP: assigned stays, served says who answered."""

import time

import pytest

from arms.onnx_import import import_onnx
from arms.schema import MARKET_V1


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    """An imported arm whose run takes tens of milliseconds: products of large matrices, one after another."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    root = tmp_path_factory.mktemp("heavy")
    size, times = 700, 8
    start = np.zeros((MARKET_V1.width, size), np.float32)
    end = np.zeros((size, 3), np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "start"], ["wide"]),
        helper.make_node("MatMul", ["square", "square"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{i}", "square"], [f"m{i + 1}"]) for i in range(times)),
        helper.make_node("MatMul", ["wide", f"m{times}"], ["through"]),
        helper.make_node("MatMul", ["through", "end"], ["logits"]),
    ]
    values = [numpy_helper.from_array(v, n) for n, v in (("start", start), ("end", end))]
    # Drawn anew, or the products would be folded into a constant when the model is loaded.
    square = helper.make_node("RandomNormal", [], ["square"], shape=[size, size], scale=1 / size, seed=1.0)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, MARKET_V1.width])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph([square, *nodes], "heavy", [x], [logits], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, root / "heavy.onnx")
    import_onnx(root / "heavy.onnx", root / "heavy", "transformer", 1, MARKET_V1, "logits")
    return root / "heavy"


def served(decision):
    return decision["arm"], decision["served_arm"], decision["reason"]


def test_an_arm_that_is_known_to_be_too_slow_is_replaced_and_the_decision_says_so(start_node, heavy):
    node = start_node("heavy", arms=("base",), arm_timeout_s=5.0)
    node.set_share("1")
    node.promote("transformer", heavy)
    node.wait(lambda: "transformer" in node.service.desk.lineup.models, timeout_s=30)
    measured = node.decide("heavy")
    assert served(measured) == ("transformer", "transformer", "assigned")
    assert measured["latency_us"] > 5_000, "or the rest shows nothing"
    began = time.monotonic()
    late = node.decide("heavy", deadline_ms=3, decision_id="d-1")
    assert served(late) == ("transformer", "base", "fallback:deadline")
    assert time.monotonic() - began < measured["latency_us"] / 1e6 + 0.05
    assert late["decision_id"] == "d-1"
    assert served(node.decide("heavy", deadline_ms=10_000)) == ("transformer", "transformer", "assigned")


def test_an_arm_that_takes_longer_than_its_limit_is_ended_and_started_again_and_bots_get_answers(
    start_node, heavy
):
    node = start_node("limited", arms=("base",), arm_timeout_s=0.002)
    node.set_share("1")
    node.promote("transformer", heavy)
    node.wait(lambda: "transformer" in node.service.desk.lineup.models, timeout_s=30)
    reasons = []
    deadline = time.monotonic() + 30
    while reasons.count("fallback:timeout") < 2 and time.monotonic() < deadline:
        decision = node.decide("limited")
        assert served(decision)[:2] == ("transformer", "base")
        reasons.append(decision["reason"])
        time.sleep(0.05)
    assert (reasons[0], reasons[-1]) == ("fallback:timeout", "fallback:timeout")
    assert set(reasons) == {"fallback:timeout", "fallback:starting"}


def test_the_control_answers_whatever_the_deadline(start_node):
    node = start_node("control")
    for _ in range(40):
        node.decide("control")
    assert served(node.decide("control", deadline_ms=0.001)) == ("base", "base", "assigned")
    late = [
        line
        for line in node.ask("GET", "/metrics").body.decode().splitlines()
        if line.startswith("abctl_late_decisions_total ")
    ]
    assert float(late[0].split()[1]) >= 1
