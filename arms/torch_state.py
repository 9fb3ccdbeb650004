"""What a checkpoint holds of torch: nets, Adam's moments and the generator, by name, and back to the bit."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from arms.checkpoint import State


def state_of(nets: Mapping[str, Mapping[str, Tensor]], optimizer: Optimizer) -> State:
    """nets: part -> its tensors by name. The arrays share the tensors' memory: write them before a step."""
    moments = {f"adam.{number}": held for number, held in optimizer.state_dict()["state"].items()}
    named = {**nets, **moments}
    state = {
        f"{part}/{name}": tensor.numpy() for part, held in named.items() for name, tensor in held.items()
    }
    return {**state, "generator": torch.get_rng_state().numpy()}


def restore(state: State, optimizer: Optimizer) -> None:
    """Optimizer and generator stand where they stood; a weight that had no step yet has no moments."""
    before = optimizer.state_dict()
    numbers = range(len([number for group in before["param_groups"] for number in group["params"]]))
    moments = {number: part_of(state, f"adam.{number}") for number in numbers}
    held = {number: moment for number, moment in moments.items() if moment}
    optimizer.load_state_dict({**before, "state": held})
    torch.set_rng_state(torch.from_numpy(state["generator"]))


def part_of(state: State, part: str) -> dict[str, Tensor]:
    """Tensors of their own: what was read belongs to a buffer."""
    return {
        name.removeprefix(f"{part}/"): torch.from_numpy(array.copy())
        for name, array in state.items()
        if name.startswith(f"{part}/")
    }
