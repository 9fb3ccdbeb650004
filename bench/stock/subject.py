"""One preset three times with the same weights: as we serve it, in torch's modules, and those exported."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from arms.artefact import Trained
from arms.onnx_runtime import ImportedArm, OnnxArm, load, session_of
from arms.presets import Preset
from arms.schema import MARKET_V1
from arms.torch_export import export
from arms.torch_nets import DecisionNet
from stock.duel import Call, Pace, Times, duel
from stock.nets import AGREE, StockNet, exported, same

Arm = OnnxArm | ImportedArm
Floats, Ints = NDArray[np.float32], NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Subject:
    """One preset as we serve it, and the same net out of torch's own modules: eager, and exported."""

    preset: Preset
    parameters: int
    folder: Path
    arm: Arm
    own_session: ort.InferenceSession
    stock: StockNet
    stock_session: ort.InferenceSession


def subject_of(preset: Preset, folder: Path) -> Subject:
    """Untrained; the same seed gives the same weights. Fails where stock and ours do not answer alike."""
    torch.manual_seed(0)
    net = DecisionNet(preset, MARKET_V1.width).eval()
    stock = same(net, preset).eval()
    own = folder / f"{preset.kind}-{preset.name}"
    artefact = export(net, preset, preset.kind, MARKET_V1, Trained(), own)
    onnx = exported(stock, preset, folder / f"{own.name}.onnx").read_bytes()
    subject = Subject(
        preset,
        sum(parameter.numel() for parameter in net.parameters()),
        own,
        load(artefact, MARKET_V1),
        session_of(artefact.onnx, "ours"),
        stock,
        session_of(onnx, "stock"),
    )
    apart = apart_by(subject)
    if not apart <= AGREE:
        raise SystemExit(f"{own.name}: stock answers differ from ours by {apart:g}: nothing to compare")
    return subject


def apart_by(subject: Subject) -> float:
    """The largest difference of any answer to histories of all lengths, ours to both stock nets."""
    histories, _ = histories_of(subject.preset, 64)
    lengths = np.arange(64, dtype=np.int64) % subject.preset.window + 1
    ours = subject.arm.act(histories, lengths)
    probs, value = subject.stock_session.run(None, {"history": histories, "length": lengths})
    logits, eager_value = eager(subject.stock, histories, lengths)
    pairs = (
        (ours.probs, probs),
        (ours.value, value),
        (ours.probs, torch.softmax(logits, dim=-1).numpy()),
        (ours.value, eager_value.numpy()),
    )
    return max(float(np.abs(mine - theirs).max()) for mine, theirs in pairs)


def eager(net: StockNet, histories: Floats, lengths: Ints) -> tuple[torch.Tensor, torch.Tensor]:
    """torch's answer, its fused kernels for inference on."""
    with torch.inference_mode():
        answer: tuple[torch.Tensor, torch.Tensor] = net(
            torch.from_numpy(histories), torch.from_numpy(lengths)
        )
    return answer


def histories_of(preset: Preset, rows: int) -> tuple[Floats, Ints]:
    """Full windows."""
    shape = (rows, preset.window, MARKET_V1.width)
    drawn = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    return drawn, np.full(rows, preset.window, dtype=np.int64)


def raced(subject: Subject, rows: int, pace: Pace) -> Times:
    """Our arm as the service calls it, its graph alone, and both stock nets."""
    histories, lengths = histories_of(subject.preset, rows)
    inputs = {"history": histories, "length": lengths}
    calls: dict[str, Call] = {
        "abctl": lambda: subject.arm.act(histories, lengths),
        "graph": lambda: subject.own_session.run(("probs", "value"), inputs),
        "export": lambda: subject.stock_session.run(("probs", "value"), inputs),
        "eager": lambda: eager(subject.stock, histories, lengths),
    }
    return duel(calls, pace)
