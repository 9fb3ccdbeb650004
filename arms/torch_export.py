"""A trained torch net becomes an artefact, and an artefact a net again."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from arms.artefact import Artefact, Trained
from arms.attention import stacked
from arms.errors import ArtefactError
from arms.exporting import Facts, exported
from arms.own_weights import fitting
from arms.presets import Preset
from arms.schema import StateSchema
from arms.torch_nets import DecisionNet, TransformerTemporalEncoder


def export(
    net: DecisionNet, preset: Preset, arm: str, schema: StateSchema, trained: Trained, folder: Path
) -> Artefact:
    """See `arms.exporting.exported`."""
    facts = Facts(preset, arm, schema, trained)
    return exported(weights_of(net), lambda h, n: answers(net, h, n), facts, folder)


def restored(artefact: Artefact, preset: Preset, features: int) -> DecisionNet:
    """The net of an artefact, for further training or as an oracle. ArtefactError: its weights are not those
    of such a net."""
    net = DecisionNet(preset, features)
    tensors = fitting(artefact, {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()})
    net.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return net.eval()


def weights_of(net: DecisionNet) -> dict[str, NDArray[np.float32]]:
    """Named float32 arrays."""
    return {
        name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in net.state_dict().items()
    }


def answers(
    net: DecisionNet, histories: NDArray[np.float32], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """probs float32[n,3] and value float32[n] of the torch module."""
    net.eval()
    with torch.inference_mode():
        logits, value = net(torch.from_numpy(histories), torch.from_numpy(lengths))
        return torch.softmax(logits, dim=-1).numpy(), value.numpy()


def attention(
    net: DecisionNet, histories: NDArray[np.float32], lengths: NDArray[np.int64]
) -> NDArray[np.float32]:
    """float32[n,layers,heads,w,w] of the torch module; see `arms.attention.stacked`. ArtefactError: it is no
    transformer."""
    net.eval()
    if not isinstance(net.temporal_encoder, TransformerTemporalEncoder):
        raise ArtefactError("only a transformer attends: this net is of arm base")
    with torch.inference_mode():
        looked = net.temporal_encoder.attention(torch.from_numpy(histories), torch.from_numpy(lengths))
    return stacked([each.numpy() for each in looked])
