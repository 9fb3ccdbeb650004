"""Latency, size and parameters of every preset, served as in production: one thread, ONNX Runtime.

    python bench/arm_latency.py       a Markdown table (the one in docs/arms.md)

`request` is what one decision costs: the window built from a list of rows, and the arm's answer.
"""

import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from arms.artefact import Trained
from arms.onnx_runtime import load, window_of
from arms.presets import PRESETS, Preset
from arms.schema import MARKET_V1
from arms.torch_export import export
from arms.torch_nets import DecisionNet

WARM_UP, CALLS = 300, 3_000
HEADER = (
    "| arm | preset | window | parameters | folder KB | request p50 us | p99 us "
    "| batch 32 p50 us | p99 us | torch p50 us |"
)


def main() -> None:
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    print(f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}\n")
    print(HEADER)
    print("|" + "---|" * (HEADER.count("|") - 1))
    with tempfile.TemporaryDirectory() as folder:
        for preset in PRESETS.values():
            print(row(preset, Path(folder) / f"{preset.kind}-{preset.name}"), flush=True)


def row(preset: Preset, folder: Path) -> str:
    torch.manual_seed(0)
    net = DecisionNet(preset, MARKET_V1.width).eval()
    arm = load(export(net, preset, preset.kind, MARKET_V1, Trained(), folder), MARKET_V1)
    history = np.random.default_rng(0).uniform(0, 1, (64, MARKET_V1.width)).astype(np.float32)
    rows, many = history.tolist(), np.repeat(window_of(history, preset.window)[0], 32, axis=0)
    lengths = np.full(32, preset.window)
    one, length = torch.from_numpy(many[:1]), torch.from_numpy(lengths[:1])
    with torch.inference_mode():
        in_torch = microseconds(lambda: net(one, length))
    cells = [
        preset.kind,
        preset.name,
        str(preset.window),
        f"{sum(p.numel() for p in net.parameters()):,}",
        f"{sum(file.stat().st_size for file in folder.iterdir()) / 1024:,.0f}",
        *microseconds(lambda: arm.act(*window_of(rows, preset.window))),
        *microseconds(lambda: arm.act(many, lengths)),
        in_torch[0],
    ]
    return "| " + " | ".join(cells) + " |"


def microseconds(call: Callable[[], object]) -> tuple[str, str]:
    """p50 and p99 of one call."""
    took = []
    for _ in range(WARM_UP):
        call()
    for _ in range(CALLS):
        began = time.perf_counter_ns()
        call()
        took.append(time.perf_counter_ns() - began)
    p50, p99 = np.percentile(took, [50, 99]) / 1_000
    return f"{p50:.0f}", f"{p99:.0f}"


if __name__ == "__main__":
    main()
