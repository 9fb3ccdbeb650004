"""What is set reaches the worker of a real `abctl serve`: overload is made, and a frozen arm is given up."""

import json
import os
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from cli.own_service import OwnService

FEATURES = 18
SETTINGS = {"ABCTL_DECISIONS_AT_ONCE": "1", "ABCTL_OVERLOAD": "control", "ABCTL_ARM_TIMEOUT_MS": "250"}
EXPERIMENT = 'key = "slow"\narms = ["base", "mine"]\ncontrol = "base"\n'


@pytest.fixture
def serving(tmp_path):
    """A service that takes one decision at a time; beyond that the control answers."""
    service = OwnService(tmp_path / "data", SETTINGS)
    service.start()
    yield service
    service.stop()


def post(service, path, body):
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(service.url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.load(reply)


def question(unit, **more):
    return {"unit": unit, "history": [[0.0] * FEATURES], "started_at": time.time_ns() // 1_000_000, **more}


def arms_of(experiment, service):
    found = json.loads(service.command("status", "--json"))["experiments"]
    return next(e["arms"] for e in found if e["key"] == experiment)


def frozen_arm(serving, tmp_path):
    """The processes of an arm of somebody else's, frozen; its experiment is `slow`."""
    file, definition = tmp_path / "mine.onnx", tmp_path / "slow.toml"
    onnx.save(constant_policy(), file)
    definition.write_text(EXPERIMENT)
    serving.command("arm", "add", "mine", str(file), "--window", "1", "--output", "probs")
    serving.command("experiment", "create", str(definition))
    serving.command("split", "set", "mine", "1", "--experiment", "slow")
    served_by_its_own_process(serving)
    processes = arm_processes(serving)
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    return processes


def test_decisions_at_once_and_what_is_done_beyond(tmp_path):
    service = OwnService(tmp_path / "data", SETTINGS | {"ABCTL_ARM_TIMEOUT_MS": "10000"})
    service.start()
    try:
        service.command("split", "set", "transformer", "1")
        processes = frozen_arm(service, tmp_path)
        with ThreadPoolExecutor() as pool:
            slow = pool.submit(post, service, "/v1/decide", question("frozen", experiment="slow"))
            with suppress(TimeoutError):
                slow.result(0.5)  # nobody else asks meanwhile: it is the one on its way
            assert not slow.done()
            deadline = time.monotonic() + 5
            beyond = post(service, "/v1/decide", question("u"))
            while beyond["reason"] == "assigned":
                beyond = post(service, "/v1/decide", question("u"))
                assert time.monotonic() < deadline, "the frozen one is not on its way"
            for process in processes:
                os.kill(process.pid, signal.SIGCONT)
            assert slow.result()["served_arm"] == "mine"
        assert (beyond["arm"], beyond["served_arm"], beyond["reason"]) == (
            "transformer",
            "base",
            "fallback:overload",
        )
    finally:
        service.stop()


def test_how_long_an_arm_may_take(serving, tmp_path):
    frozen_arm(serving, tmp_path)
    reply = post(serving, "/v1/decide", question("frozen", experiment="slow"))
    assert (reply["arm"], reply["served_arm"], reply["reason"]) == ("mine", "base", "fallback:timeout")
    assert reply["latency_us"] >= 250_000
    assert "arm mine took longer than 250 ms" in serving.log.read_text()


def served_by_its_own_process(serving):
    """Workers see the new model within about a second."""
    deadline = time.monotonic() + 20
    for number in range(10_000):
        reply = post(serving, "/v1/decide", question(f"early-{number}", experiment="slow"))
        if reply["served_arm"] == "mine":
            return
        assert time.monotonic() < deadline, reply
        time.sleep(0.1)


def arm_processes(serving):
    children = psutil.Process(serving.process.pid).children(recursive=True)
    found = [child for child in children if any("arms.aside" in word for word in child.cmdline())]
    assert found
    return found


def constant_policy():
    """Buys, whatever it sees."""
    fixed = helper.make_tensor("fixed", TensorProto.FLOAT, [1, 3], [0.1, 0.8, 0.1])
    naught = helper.make_tensor("naught", TensorProto.FLOAT, [FEATURES, 3], [0.0] * FEATURES * 3)
    nodes = [
        helper.make_node("Flatten", ["history"], ["flat"]),
        helper.make_node("MatMul", ["flat", "naught"], ["nothing"]),
        helper.make_node("Add", ["nothing", "fixed"], ["probs"]),
    ]
    history = helper.make_tensor_value_info("history", TensorProto.FLOAT, ["n", 1, FEATURES])
    probs = helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "constant", [history], [probs], [fixed, naught])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
