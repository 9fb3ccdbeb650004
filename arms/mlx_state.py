"""What a checkpoint holds of MLX: nets, Adam's moments and the generator, by name, and back to the bit."""

from collections.abc import Mapping
from typing import Any, cast

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from numpy.typing import NDArray

from arms.checkpoint import State


def state_of(nets: Mapping[str, Mapping[str, NDArray[Any]]], optimizer: optim.Optimizer) -> State:
    """nets: part -> its arrays by name."""
    moments = {name: np.array(array) for name, array in tree_flatten(optimizer.state)}
    named: dict[str, Mapping[str, NDArray[Any]]] = {**nets, "adam": moments}
    state = {f"{part}/{name}": array for part, held in named.items() for name, array in held.items()}
    return {**state, "generator": np.array(cast(Any, mx.random.state)[0])}


def restore(state: State, optimizer: optim.Optimizer) -> None:
    """Optimizer and generator stand where they stood."""
    moments = [(name, mx.array(array)) for name, array in part_of(state, "adam").items()]
    optimizer.state = tree_unflatten(moments)
    high, low = (int(word) for word in state["generator"])
    mx.random.seed(high << 32 | low)  # a seed's two words are the generator's key


def part_of(state: State, part: str) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(f"{part}/"): array for name, array in state.items() if name.startswith(f"{part}/")
    }
