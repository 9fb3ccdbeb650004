"""From a file of foreign weights to what bots are told: import, promote, and /v1/decide of a real service.

The expectation is a forward pass written here, not ours: see tests/arms/test_foreign_weights.py.
"""

import json
import time
import urllib.request

import numpy as np
import pytest
import safetensors.numpy

from arms.schema import MARKET_V1

JSON = {"content-type": "application/json"}
F, STATES = 18, 5
UNITS = 256
LENGTHS = (1, 2, 3, 4, 5, 6, 20, 64)
ACTIONS = ("hold", "buy", "sell")


@pytest.fixture(scope="module")
def lacuna(shared_part):
    return shared_part("data", "lacuna_weights", "rl_model.safetensors")


def normed(tensors, layer, x):
    """tanh(LayerNorm(x)), epsilon 1e-5."""
    centred = x - x.mean()
    scaled = centred / np.sqrt((centred**2).mean() + 1e-5)
    return np.tanh(scaled * tensors[f"{layer}.weight"] + tensors[f"{layer}.bias"])


def expected(tensors, history):
    """Probabilities by the description of the weights: 5 states, oldest first, zeros where there is none."""

    def linear(layer, x):
        return tensors[f"actor.{layer}.weight"].astype(float) @ x + tensors[f"actor.{layer}.bias"]

    states = np.zeros((STATES, F))
    known = np.array(history[-STATES:])
    states[STATES - len(known) :] = known
    x = states.reshape(-1)
    for n in (1, 2):
        x = normed(tensors, f"actor.temporal_encoder.ln{n}", linear(f"temporal_encoder.fc{n}", x))
    x = np.concatenate([states[-1], x])
    for n in (1, 2):
        x = normed(tensors, f"actor.ln{n}", linear(f"fc{n}", x))
    odds = np.exp(linear("fc3", x))
    return odds / odds.sum()


def asked(url, body):
    request = urllib.request.Request(f"{url}/v1/decide", json.dumps(body).encode(), JSON)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def histories():
    """Within the schema's ranges, as float32 numbers, which is what both sides compute with."""
    rng = np.random.default_rng(18)
    for i in range(UNITS):
        size = (LENGTHS[i % len(LENGTHS)], F)
        yield rng.uniform(MARKET_V1.low, MARKET_V1.high, size).astype(np.float32).tolist()


def test_bots_are_told_what_the_weights_say(idle_loop, lacuna, tools):
    service = idle_loop.service
    service.start()
    told = service.command("model", "import", str(lacuna), "--arm", "base", "--json")
    model = json.loads(told)["id"]
    before = asked(service.url, {"unit": "before", "history": [[0.0] * F]})
    assert before["model"] != model, "an imported model serves only once it is promoted"
    service.command("model", "promote", model[:12], "--arm", "base", "--reason", "test")
    tools.wait_until(lambda: serves(service.url) == model, 15.0, 0.1)
    tensors = safetensors.numpy.load_file(lacuna)
    for i, history in enumerate(histories()):
        reply = asked(service.url, {"unit": f"u{i}", "history": history})
        assert (reply["arm"], reply["served_arm"], reply["reason"]) == ("base", "base", "assigned")
        assert (reply["model"], reply["value"]) == (model, 0.0)
        assert reply["history_used"] == min(len(history), STATES)
        probs = [reply["probs"][action] for action in ACTIONS]
        np.testing.assert_allclose(probs, expected(tensors, history), rtol=0, atol=1e-5)


def serves(url):
    """The model that answers a fresh unit."""
    return asked(url, {"unit": f"probe-{time.monotonic_ns()}", "history": [[0.0] * F]})["model"]
