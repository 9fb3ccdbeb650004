"""Weights become an artefact: the graph, and golden answers that the framework itself computed.

The golden answers come from the full module and are checked against ONNX Runtime at every load, so an export
that computes something else never serves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from arms.artefact import Artefact, Config, Trained, write_artefact
from arms.attention import positions_of
from arms.errors import ArtefactError
from arms.golden import golden_inputs, golden_of
from arms.onnx_graph import graph_of
from arms.presets import Preset
from arms.schema import StateSchema

Weights = dict[str, NDArray[np.float32]]
Answers = Callable[[NDArray[np.float32], NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""(histories, lengths) -> probs float32[n,3] and value float32[n]."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is exported, beside its weights."""

    preset: Preset
    arm: str
    schema: StateSchema
    trained: Trained


def exported(weights: Weights, answers: Answers, facts: Facts, folder: Path) -> Artefact:
    """Write the artefact folder. The same weights and facts give the same id."""
    check_finite(weights)
    preset, schema = facts.preset, facts.schema
    histories, lengths = golden_inputs(schema, preset.window)
    probs, value = answers(histories, lengths)
    config = Config(
        arm=facts.arm,
        kind=preset.kind,
        preset=preset.name,
        window=preset.window,
        schema=schema.name,
        schema_hash=schema.hash,
        trained=facts.trained,
    )
    positions = positions_of(preset.window, preset.hidden).astype(np.float32)
    return write_artefact(
        folder,
        config,
        golden_of(histories, lengths, probs, value),
        graph_of(weights, preset, schema.width, positions),
        safetensors.numpy.save(weights),
    )


def check_finite(weights: Weights) -> None:
    """Refuses NaN and infinity."""
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise ArtefactError(
                f"weight {name} holds NaN or infinity: train again with a lower learning rate"
            )
