"""Makes the models to serve, with torch, before anything is measured: seeded, untrained, preset default.

    python bench/speed/export_models.py FOLDER

For each arm FOLDER/ARM is an artefact for abctl, and FOLDER/ARM.onnx is what `torch.onnx.export` makes of the
same network as a textbook writes it: every layer of the encoder over all positions.
"""

import sys
import warnings
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from arms.artefact import Trained
from arms.presets import Preset, preset_of
from arms.schema import MARKET_V1
from arms.torch_export import export
from arms.torch_nets import DecisionNet, TransformerTemporalEncoder, real_states

ARMS = ("base", "transformer")


class Stock(nn.Module):
    """history [n,w,f], length [n] -> probs [n,3], value [n]; nothing is left out of the last layer."""

    def __init__(self, net: DecisionNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, history: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([history[:, -1], self._temporal(history, length)], dim=-1)
        return torch.softmax(self.net.actor(both), dim=-1), self.net.critic(both)[:, 0]

    def _temporal(self, history: Tensor, length: Tensor) -> Tensor:
        encoder = self.net.temporal_encoder
        if not isinstance(encoder, TransformerTemporalEncoder):
            return cast("Tensor", encoder(history, length))
        real = real_states(length, history.shape[1])
        x = encoder.input_proj(history) + encoder.positions  # [n,w,d]
        for layer in encoder.layers:
            x = layer(x, x, real)
        return cast("Tensor", encoder.output_proj(encoder.norm(x)[:, -1]))


def main(folder: Path) -> None:
    """Both arms."""
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    for arm in ARMS:
        torch.manual_seed(0)
        preset = preset_of(arm, "default")
        net = DecisionNet(preset, MARKET_V1.width).eval()
        export(net, preset, arm, MARKET_V1, Trained(), folder / arm)
        export_stock(net, preset, folder / f"{arm}.onnx")


def export_stock(net: DecisionNet, preset: Preset, path: Path) -> None:
    """As the tutorial of torch has it, with a dynamic batch."""
    stock = Stock(net).eval()
    example = (torch.rand(2, preset.window, MARKET_V1.width), torch.tensor([preset.window, 1]))
    with torch.inference_mode():
        expected = net(*example)
        probs, value = stock(*example)
    torch.testing.assert_close(probs, torch.softmax(expected[0], dim=-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(value, expected[1], atol=1e-5, rtol=1e-5)
    torch.onnx.export(
        stock,
        example,
        path,
        input_names=["history", "length"],
        output_names=["probs", "value"],
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC}),
        external_data=False,
        dynamo=True,
        verbose=False,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
