"""A model as files of MLX: named weights, and a function that runs without abctl."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import mlx.core as mx
import numpy as np
import safetensors.numpy
from mlx import nn
from mlx.utils import tree_map

from arms.artefact import Artefact
from arms.exported_folder import ASKED_AT_ONCE, Written, in_parts
from arms.mlx_asked import asked_singly
from arms.mlx_nets import DecisionNet, weights_of, with_weights
from arms.mlx_processes import asked_by
from arms.own_weights import Deciding, check_shapes, deciding
from arms.schema import StateSchema

NAMED: Final = "weights.safetensors"
FUNCTION: Final = "model.mlxfn"
BATCHES: Final = (1, ASKED_AT_ONCE)
"""A function is exported for numbers of histories that are known: for one, and for many."""
MANY_PRODUCTS: Final = 5_000_000
"""Of a history, about; below it one process has asked all before another one has begun."""
MOST_PROCESSES: Final = 8

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
    processes = _processes_for(own)
    file = folder / FUNCTION
    asking = in_parts(asked_singly(str(file))) if processes == 1 else asked_by(file, processes)
    return Written((NAMED, FUNCTION), {FUNCTION: asking})


def _served(net: DecisionNet) -> _Function:
    """history [n,w,f], length [n] -> probs [n,3], value [n], as the served graph answers. The net is laid out
    for it, and is no good for training any more."""
    lay_out(net)
    net.eval()

    def answer(history: mx.array, length: mx.array) -> tuple[mx.array, mx.array]:
        logits, value = net(history, length)
        return mx.softmax(logits, axis=-1), value

    return answer


class Laid(nn.Module):  # type: ignore[misc]
    """A Linear as it is computed fastest without a GPU: one product [rows,in] by [in,out], contiguous both.

    The BLAS in the wheels of MLX for Linux multiplies by a transposed matrix at half the speed, and history
    by history slower still.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.by_input = mx.contiguous(linear.weight.T)
        self.added = linear.bias if "bias" in linear else mx.zeros(linear.weight.shape[0])
        mx.eval(self.by_input, self.added)  # else every answer would lay it out anew

    def __call__(self, x: mx.array) -> mx.array:
        flat = x.reshape(-1, x.shape[-1])
        return (flat @ self.by_input + self.added).reshape(*x.shape[:-1], -1)


def lay_out(net: nn.Module) -> None:
    """Puts a `Laid` in the place of every Linear."""
    laid = tree_map(
        lambda leaf: Laid(leaf) if isinstance(leaf, nn.Linear) else leaf,
        net.leaf_modules(),
        is_leaf=nn.Module.is_module,
    )
    net.update_modules(laid)


def _save_function(served: _Function, own: Deciding, path: Path) -> None:
    with mx.exporter(str(path), served) as traced:
        for rows in BATCHES:
            traced(mx.zeros((rows, own.preset.window, own.features)), mx.ones((rows,), mx.int32))


def _processes_for(own: Deciding) -> int:
    """A GPU is asked by one alone, and so is a small net."""
    products = own.preset.window * sum(weight.size for weight in own.weights.values())
    is_small = products < MANY_PRODUCTS or mx.default_device() != mx.Device(mx.cpu)
    return 1 if is_small else min(os.cpu_count() or 1, MOST_PROCESSES)
