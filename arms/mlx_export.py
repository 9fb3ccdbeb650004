"""A trained MLX net becomes an artefact, and an artefact a net again."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from arms.artefact import Artefact, Trained
from arms.errors import ArtefactError
from arms.exporting import Facts, exported
from arms.mlx_nets import DecisionNet, weights_of, with_weights
from arms.presets import Preset
from arms.schema import StateSchema


def export(
    net: DecisionNet, preset: Preset, arm: str, schema: StateSchema, trained: Trained, folder: Path
) -> Artefact:
    """See `arms.exporting.exported`."""
    facts = Facts(preset, arm, schema, trained)
    return exported(weights_of(net), lambda h, n: answers(net, h, n), facts, folder)


def restored(artefact: Artefact, preset: Preset, features: int) -> DecisionNet:
    """The net of an artefact, whichever framework made it."""
    if artefact.weights is None:
        raise ArtefactError(f"model {artefact.id} was imported as ONNX and has no weights to train further")
    net = with_weights(DecisionNet(preset, features), safetensors.numpy.load(artefact.weights))
    net.eval()
    return net


def answers(
    net: DecisionNet, histories: NDArray[np.float32], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """probs float32[n,3] and value float32[n] of the MLX module."""
    net.eval()
    logits, value = net(mx.array(histories), mx.array(lengths))
    return np.array(mx.softmax(logits, axis=-1)), np.array(value)
