"""Weights that were trained elsewhere become a base model: LACUNA's net, as MLX and torch name its tensors.

Its actor is our base net of preset `default`, but for one thing: actor and critic have an encoder each. So
the actor's tensors get our names and our graph. The critic is kept and not served: it foretells z-scored
rewards, and the value of an arm is in USD. What must hold for such a model to make sense: docs/arms.md.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from arms.artefact import MAX_FILE_BYTES, Artefact, Config, Trained, check_arm_name, write_artefact
from arms.errors import ArtefactError
from arms.foreign_file import Shapes, Tensors, checked_tensors
from arms.golden import golden_inputs, golden_of
from arms.onnx_graph import EPSILON, actor_graph_of
from arms.presets import BasePreset
from arms.schema import StateSchema

FOREIGN: Final = BasePreset("lacuna", window=5, hidden=64, output=32)
CRITIC_HIDDEN: Final = 96

_Exact = Mapping[str, NDArray[np.float64]]


def import_weights(file: Path, folder: Path, arm: str, schema: StateSchema) -> Artefact:
    """Wrap a safetensors file as an artefact folder, its bytes unchanged; raises ArtefactError.

    The golden answers are computed here in float64, so every load holds the graph against them.
    """
    check_arm_name(arm)
    content = _content_of(file)
    weights = actor_of(checked_tensors(content, file.name, shapes_of(schema.width)))
    histories, lengths = golden_inputs(schema, FOREIGN.window)
    probs = answers(weights, histories)
    config = Config(
        arm=arm, kind=FOREIGN.kind, window=FOREIGN.window, schema=schema.name, schema_hash=schema.hash,
        trained=Trained(origin=file.name),
    )  # fmt: skip
    golden = golden_of(histories, lengths, probs, np.zeros(len(probs), dtype=np.float32))
    return write_artefact(folder, config, golden, actor_graph_of(weights, FOREIGN, schema.width), content)


def shapes_of(features: int) -> Shapes:
    """Name and shape of each of the 36 tensors; matrices are [out,in]."""
    actor = _head_shapes("actor", FOREIGN.hidden, 3, features)
    return actor | _head_shapes("critic", CRITIC_HIDDEN, 1, features)


def actor_of(tensors: Tensors) -> Tensors:
    """The tensors that decide, under the names of `arms.torch_nets`."""
    return {
        name.replace("actor.temporal_encoder.", "temporal_encoder."): tensor
        for name, tensor in tensors.items()
        if name.startswith("actor.")
    }


def answers(weights: Tensors, histories: NDArray[np.float32]) -> NDArray[np.float32]:
    """probs float32[n,3] of float32[n,5,F], oldest state first, zeros before the first real one."""
    exact = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    states = histories.astype(np.float64)
    flat = states.reshape(len(states), -1)  # [n,5*F]
    temporal = _dense(exact, "temporal_encoder", 2, _dense(exact, "temporal_encoder", 1, flat))
    both = np.concatenate([states[:, -1], temporal], axis=1)  # [n,F+32]
    hidden = _dense(exact, "actor", 2, _dense(exact, "actor", 1, both))
    logits = hidden @ exact["actor.fc3.weight"].T + exact["actor.fc3.bias"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs: NDArray[np.float32] = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    return probs


def _dense(exact: _Exact, prefix: str, layer: int, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear, LayerNorm, tanh."""
    x = x @ exact[f"{prefix}.fc{layer}.weight"].T + exact[f"{prefix}.fc{layer}.bias"]
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + EPSILON)
    scale, offset = exact[f"{prefix}.ln{layer}.weight"], exact[f"{prefix}.ln{layer}.bias"]
    out: NDArray[np.float64] = np.tanh(x * scale + offset)
    return out


def _head_shapes(head: str, hidden: int, out: int, features: int) -> Shapes:
    encoder = f"{head}.temporal_encoder"
    return {
        **_dense_shapes(encoder, 1, FOREIGN.window * features, FOREIGN.hidden),
        **_dense_shapes(encoder, 2, FOREIGN.hidden, FOREIGN.output),
        **_dense_shapes(head, 1, features + FOREIGN.output, hidden),
        **_dense_shapes(head, 2, hidden, hidden),
        f"{head}.fc3.weight": (out, hidden),
        f"{head}.fc3.bias": (out,),
    }


def _dense_shapes(prefix: str, layer: int, width_in: int, width: int) -> Shapes:
    return {
        f"{prefix}.fc{layer}.weight": (width, width_in),
        f"{prefix}.fc{layer}.bias": (width,),
        f"{prefix}.ln{layer}.weight": (width,),
        f"{prefix}.ln{layer}.bias": (width,),
    }


def _content_of(file: Path) -> bytes:
    size = file.stat().st_size if file.is_file() else 0
    if not 0 < size <= MAX_FILE_BYTES:
        raise ArtefactError(f"{file} must be a safetensors file of 1 to {MAX_FILE_BYTES:,} bytes")
    return file.read_bytes()
