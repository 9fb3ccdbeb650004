"""What a transformer arm looks at: its attention weights, and what each tick is worth to its choice.

The forward pass in plain numpy, from the same named weights that the served graph is made of: for explaining
one decision at leisure, never for serving. Weights say where a layer reads, not what that is worth; so
occlusion stands beside them: the choice without a tick (Serrano, Smith, ACL 2019, on why both).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from scipy.special import erf, softmax

from arms.artefact import Artefact
from arms.errors import ArtefactError
from arms.onnx_graph import EPSILON, MASKED
from arms.presets import TransformerPreset, preset_of
from arms.protocol import Arm

Floats = NDArray[np.float64]
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Attention:
    """Of one history. weights: float64[layers, heads, w, w], the share that a query (3rd axis, a tick) gives
    to each tick (4th); rows sum to 1, ticks before the first real state get 0. The last layer has the newest
    query alone: its other rows are NaN. encoded: float64[output], what both heads are given.
    """

    weights: Floats
    encoded: Floats

    @property
    def newest(self) -> Floats:
        """float64[layers, heads, w]: what the newest tick reads."""
        return np.asarray(self.weights[:, :, -1, :])


def attention_of(artefact: Artefact, history: NDArray[np.float32], length: int) -> Attention:
    """history: float32[window,F], newest last, front-padded; length: how many states are real.

    ArtefactError for a model that has no attention, or whose weights are not in its artefact.
    """
    preset, weights = _opened(artefact)
    own = {n.removeprefix("temporal_encoder."): a.astype(np.float64) for n, a in weights.items()}
    x = history @ own["input_proj.weight"].T + own["input_proj.bias"]
    x = x + positions_of(preset.window, preset.hidden)
    mask = np.where(np.arange(preset.window) >= preset.window - length, 0.0, MASKED)
    looked = np.full((preset.layers, preset.heads, preset.window, preset.window), np.nan)
    for layer in range(preset.layers):
        queries = x[-1:] if layer == preset.layers - 1 else x
        shares, x = _layer(own, f"layers.{layer}", preset.heads, queries, x, mask)
        looked[layer, :, -len(queries) :, :] = shares
    last = _norm(x[-1], own, "norm")
    return Attention(looked, last @ own["output_proj.weight"].T + own["output_proj.bias"])


def _opened(artefact: Artefact) -> tuple[TransformerPreset, Weights]:
    if artefact.kind != "transformer":
        raise ArtefactError(f"model {artefact.id} is of kind {artefact.kind!r}: only a transformer attends")
    if artefact.weights is None:
        raise ArtefactError(f"model {artefact.id} was imported without weights: nobody can look into it")
    preset = preset_of(artefact.kind, artefact.preset)
    assert isinstance(preset, TransformerPreset)  # noqa: S101 - tells the type
    weights = safetensors.numpy.load(artefact.weights)
    _check_shapes(artefact.id, preset, weights)
    return preset, weights


def _check_shapes(model: str, preset: TransformerPreset, weights: Weights) -> None:
    """Serving runs the graph and never reads the weights beside it, so nobody has looked at them yet."""
    d, names = preset.hidden, ["input_proj", "output_proj", "norm"]
    must: dict[str, tuple[int, ...]] = {"output_proj.weight": (preset.output, d)}
    for layer in range(preset.layers):
        own = f"layers.{layer}"
        must |= {f"{own}.attention.{n}_proj.weight": (d, d) for n in ("query", "key", "value", "out")}
        must |= {f"{own}.linear1.weight": (4 * d, d), f"{own}.linear2.weight": (d, 4 * d)}
        names += [f"{own}.{part}" for part in ("ln1", "ln2", "linear1", "linear2")]
    found = {name.removeprefix("temporal_encoder."): array.shape for name, array in weights.items()}
    missing = [n for name in names for n in (f"{name}.weight", f"{name}.bias") if n not in found]
    odd = missing + [name for name, shape in must.items() if found.get(name) != shape]
    if odd:
        raise ArtefactError(
            f"model {model} has weights that are not those of a {preset.kind}/{preset.name} ({odd[0]}): "
            "nobody can look into it"
        )


def _layer(
    own: Mapping[str, Floats], prefix: str, heads: int, queries: Floats, states: Floats, mask: Floats
) -> tuple[Floats, Floats]:
    """Shares [heads, q, w], and the layer's output [q, d]. As `arms.torch_nets`, without dropout."""

    def projected(x: Floats, name: str) -> Floats:
        flat = x @ own[f"{prefix}.attention.{name}_proj.weight"].T
        return np.asarray(flat.reshape(len(x), heads, -1).swapaxes(0, 1))  # [heads, n, d/heads]

    q, k, v = projected(queries, "query"), projected(states, "key"), projected(states, "value")
    shares = softmax(q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1]) + mask, axis=-1)
    mixed = (shares @ v).swapaxes(0, 1).reshape(len(queries), -1)
    x = _norm(queries + mixed @ own[f"{prefix}.attention.out_proj.weight"].T, own, f"{prefix}.ln1")
    wide = x @ own[f"{prefix}.linear1.weight"].T + own[f"{prefix}.linear1.bias"]
    wide = 0.5 * wide * (1.0 + erf(wide / np.sqrt(2.0)))  # GELU
    out = wide @ own[f"{prefix}.linear2.weight"].T + own[f"{prefix}.linear2.bias"]
    return np.asarray(shares), _norm(x + out, own, f"{prefix}.ln2")


def _norm(x: Floats, own: Mapping[str, Floats], name: str) -> Floats:
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    scaled = (x - mean) / np.sqrt(variance + EPSILON)
    return np.asarray(scaled * own[f"{name}.weight"] + own[f"{name}.bias"])


def stacked(looked: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """A net's own weights, float32[n,heads,q,w] of each layer, as `Attention.weights` has them of one
    history: float32[n,layers,heads,w,w], NaN in the rows of queries that a layer does not have."""
    rows, heads, _, window = looked[0].shape
    found = np.full((rows, len(looked), heads, window, window), np.nan, dtype=np.float32)
    for layer, weights in enumerate(looked):
        found[:, layer, :, window - weights.shape[2] :] = weights
    return found


def positions_of(window: int, width: int) -> Floats:
    """[w,d]: sin(pos / 10000^(2i/d)) in even columns and cos in odd ones (Vaswani et al. 2017)."""
    rate = 10_000.0 ** (-np.arange(0, width, 2) / width)
    angle = np.arange(window)[:, None] * rate
    return np.asarray(np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(window, width))


def occlusion(arm: Arm, history: NDArray[np.float32], length: int) -> Floats:
    """float64[w]: how much of its probability the chosen action loses where a tick's state is put to 0.

    0 for ticks that are not there. Below 0 where the tick spoke against the choice. Of any arm.
    """
    window = len(history)
    real = range(window - length, window)
    changed = np.repeat(history[None], length + 1, axis=0)
    for row, tick in enumerate(real):
        changed[row, tick] = 0.0
    probs = arm.act(changed, np.full(length + 1, length, dtype=np.int64)).probs.astype(np.float64)
    chosen = int(probs[-1].argmax())
    lost = np.zeros(window)
    lost[window - length :] = probs[-1, chosen] - probs[:-1, chosen]
    return lost
