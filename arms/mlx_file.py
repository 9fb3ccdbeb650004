"""A model as files of MLX: named weights, and a function that runs without abctl."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import mlx.core as mx
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from arms.artefact import Artefact
from arms.exported_folder import ASKED_AT_ONCE, Written
from arms.exporting import Answers
from arms.mlx_nets import DecisionNet, weights_of, with_weights
from arms.own_weights import Deciding, check_shapes, deciding
from arms.schema import StateSchema

NAMED: Final = "weights.safetensors"
FUNCTION: Final = "model.mlxfn"
BATCHES: Final = (1, ASKED_AT_ONCE)
"""A function is exported for numbers of histories that are known: for one, and for many."""

_Function = Callable[[mx.array, mx.array], tuple[mx.array, mx.array]]


def written(artefact: Artefact, schema: StateSchema, folder: Path) -> Written:
    """Write both files; what the function answers once it has been read again. It is made from the weights as
    they were read from their file, so it speaks for both; without a GPU to ask twice would take minutes."""
    own = deciding(artefact, schema.width)
    net = DecisionNet(own.preset, own.features)
    check_shapes(artefact, own.weights, {name: weight.shape for name, weight in weights_of(net).items()})
    (folder / NAMED).write_bytes(safetensors.numpy.save(own.weights))
    named = cast("dict[str, mx.array]", mx.load(str(folder / NAMED)))
    served = _served(with_weights(net, {name: np.array(weight) for name, weight in named.items()}))
    _save_function(served, own, folder / FUNCTION)
    function = cast("_Function", mx.import_function(str(folder / FUNCTION)))
    return Written((NAMED, FUNCTION), {FUNCTION: _asked_singly(function)})


def _served(net: DecisionNet) -> _Function:
    """history [n,w,f], length [n] -> probs [n,3], value [n], as the served graph answers."""
    net.eval()

    def answer(history: mx.array, length: mx.array) -> tuple[mx.array, mx.array]:
        logits, value = net(history, length)
        return mx.softmax(logits, axis=-1), value

    return answer


def _save_function(served: _Function, own: Deciding, path: Path) -> None:
    with mx.exporter(str(path), served) as traced:
        for rows in BATCHES:
            traced(mx.zeros((rows, own.preset.window, own.features)), mx.ones((rows,), mx.int32))


def _asked(function: _Function) -> Answers:
    """Asked with NumPy arrays."""

    def answers(
        histories: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        probs, value = function(mx.array(histories), mx.array(lengths.astype(np.int32)))
        return np.array(probs), np.array(value)

    return answers


def _asked_singly(function: _Function) -> Answers:
    """The first history alone, then all at once: a function holds two graphs, and both are tried."""
    asked = _asked(function)

    def answers(
        histories: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        probs, value = asked(histories, lengths)
        probs[:1], value[:1] = asked(histories[:1], lengths[:1])
        return probs, value

    return answers
