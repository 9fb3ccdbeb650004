"""Attention in numpy against torch's own, what the weights must obey, and occlusion by hand."""

from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
import torch

from arms.artefact import read_artefact
from arms.attention import attention_of, occlusion, positions_of
from arms.errors import ArtefactError
from arms.fills import BUY, SELL
from arms.onnx_runtime import load
from arms.presets import preset_of
from arms.schema import MARKET_V1
from arms.torch_export import attention, export
from arms.torch_nets import MultiHeadAttention, sinusoidal
from cli.starters import starters_folder
from market.worlds import CUED, DECOY_FAST, SPIKED, tape_of

LENGTHS = (1, 2, 7)


@pytest.fixture(params=["default", "large", "fast"])
def exported(request, net_of, tmp_path):
    net, preset = net_of("transformer", request.param), preset_of("transformer", request.param)
    config = read_artefact(starters_folder() / "transformer").trained
    return net, preset, export(net, preset, "transformer", MARKET_V1, config, tmp_path / "m")


def histories(window, seed=0):
    """(history, length) of some lengths up to the window."""
    rng = np.random.default_rng(seed)
    for length in (*LENGTHS, window):
        history = np.zeros((window, MARKET_V1.width), dtype=np.float32)
        history[window - min(length, window) :] = rng.uniform(-1, 1, (min(length, window), MARKET_V1.width))
        yield history, min(length, window)


def heard(net, history, length):
    """Torch: what every attention layer is given, and stock multi-head attention's weights of it."""
    inputs = []
    modules = [m for m in net.modules() if isinstance(m, MultiHeadAttention)]
    hooks = [m.register_forward_pre_hook(lambda m, args: inputs.append((m, args))) for m in modules]
    with torch.inference_mode():
        encoded = net.temporal_encoder(torch.from_numpy(history)[None], torch.tensor([length]))[0]
        found = [stock_weights(module, *args) for module, args in inputs]
    for hook in hooks:
        hook.remove()
    return encoded.numpy(), found


def stock_weights(module, queries, states, real):
    width = queries.shape[-1]
    stock = torch.nn.MultiheadAttention(width, module.heads, bias=False, batch_first=True)
    packed = [module.query_proj.weight, module.key_proj.weight, module.value_proj.weight]
    stock.in_proj_weight.copy_(torch.cat(packed))
    stock.out_proj.weight.copy_(module.out_proj.weight)
    return stock(queries, states, states, key_padding_mask=~real, average_attn_weights=False)[1][0].numpy()


def test_it_is_what_torch_computes(exported):
    net, preset, artefact = exported
    for history, length in histories(preset.window):
        encoded, weights = heard(net.eval(), history, length)
        found = attention_of(artefact, history, length)
        assert found.encoded == pytest.approx(encoded, abs=2e-5)
        for layer, theirs in enumerate(weights):
            asked = length if layer < preset.layers - 1 else 1  # what padding asks, nobody hears
            ours = found.weights[layer, :, -asked:, :]
            assert ours == pytest.approx(theirs[:, -asked:], abs=2e-5)
            told = attention(net, history[None], np.array([length]))[0, layer, :, -asked:]
            assert told == pytest.approx(theirs[:, -asked:], abs=1e-5)


def test_shares_are_shares_and_padding_gets_none(exported):
    _, preset, artefact = exported
    for history, length in histories(preset.window, seed=1):
        newest = attention_of(artefact, history, length).newest
        assert newest.shape == (preset.layers, preset.heads, preset.window)
        assert newest.sum(axis=-1) == pytest.approx(np.ones((preset.layers, preset.heads)))
        assert not newest[:, :, : preset.window - length].any()


def test_positions_are_those_of_the_net():
    for window, width in ((20, 64), (40, 128), (10, 32)):
        assert positions_of(window, width) == pytest.approx(sinusoidal(window, width).numpy(), abs=1e-6)


def test_who_does_not_attend_says_so(tmp_path):
    base = read_artefact(starters_folder() / "base")
    with pytest.raises(ArtefactError, match="only a transformer attends"):
        attention_of(base, np.zeros((3, 18), dtype=np.float32), 1)
    bare = replace(read_artefact(starters_folder() / "transformer"), weights=None)
    with pytest.raises(ArtefactError, match="imported without weights"):
        attention_of(bare, np.zeros((10, 18), dtype=np.float32), 1)


@pytest.mark.parametrize("spoil", ["name", "shape"])
def test_weights_that_are_not_the_presets_say_so(tmp_path, net_of, spoil):
    """Serving never reads them, so such a model can be registered and serve."""
    preset = preset_of("transformer", "fast")
    facts = read_artefact(starters_folder() / "transformer").trained
    artefact = export(net_of("transformer", "fast"), preset, "transformer", MARKET_V1, facts, tmp_path / "m")
    weights = safetensors.numpy.load(artefact.weights)
    name = "temporal_encoder.layers.0.attention.key_proj.weight"
    array = weights.pop(name)
    weights[f"{name}x" if spoil == "name" else name] = array if spoil == "name" else array[:-1]
    odd = replace(artefact, weights=safetensors.numpy.save(weights))
    with pytest.raises(ArtefactError, match="key_proj"):
        attention_of(odd, np.zeros((preset.window, MARKET_V1.width), dtype=np.float32), 1)


def test_occlusion_by_hand():
    arm = load(read_artefact(starters_folder() / "transformer"), MARKET_V1)
    for history, length in histories(arm.window, seed=2):
        lost = occlusion(arm, history, length)
        probs = arm.act(history[None], np.array([length])).probs[0]
        chosen = int(probs.argmax())
        assert not lost[: arm.window - length].any()
        for tick in range(arm.window - length, arm.window):
            changed = history.copy()
            changed[tick] = 0.0
            without = arm.act(changed[None], np.array([length])).probs[0][chosen]
            assert lost[tick] == pytest.approx(probs[chosen] - without, abs=1e-5)


def test_the_model_that_ships_looks_at_the_spike_that_it_needs():
    """In its world the spike before the cue says which way, and of two ways one needs no look: this model
    reads the spike where it buys, which is at the spikes downwards, and sells where it has read none.
    """
    artefact = read_artefact(starters_folder() / "transformer")
    arm = load(artefact, MARKET_V1)
    read, lost = {BUY: [], SELL: []}, {BUY: [], SELL: []}
    for history, spot in cues(arm.window, markets=40):
        chosen = int(arm.act(history[None], np.array([arm.window])).probs[0].argmax())
        weights = attention_of(artefact, history, arm.window).newest.mean(axis=1)
        read[chosen].append(weights[:, spot].max())
        lost[chosen].append(occlusion(arm, history, arm.window)[spot])
    said = {action: (len(read[action]), np.median(read[action]), np.median(lost[action])) for action in read}
    print(f"action: (cues, share read of the spike, probability lost without it): {said}")
    assert min(len(found) for found in read.values()) >= 20
    assert np.median(read[BUY]) >= 3 / arm.window
    assert np.median(lost[BUY]) >= 0.3
    assert np.median(read[SELL]) < 1 / arm.window
    assert np.median(np.abs(lost[SELL])) < 0.05


def cues(window, markets):
    """(history up to a cue, place of the one spike in it)."""
    for market in range(markets):
        states = tape_of(DECOY_FAST, 700_000 + market).features
        spiked = np.flatnonzero(np.abs(states[:, SPIKED[0]]) > 0.7)
        for cue in np.flatnonzero((states[:, CUED] > 0.7).all(axis=1)).tolist():
            first = cue + 1 - window
            inside = spiked[(spiked >= first) & (spiked < cue)]
            if first >= 0 and len(inside) == 1:
                yield np.ascontiguousarray(states[first : cue + 1]), int(inside[0]) - first
