"""The weights in an artefact, held against the net that wants them: what does not fit is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from arms.artefact import WEIGHTS, Artefact
from arms.errors import ArtefactError
from arms.foreign_file import checked_tensors
from arms.foreign_weights import FOREIGN, actor_of, shapes_of
from arms.presets import Preset, preset_of

Shapes = Mapping[str, tuple[int, ...]]
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Deciding:
    """What a net needs to answer as the model does: its sizes, and its weights under the names of
    `arms.torch_nets`."""

    preset: Preset
    features: int
    weights: Weights


def deciding(artefact: Artefact, features: int) -> Deciding:
    """The weights that decide, of a model trained here or of LACUNA's; raises ArtefactError where there are
    none."""
    if artefact.weights is None:
        raise ArtefactError(
            f"model {artefact.id} was imported as ONNX and has no weights for another framework: export it "
            f"with --to onnx, or export from where it was trained"
        )
    if is_foreign(artefact):
        tensors = checked_tensors(artefact.weights, f"{WEIGHTS} of {artefact.id}", shapes_of(features))
        actor = actor_of(tensors)
        return Deciding(FOREIGN, features, actor | silent_critic(actor))
    preset = preset_of(artefact.kind, artefact.preset)
    return Deciding(preset, features, _loaded(artefact, artefact.weights))


def silent_critic(actor: Weights) -> Weights:
    """A critic that always says 0, as the served graph of a model without one does."""
    return {
        name.replace("actor.", "critic."): np.zeros_like(tensor[:1] if ".fc3." in name else tensor)
        for name, tensor in actor.items()
        if name.startswith("actor.")
    }


def fitting(artefact: Artefact, shapes: Shapes) -> Weights:
    """The weights of a model trained here, for training it further; ArtefactError where they are not those
    of a net of these shapes."""
    if artefact.weights is None:
        raise ArtefactError(f"model {artefact.id} was imported as ONNX and has no weights to train further")
    if is_foreign(artefact):
        raise ArtefactError(
            f"model {artefact.id} holds a LACUNA net, whose critic has an encoder of its own: it cannot be "
            f"trained further here; train a model of arm {artefact.arm} instead"
        )
    weights = _loaded(artefact, artefact.weights)
    check_shapes(artefact, weights, shapes)
    return weights


def check_shapes(artefact: Artefact, weights: Weights, shapes: Shapes) -> None:
    """Refuses weights that are not exactly those of a net; names the first that is not."""
    found = {name: tensor.shape for name, tensor in weights.items()}
    for name in sorted(found.keys() | shapes.keys()):
        if found.get(name) != shapes.get(name):
            raise ArtefactError(
                f"{WEIGHTS} of model {artefact.id} does not fit {artefact.kind}/{artefact.preset}: {name} is "
                f"{_shown(found.get(name))}, not {_shown(shapes.get(name))}; export the model again"
            )


def is_foreign(artefact: Artefact) -> bool:
    """Whether its weights were trained elsewhere: no preset is theirs."""
    return artefact.weights is not None and not artefact.preset


def _loaded(artefact: Artefact, content: bytes) -> Weights:
    try:
        loaded: Weights = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, ValueError) as error:
        raise ArtefactError(
            f"{WEIGHTS} of model {artefact.id} cannot be read: {error}; export the model again"
        ) from error
    return loaded


def _shown(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(list(shape))
