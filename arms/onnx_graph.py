"""From named weights to an ONNX graph, node by node: pure numpy, so torch and MLX weights export alike.

Written by hand for one request at a time, where the number of nodes costs more than the arithmetic: masks
are one lookup by length, positions and biases are one addition, and in the last attention layer, where only
the newest state asks, keys and values are never formed. There a score is x Wk Wq' q = x (M q) with M folded
at export, and values are projected after averaging; both are associativity, not approximation. Names follow
`arms.torch_nets`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from arms.presets import BasePreset, Preset, TransformerPreset

OPSET: Final = 20
IR_VERSION: Final = 10
MASKED: Final = -1e9
EPSILON: Final = 1e-5

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(slots=True)
class _Graph:
    """Nodes and constants under construction; every method adds one node and returns its output's name."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, values: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def linear(self, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        """x [n,in] times weight [out,in] plus bias [out]."""
        return self.add("Gemm", x, self.constant(weight.T), self.constant(bias))

    def norm(self, x: str, weights: Weights, prefix: str) -> str:
        scale, bias = weights[f"{prefix}.weight"], weights[f"{prefix}.bias"]
        inputs = (x, self.constant(scale), self.constant(bias))
        return self.add("LayerNormalization", *inputs, axis=-1, epsilon=EPSILON)

    def reshape(self, x: str, *shape: int) -> str:
        return self.add("Reshape", x, self.constant(np.array(shape, dtype=np.int64)))


def graph_of(weights: Weights, preset: Preset, features: int, positions: NDArray[np.float32]) -> bytes:
    """Serialized model: history float32[n,window,F], length int64[n] -> probs float32[n,3], value float32[n].

    positions: float32[window,d] of the transformer; ignored for base. Same inputs give the same bytes.
    """
    g = _Graph()
    both = _newest_and_temporal(g, weights, preset, features, positions)
    _output(g, g.add("Softmax", _head(g, both, weights, "actor"), axis=-1), "probs")
    _output(g, g.reshape(_head(g, both, weights, "critic"), -1), "value")
    return _serialized(g, preset, features)


def actor_graph_of(weights: Weights, preset: BasePreset, features: int) -> bytes:
    """As `graph_of`, of a base net whose critic does not speak in USD, or that has none: its value is 0."""
    g = _Graph()
    both = _newest_and_temporal(g, weights, preset, features, np.empty(0, dtype=np.float32))
    _output(g, g.add("Softmax", _head(g, both, weights, "actor"), axis=-1), "probs")
    none = g.constant(np.zeros(preset.window + 1, dtype=np.float32))
    _output(g, g.add("Gather", none, "length"), "value")
    return _serialized(g, preset, features)


def _newest_and_temporal(
    g: _Graph, weights: Weights, preset: Preset, features: int, positions: NDArray[np.float32]
) -> str:
    """What both heads read: [n, F+output]."""
    newest = g.add(
        "Gather", "history", g.constant(np.array(preset.window - 1, dtype=np.int64)), axis=1
    )  # [n,F]
    if isinstance(preset, BasePreset):
        temporal = _base(g, weights, preset, features)
    else:
        temporal = _transformer(g, weights, preset, positions)
    return g.add("Concat", newest, temporal, axis=1)


def _base(g: _Graph, weights: Weights, preset: BasePreset, features: int) -> str:
    real = real_table(preset.window).astype(np.float32).repeat(features, axis=1)  # [w+1, w*F]
    flat = g.reshape("history", -1, preset.window * features)
    x = g.add("Mul", flat, g.add("Gather", g.constant(real), "length"))
    return _dense(g, _dense(g, x, weights, "temporal_encoder", 1), weights, "temporal_encoder", 2)


def _dense(g: _Graph, x: str, weights: Weights, prefix: str, layer: int) -> str:
    x = g.linear(x, weights[f"{prefix}.fc{layer}.weight"], weights[f"{prefix}.fc{layer}.bias"])
    return g.add("Tanh", g.norm(x, weights, f"{prefix}.ln{layer}"))


def _head(g: _Graph, x: str, weights: Weights, prefix: str) -> str:
    x = _dense(g, _dense(g, x, weights, prefix, 1), weights, prefix, 2)
    return g.linear(x, weights[f"{prefix}.fc3.weight"], weights[f"{prefix}.fc3.bias"])


def _transformer(
    g: _Graph, weights: Weights, preset: TransformerPreset, positions: NDArray[np.float32]
) -> str:
    own = {name.removeprefix("temporal_encoder."): array for name, array in weights.items()}
    offset = g.constant(positions + own["input_proj.bias"])  # [w,d]
    x = g.add("Add", g.add("MatMul", "history", g.constant(own["input_proj.weight"].T)), offset)
    mask = np.where(real_table(preset.window), np.float32(0), np.float32(MASKED))  # [w+1, w]
    if preset.layers > 1:
        wide_mask = g.add("Gather", g.constant(mask[:, None, None, :]), "length")  # [n,1,1,w]
        for layer in range(preset.layers - 1):
            x = _layer(g, x, own, f"layers.{layer}", preset, wide_mask)
    last_mask = g.add("Gather", g.constant(mask[:, None, :]), "length")  # [n,1,w]
    last = _last_layer(g, x, own, f"layers.{preset.layers - 1}", preset, last_mask)
    last = g.norm(last, own, "norm")
    return g.linear(last, own["output_proj.weight"], own["output_proj.bias"])


def _layer(g: _Graph, x: str, own: Weights, prefix: str, preset: TransformerPreset, mask: str) -> str:
    """All positions: [n,w,d] -> [n,w,d]."""
    w, h, d = preset.window, preset.heads, preset.hidden
    scale = np.float32((d // h) ** -0.25)  # half of 1/sqrt(d/h) on each side
    attention = f"{prefix}.attention"
    q = _by_head(g, x, own[f"{attention}.query_proj.weight"] * scale, (w, h, d // h), (0, 2, 1, 3))
    k = _by_head(g, x, own[f"{attention}.key_proj.weight"] * scale, (w, h, d // h), (0, 2, 3, 1))
    v = _by_head(g, x, own[f"{attention}.value_proj.weight"], (w, h, d // h), (0, 2, 1, 3))
    seen = g.add("Softmax", g.add("Add", g.add("MatMul", q, k), mask), axis=-1)
    mixed = g.add("Transpose", g.add("MatMul", seen, v), perm=(0, 2, 1, 3))
    out = g.add("MatMul", g.reshape(mixed, -1, w, d), g.constant(own[f"{attention}.out_proj.weight"].T))
    x = g.norm(g.add("Add", x, out), own, f"{prefix}.ln1")
    return _feed_forward(g, x, own, prefix)


def _by_head(
    g: _Graph, x: str, weight: NDArray[np.float32], shape: tuple[int, int, int], order: tuple[int, ...]
) -> str:
    return g.add("Transpose", g.reshape(g.add("MatMul", x, g.constant(weight.T)), -1, *shape), perm=order)


def _last_layer(g: _Graph, x: str, own: Weights, prefix: str, preset: TransformerPreset, mask: str) -> str:
    """The newest state only: [n,w,d] -> [n,d]."""
    w, h, d = preset.window, preset.heads, preset.hidden
    asking, taking = folded_attention(own, f"{prefix}.attention", h)
    newest = g.add("Gather", x, g.constant(np.array(w - 1, dtype=np.int64)), axis=1)  # [n,d]
    asked = g.reshape(g.add("MatMul", newest, g.constant(asking)), -1, h, d)
    scores = g.add("MatMul", asked, g.add("Transpose", x, perm=(0, 2, 1)))  # [n,h,w]
    seen = g.add("Softmax", g.add("Add", scores, mask), axis=-1)
    mixed = g.reshape(g.add("MatMul", seen, x), -1, h * d)
    out = g.add("MatMul", mixed, g.constant(taking))
    return _feed_forward(g, g.norm(g.add("Add", newest, out), own, f"{prefix}.ln1"), own, prefix)


def _feed_forward(g: _Graph, x: str, own: Weights, prefix: str) -> str:
    wide = g.add("MatMul", x, g.constant(own[f"{prefix}.linear1.weight"].T))
    wide = g.add("Gelu", g.add("Add", wide, g.constant(own[f"{prefix}.linear1.bias"])))
    out = g.add("MatMul", wide, g.constant(own[f"{prefix}.linear2.weight"].T))
    out = g.add("Add", out, g.constant(own[f"{prefix}.linear2.bias"]))
    return g.norm(g.add("Add", x, out), own, f"{prefix}.ln2")


def folded_attention(
    own: Weights, prefix: str, heads: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """asking [d, h*d]: newest state -> what each head scores states against. taking [h*d, d]: averages ->
    output."""
    q, k, v, o = (
        own[f"{prefix}.{name}_proj.weight"].astype(np.float64) for name in ("query", "key", "value", "out")
    )
    size = len(q) // heads
    heads_of = [slice(i * size, (i + 1) * size) for i in range(heads)]
    asking = np.concatenate([q[s].T @ k[s] / np.sqrt(size) for s in heads_of], axis=1)
    taking = np.concatenate([v[s].T @ o[:, s].T for s in heads_of], axis=0)
    return asking.astype(np.float32), taking.astype(np.float32)


def real_table(window: int) -> NDArray[np.bool_]:
    """bool[window+1, window]: row `length` marks the last `length` positions."""
    return np.arange(window)[None, :] >= window - np.arange(window + 1)[:, None]


def _output(g: _Graph, produced: str, name: str) -> None:
    node = g.nodes[-1]
    if node.output[0] != produced:
        raise AssertionError("only the newest node can be named an output")
    node.output[0] = name


def _serialized(g: _Graph, preset: Preset, features: int) -> bytes:
    graph = helper.make_graph(
        g.nodes,
        f"{preset.kind}-{preset.name}",
        [
            helper.make_tensor_value_info("history", TensorProto.FLOAT, ["n", preset.window, features]),
            helper.make_tensor_value_info("length", TensorProto.INT64, ["n"]),
        ],
        [
            helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, ["n"]),
        ],
        g.constants,
    )
    model = helper.make_model(
        graph, producer_name="abctl", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
