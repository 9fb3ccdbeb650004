"""Models that change under load: no request is dropped, each is answered by one whole model, and one that is
damaged stays out while the old one goes on.
"""

import http.client
import json
import threading

import pytest

from arms.artefact import CONFIG, read_artefact
from store import models
from store.clock import wall_clock_us

SWAPS = 6
CALLERS = 3


@pytest.fixture(scope="module")
def others(tmp_path_factory, artefacts):
    """Two more nets of the base arm, each with weights of its own."""
    import torch

    from arms.artefact import Trained
    from arms.presets import preset_of
    from arms.schema import MARKET_V1
    from arms.torch_export import export
    from arms.torch_nets import DecisionNet

    root = tmp_path_factory.mktemp("swapped")
    for seed in (11, 12):
        torch.manual_seed(seed)
        preset = preset_of("base", "fast")
        net = DecisionNet(preset, len(MARKET_V1.features)).eval()
        export(net, preset, "base", MARKET_V1, Trained(seed=seed), root / str(seed))
    return [root / "11", root / "12"]


class Caller(threading.Thread):
    """Asks without a pause over one connection that it keeps: (model, probs, status) of every answer."""

    def __init__(self, node, question, number, over):
        super().__init__()
        self._node, self._question, self._number, self._over = node, question, number, over
        self.told, self.odd = [], []

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self._node.port, timeout=20)
        asked = 0
        while not self._over.is_set():
            body = json.dumps(self._question(f"swap-{self._number}-{asked % 20}")).encode()
            connection.request("POST", "/v1/decide", body, {"content-type": "application/json"})
            reply = connection.getresponse()
            found = json.loads(reply.read())
            asked += 1
            if reply.status == 200 and found["reason"] == "assigned":
                self.told.append((found["model"], tuple(found["probs"].values())))
            else:
                self.odd.append((reply.status, found))
        connection.close()


def test_no_request_is_dropped_while_models_come_and_go(start_node, others, question):
    node = start_node("swapping", arms=("base",))
    over = threading.Event()
    callers = [Caller(node, question, number, over) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    promoted = []
    try:
        for swap in range(SWAPS):
            promoted.append(node.promote("base", others[swap % 2]))
            node.wait(lambda: all(caller.told and caller.told[-1][0] == promoted[-1] for caller in callers))
        _promote_damaged(node, others[0])
        node.wait(lambda: node.ask("GET", "/readyz").json["warnings"])
        counts = [len(caller.told) for caller in callers]
        node.wait(lambda: all(len(c.told) > n + 20 for c, n in zip(callers, counts, strict=True)))
    finally:
        over.set()
        for caller in callers:
            caller.join()
    assert [caller.odd for caller in callers] == [[]] * CALLERS
    for caller in callers:
        order = [model for model, _ in caller.told]
        changes = [model for i, model in enumerate(order) if i == 0 or order[i - 1] != model]
        assert changes[-SWAPS:] == promoted, "each champion in its turn, and never one that was over"
    answers = {told for caller in callers for told in caller.told}
    assert len(answers) == len({model for model, _ in answers}), "the same state, one answer of each model"
    assert len(answers) == 3


def _promote_damaged(node, folder):
    """A champion whose weights are not those that its name says."""
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    content["model.onnx"] = content["model.onnx"][:-1]
    named = "0" * len(read_artefact(folder).id)
    models.register(
        node.engine, models.ModelEntry(named, "base", content[CONFIG].decode(), 1, "test"), content
    )
    change = models.AliasChange("base", "champion", named, wall_clock_us(), "test", "test")
    models.set_alias(node.engine, change)
