"""A trained torch net becomes an artefact: weights, graph, and golden answers computed by torch itself.

The golden answers come from the full module and are checked against ONNX Runtime at every load, so an export
that computes something else never serves.
"""

from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray

from arms.artefact import Artefact, Config, Trained, write_artefact
from arms.errors import ArtefactError
from arms.golden import golden_inputs, golden_of
from arms.onnx_graph import graph_of
from arms.presets import Preset
from arms.schema import StateSchema
from arms.torch_nets import DecisionNet, sinusoidal


def export(
    net: DecisionNet, preset: Preset, arm: str, schema: StateSchema, trained: Trained, folder: Path
) -> Artefact:
    """Write the artefact folder of `arm`. The same weights and facts give the same id."""
    weights = weights_of(net)
    histories, lengths = golden_inputs(schema, preset.window)
    probs, value = answers(net, histories, lengths)
    config = Config(
        arm=arm,
        kind=preset.kind,
        preset=preset.name,
        window=preset.window,
        schema=schema.name,
        schema_hash=schema.hash,
        trained=trained,
    )
    positions = sinusoidal(preset.window, preset.hidden).numpy()
    return write_artefact(
        folder,
        config,
        golden_of(histories, lengths, probs, value),
        graph_of(weights, preset, schema.width, positions),
        safetensors.numpy.save(weights),
    )


def restored(artefact: Artefact, preset: Preset, features: int) -> DecisionNet:
    """The net of an artefact, for further training or as an oracle."""
    if artefact.weights is None:
        raise ArtefactError(f"model {artefact.id} was imported as ONNX and has no weights to train further")
    net = DecisionNet(preset, features)
    tensors = safetensors.numpy.load(artefact.weights)
    net.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return net.eval()


def weights_of(net: DecisionNet) -> dict[str, NDArray[np.float32]]:
    """Named float32 arrays; refuses NaN and infinity."""
    weights = {
        name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in net.state_dict().items()
    }
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise ArtefactError(
                f"weight {name} holds NaN or infinity: train again with a lower learning rate"
            )
    return weights


def answers(
    net: DecisionNet, histories: NDArray[np.float32], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """probs float32[n,3] and value float32[n] of the torch module."""
    net.eval()
    with torch.inference_mode():
        logits, value = net(torch.from_numpy(histories), torch.from_numpy(lengths))
        return torch.softmax(logits, dim=-1).numpy(), value.numpy()
