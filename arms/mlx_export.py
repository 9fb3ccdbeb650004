"""A trained MLX net becomes an artefact, and an artefact a net again."""

from pathlib import Path

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from arms.artefact import Artefact, Trained
from arms.attention import stacked
from arms.errors import ArtefactError
from arms.exporting import Facts, exported
from arms.mlx_nets import DecisionNet, TransformerTemporalEncoder, weights_of, with_weights
from arms.own_weights import fitting
from arms.presets import Preset
from arms.schema import StateSchema


def export(
    net: DecisionNet, preset: Preset, arm: str, schema: StateSchema, trained: Trained, folder: Path
) -> Artefact:
    """See `arms.exporting.exported`."""
    facts = Facts(preset, arm, schema, trained)
    return exported(weights_of(net), lambda h, n: answers(net, h, n), facts, folder)


def restored(artefact: Artefact, preset: Preset, features: int) -> DecisionNet:
    """The net of an artefact, whichever framework made it. ArtefactError: its weights are not those of such a
    net."""
    net = DecisionNet(preset, features)
    shapes = {name: weight.shape for name, weight in weights_of(net).items()}
    net = with_weights(net, fitting(artefact, shapes))
    net.eval()
    return net


def answers(
    net: DecisionNet, histories: NDArray[np.float32], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """probs float32[n,3] and value float32[n] of the MLX module."""
    net.eval()
    logits, value = net(mx.array(histories), mx.array(lengths))
    return np.array(mx.softmax(logits, axis=-1)), np.array(value)


def attention(
    net: DecisionNet, histories: NDArray[np.float32], lengths: NDArray[np.int64]
) -> NDArray[np.float32]:
    """float32[n,layers,heads,w,w] of the MLX module; see `arms.attention.stacked`. ArtefactError: it is no
    transformer."""
    net.eval()
    if not isinstance(net.temporal_encoder, TransformerTemporalEncoder):
        raise ArtefactError("only a transformer attends: this net is of arm base")
    looked = net.temporal_encoder.attention(mx.array(histories), mx.array(lengths))
    return stacked([np.array(each) for each in looked])
