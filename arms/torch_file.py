"""A model as files of torch: a state dict, and a program that runs without abctl.

The program is one of `torch.export`, as TorchScript is deprecated.
"""

from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from arms.artefact import Artefact
from arms.exported_folder import Written, in_parts
from arms.exporting import Answers
from arms.own_weights import Deciding, check_shapes, deciding
from arms.schema import StateSchema
from arms.torch_nets import DecisionNet

STATE_DICT: Final = "model.pt"
PROGRAM: Final = "model.pt2"


class Served(nn.Module):
    """Answers as the served graph does: history [n,w,f], length [n] -> probs [n,3], value [n]."""

    def __init__(self, net: DecisionNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, history: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        logits, value = self.net(history, length)
        return torch.softmax(logits, dim=-1), value


def written(artefact: Artefact, schema: StateSchema, folder: Path) -> Written:
    """Write both files; what each of them answers once it has been read again."""
    torch.set_num_threads(1)  # so little work is not shared out, least of all on a busy machine
    own = deciding(artefact, schema.width)
    net = DecisionNet(own.preset, own.features).eval()
    check_shapes(artefact, own.weights, {name: tuple(t.shape) for name, t in net.state_dict().items()})
    net.load_state_dict({name: torch.from_numpy(tensor.copy()) for name, tensor in own.weights.items()})
    torch.save(net.state_dict(), folder / STATE_DICT)
    _save_program(net, own, folder / PROGRAM)
    again = DecisionNet(own.preset, own.features)
    again.load_state_dict(torch.load(folder / STATE_DICT, weights_only=True))
    answers = {STATE_DICT: _asked(Served(again).eval()), PROGRAM: _asked(_program(folder / PROGRAM))}
    return Written((STATE_DICT, PROGRAM), {name: in_parts(asked) for name, asked in answers.items()})


def _save_program(net: DecisionNet, own: Deciding, path: Path) -> None:
    rows = torch.export.Dim("n", min=1)
    history, length = torch.zeros(2, own.preset.window, own.features), torch.ones(2, dtype=torch.int64)
    program = torch.export.export(
        Served(net).eval(), (history, length), dynamic_shapes={"history": {0: rows}, "length": {0: rows}}
    )
    torch.export.save(program, path)


def _program(path: Path) -> nn.Module:
    return cast(nn.Module, torch.export.load(path).module())


def _asked(module: nn.Module) -> Answers:
    """Asked with NumPy arrays."""

    def answers(
        histories: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            probs, value = module(torch.from_numpy(histories), torch.from_numpy(lengths))
        return probs.numpy(), value.numpy()

    return answers
