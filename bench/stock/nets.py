"""The two arms as a textbook builds them: torch's own modules, every position of every layer, no tricks.

They are the reference that our nets are measured against, so they compute the same function: `same` copies
our weights into them, and whoever measures first checks that the answers agree.
"""

import warnings
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from arms.presets import BasePreset, Preset, TransformerPreset
from arms.schema import MARKET_V1
from arms.torch_nets import (
    ACTIONS,
    BaseEncoder,
    DecisionNet,
    Head,
    TransformerTemporalEncoder,
    real_states,
    sinusoidal,
)

AGREE = 1e-4
TWINS = (("linear1", "linear1"), ("linear2", "linear2"), ("ln1", "norm1"), ("ln2", "norm2"))


class StockNet(nn.Module):
    """history [n,w,f], length [n] -> logits [n,3], value [n]."""

    def __init__(self, preset: Preset, features: int) -> None:
        super().__init__()
        self.encoder = (
            _mlp(preset.window * features, preset.hidden, preset.output)
            if isinstance(preset, BasePreset)
            else _Attending(preset, features)
        )
        self.actor = _head(features + preset.output, preset.hidden, ACTIONS)
        self.critic = _head(features + preset.output, preset.hidden, 1)

    def forward(self, history: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        real = real_states(length, history.shape[1])
        if isinstance(self.encoder, _Attending):
            temporal = self.encoder(history, ~real)
        else:
            temporal = self.encoder((history * real[:, :, None]).flatten(1))
        both = torch.cat([history[:, -1], temporal], dim=-1)
        return self.actor(both), self.critic(both.detach())[:, 0]


class _Attending(nn.Module):
    """nn.TransformerEncoder between two projections; the newest position leaves."""

    positions: Tensor

    def __init__(self, preset: TransformerPreset, features: int) -> None:
        super().__init__()
        d = preset.hidden
        self.input_proj = nn.Linear(features, d)
        self.register_buffer("positions", sinusoidal(preset.window, d))
        self.dropout = nn.Dropout(preset.dropout)
        layer = nn.TransformerEncoderLayer(
            d, preset.heads, 4 * d, preset.dropout, activation="gelu", batch_first=True
        )
        # Nested tensors need padding behind, and ours stands in front: torch would warn at every call.
        self.layers = nn.TransformerEncoder(layer, preset.layers, nn.LayerNorm(d), enable_nested_tensor=False)
        self.output_proj = nn.Linear(d, preset.output)

    def forward(self, history: Tensor, padding: Tensor) -> Tensor:
        x = self.dropout(self.input_proj(history) + self.positions)
        return cast("Tensor", self.output_proj(self.layers(x, src_key_padding_mask=padding)[:, -1]))


class Served(nn.Module):
    """What is exported: probs [n,3] and value [n]."""

    def __init__(self, net: StockNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, history: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        logits, value = self.net(history, length)
        return torch.softmax(logits, dim=-1), value


def same(net: DecisionNet, preset: Preset) -> StockNet:
    """A stock net that holds the weights of ours; its attention's biases, which ours lacks, are 0."""
    stock = StockNet(preset, MARKET_V1.width)
    with torch.no_grad():
        if isinstance(stock.encoder, _Attending):
            _copy_attending(stock.encoder, cast("TransformerTemporalEncoder", net.temporal_encoder))
        else:
            _copy_dense(stock.encoder, cast("BaseEncoder", net.temporal_encoder))
        _copy_dense(cast("nn.Sequential", stock.actor), cast("Head", net.actor))
        _copy_dense(cast("nn.Sequential", stock.critic), cast("Head", net.critic))
    return stock


def exported(net: StockNet, preset: Preset, path: Path) -> Path:
    """As torch's tutorial exports it, with a dynamic batch."""
    example = (torch.rand(2, preset.window, MARKET_V1.width), torch.tensor([preset.window, 1]))
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the exporter knows no such operator
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, of torch's future
            torch.onnx.export(
                Served(net).eval(),
                example,
                path,
                input_names=["history", "length"],
                output_names=["probs", "value"],
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC}),
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return path


def _mlp(*widths: int) -> nn.Sequential:
    """Linear, LayerNorm, tanh for each pair of widths."""
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.LayerNorm(outer), nn.Tanh()]
    return nn.Sequential(*layers)


def _head(inner: int, hidden: int, out: int) -> nn.Sequential:
    return _mlp(inner, hidden, hidden).append(nn.Linear(hidden, out))


def _copy_dense(stock: nn.Sequential, own: BaseEncoder | Head) -> None:
    parts = [own.fc1, own.ln1, own.fc2, own.ln2, *([own.fc3] if isinstance(own, Head) else [])]
    places = [module for module in stock if not isinstance(module, nn.Tanh)]
    for place, part in zip(places, parts, strict=True):
        place.load_state_dict(part.state_dict())


def _copy_attending(stock: _Attending, own: TransformerTemporalEncoder) -> None:
    for name in ("input_proj", "output_proj"):
        getattr(stock, name).load_state_dict(getattr(own, name).state_dict())
    cast("nn.LayerNorm", stock.layers.norm).load_state_dict(own.norm.state_dict())
    for place, layer in zip(stock.layers.layers, own.layers, strict=True):
        mine = layer.attention
        place.self_attn.in_proj_weight.copy_(
            torch.cat([mine.query_proj.weight, mine.key_proj.weight, mine.value_proj.weight])
        )
        place.self_attn.in_proj_bias.zero_()
        place.self_attn.out_proj.weight.copy_(mine.out_proj.weight)
        place.self_attn.out_proj.bias.zero_()
        for ours, theirs in TWINS:
            getattr(place, theirs).load_state_dict(getattr(layer, ours).state_dict())
