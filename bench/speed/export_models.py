"""Makes the models to serve, with torch, before anything is measured: seeded, untrained, preset default.

    python bench/speed/export_models.py FOLDER

For each arm FOLDER/ARM is an artefact for abctl, and FOLDER/ARM.onnx is what `torch.onnx.export` makes of the
same network, with the same weights, out of torch's own modules (bench/stock/nets.py).
"""

import sys
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stock.nets import exported, same

from arms.artefact import Trained
from arms.presets import Preset, preset_of
from arms.schema import MARKET_V1
from arms.torch_export import export
from arms.torch_nets import DecisionNet

ARMS = ("base", "transformer")


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
    """The floor's model; it must answer as ours does."""
    stock = same(net, preset).eval()
    example = (torch.rand(2, preset.window, MARKET_V1.width), torch.tensor([preset.window, 1]))
    with torch.inference_mode():
        for ours, theirs in zip(net(*example), stock(*example), strict=True):
            torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-4)
    exported(stock, preset, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
