"""`explain` adds where the model looked to a reply, and changes nothing else about it."""

import asyncio
import json
import threading
from urllib.parse import unquote_to_bytes

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arms.artefact import read_artefact
from arms.attention import attention_of
from arms.errors import ArtefactError
from arms.onnx_runtime import window_of
from router.explaining import WAITING_MAX, Explainer, wants_explanation
from router.wire import DecideReply, Probs

ROWS = 4


@pytest.fixture
def ask(node, question, row):
    """A forced decision of some rows, by its id; more of the path and the body can be said."""

    def made(decision_id, arm="transformer", path="/v1/decide", rows=ROWS, **more):
        history = [row(0.02 * i - 0.3) for i in range(rows)]
        body = question("explained", decision_id=decision_id, history=history, force_arm=arm, **more)
        return node.post(path, body)

    return made


def looked_at(artefacts, row, rows):
    """[layers][heads][ticks ago], from the artefact alone."""
    artefact = read_artefact(artefacts / "transformer")
    states = np.array([row(0.02 * i - 0.3) for i in range(rows)], dtype=np.float32)
    histories, lengths = window_of(states, artefact.window)
    weights = attention_of(artefact, histories[0], int(lengths[0])).newest
    return weights[:, :, ::-1][:, :, : int(lengths[0])]


@pytest.mark.parametrize("rows", [1, ROWS, 30])
def test_the_weights_are_those_of_the_model_that_answered(ask, artefacts, row, rows):
    reply = ask(f"weights-{rows}", rows=rows, explain=True).json
    weights = np.array(reply["explain"]["weights"])
    assert weights.shape[2] == reply["history_used"]
    np.testing.assert_allclose(weights, looked_at(artefacts, row, rows), atol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=2), 1, atol=1e-9)
    assert reply["explain"]["why_not"] is None


def test_the_address_says_it_as_well_as_the_body(ask):
    by_body = ask("both", explain=True).json
    by_address = ask("both", path="/v1/decide?explain=true").json
    assert by_address == by_body
    assert ask("both", path="/v1/decide?explain=false", explain=True).json == by_body


def test_nothing_else_of_the_reply_changes(ask):
    first = ask("plain")
    assert "explain" not in first.json
    explained = ask("plain", explain=True).json
    assert explained.pop("explain")["weights"]
    assert explained == first.json
    assert ask("plain").body == first.body
    assert ask("plain", path="/v1/decide?explain=0").body == first.body


def test_an_arm_without_attention_says_so(ask):
    explained = ask("base-arm", arm="base", explain=True).json["explain"]
    assert explained["weights"] is None
    assert "only a transformer attends" in explained["why_not"]


@pytest.mark.parametrize("said", ["maybe", ""])
def test_an_address_that_says_neither_is_refused(ask, said):
    reply = ask("neither", path=f"/v1/decide?explain={said}")
    assert (reply.status, reply.json["field"]) == (422, "explain")
    assert "true or false" in reply.json["detail"]


def test_a_batch_is_not_explained(node, question):
    plain, asking = question("in-batch"), question("in-batch", explain=True)
    first, second = node.post("/v1/decide/batch", {"decisions": [plain, asking]}).json["decisions"]
    assert first["reason"] == "assigned"
    assert second["error"]["field"] == "explain"
    assert "/v1/decide" in second["error"]["detail"]


@given(st.binary(max_size=40))
def test_an_address_without_the_word_asks_for_nothing(query):
    assume(b"explain" not in unquote_to_bytes(query))
    assert wants_explanation(query) is False


REPLY = msgspec.json.encode(
    DecideReply(
        decision_id="d",
        experiment="main",
        unit="u",
        arm="base",
        served_arm="base",
        reason="assigned",
        binding="started_at",
        action="hold",
        probs=Probs(hold=1.0, buy=0.0, sell=0.0),
        value=0.0,
        propensity={"base": 1.0},
        split_version=1,
        split_stale=False,
        model="gone",
        history_used=1,
        latency_us=1,
    )
)


def always(_key, _history):
    return True


def test_a_repeated_id_is_not_explained_by_another_history(ask):
    first = ask("repeated", rows=2, explain=True).json
    again = ask("repeated", rows=5, explain=True).json
    assert again["history_used"] == first["history_used"] == 2
    assert again["explain"]["weights"] is None
    assert "abctl model attention --decision repeated" in again["explain"]["why_not"]
    assert ask("repeated", rows=2, explain=True).json == first


def test_a_failure_within_does_not_take_the_answer(tmp_path):
    def broken(_path):
        raise ValueError("matmul: mismatch")

    explainer = Explainer(tmp_path, always, _read=broken)
    reply = json.loads(asyncio.run(explainer.explained(REPLY, np.zeros((1, 18), dtype=np.float32))))
    assert reply["action"] == "hold"
    assert "the service's log says why" in reply["explain"]["why_not"]


def test_files_of_another_model_are_not_looked_into(tmp_path, artefacts):
    explainer = Explainer(tmp_path, always, _read=lambda _path: read_artefact(artefacts / "transformer"))
    reply = json.loads(asyncio.run(explainer.explained(REPLY, np.zeros((1, 18), dtype=np.float32))))
    assert "not its own" in reply["explain"]["why_not"]


@pytest.mark.parametrize("path", ["/v1/decide/batch", "/v1/assign", "/v1/outcomes"])
def test_other_addresses_know_no_explain(node, path):
    problem = node.refused(f"{path}?explain=true", {})
    assert problem["field"] == "explain"


def test_a_model_whose_files_are_gone_says_so(tmp_path):
    reply = asyncio.run(Explainer(tmp_path, always).explained(REPLY, np.zeros((1, 18), dtype=np.float32)))
    explained = json.loads(reply)["explain"]
    assert explained["weights"] is None
    assert "gone" in explained["why_not"]


def test_no_more_than_a_few_wait(tmp_path):
    """What is beyond is told at once, while those before it still wait."""
    go_on = threading.Event()

    def slow(_path):
        assert go_on.wait(10)
        raise ArtefactError("looked")

    async def flood():
        explainer = Explainer(tmp_path, always, _read=slow)
        history = np.zeros((1, 18), dtype=np.float32)
        asked = [asyncio.create_task(explainer.explained(REPLY, history)) for _ in range(WAITING_MAX)]
        await asyncio.sleep(0)
        beyond = json.loads(await explainer.explained(REPLY, history))
        assert not any(task.done() for task in asked)
        go_on.set()
        held = [json.loads(reply)["explain"]["why_not"] for reply in await asyncio.gather(*asked)]
        after = json.loads(await explainer.explained(REPLY, history))
        return beyond["explain"]["why_not"], held, after["explain"]["why_not"]

    beyond, held, after = asyncio.run(flood())
    assert "waiting already" in beyond
    assert held == ["looked"] * WAITING_MAX
    assert after == "looked"
