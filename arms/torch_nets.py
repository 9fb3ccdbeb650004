"""The nets in torch, for training and as the parity oracle; serving never imports this.

Attention has four projections without bias, as MLX has them, so that a twin in MLX is a rename. It is written
for training on one thread: one product for queries, keys and values, and none where only the newest state
asks. No fast path changes results between training and evaluation. n = batch, w
= window, f = features, d = model width, h = heads. Histories are front-padded with zeros; `length` says how
many states are real. Position w-1 is always "now", whatever the length.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from arms.presets import BasePreset, Preset, TransformerPreset

ACTIONS = 3
MASKED = -1e9  # not -inf: a row without any real state must stay finite


class BaseEncoder(nn.Module):
    """[n,w,f] -> [n,output]: the window side by side through two layers of Linear, LayerNorm, tanh."""

    def __init__(self, preset: BasePreset, features: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(preset.window * features, preset.hidden)
        self.ln1 = nn.LayerNorm(preset.hidden)
        self.fc2 = nn.Linear(preset.hidden, preset.output)
        self.ln2 = nn.LayerNorm(preset.output)

    def forward(self, history: Tensor, length: Tensor) -> Tensor:
        real = real_states(length, history.shape[1])
        flat = (history * real[:, :, None]).flatten(1)  # [n, w*f]
        hidden = torch.tanh(self.ln1(self.fc1(flat)))
        return torch.tanh(self.ln2(self.fc2(hidden)))


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention, no biases: queries [n,q,d] over states [n,w,d], q = w or 1."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_proj = nn.Linear(width, width, bias=False)
        self.key_proj = nn.Linear(width, width, bias=False)
        self.value_proj = nn.Linear(width, width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(self, queries: Tensor, states: Tensor, real: Tensor) -> Tensor:
        """queries: the states themselves, or the newest of them alone. real: bool[n,w], who may be read."""
        unseen = torch.zeros_like(real, dtype=states.dtype).masked_fill_(~real, MASKED)
        if queries.shape[1] == 1:
            return self._newest(queries[:, 0], states, unseen)[:, None]
        return self._all(states, unseen)

    def weights(self, queries: Tensor, states: Tensor, real: Tensor) -> Tensor:
        """[n,h,q,w]: the share that a query gives to each state; 0 where there is none."""
        q, k = (
            projection(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection, x in ((self.query_proj, queries), (self.key_proj, states))
        )  # [n,h,q,d/h], [n,h,w,d/h]
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return torch.softmax(scores.masked_fill(~real[:, None, None, :], MASKED), dim=-1)

    def _all(self, states: Tensor, unseen: Tensor) -> Tensor:
        """[n,w,d] -> [n,w,d]: one product gives queries, keys and values."""
        n, w, d = states.shape
        packed = torch.cat([self.query_proj.weight, self.key_proj.weight, self.value_proj.weight])
        q, k, v = (states @ packed.T).view(n, w, 3, self.heads, -1).permute(2, 0, 3, 1, 4).contiguous()
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + unseen[:, None, None, :]  # [n,h,w,w]
        mixed = torch.softmax(scores, dim=-1) @ v  # [n,h,w,d/h]
        return cast(Tensor, self.out_proj(mixed.transpose(1, 2).reshape(n, w, d)))

    def _newest(self, newest: Tensor, states: Tensor, unseen: Tensor) -> Tensor:
        """[n,d], [n,w,d] -> [n,d]. Keys and values are never formed: a score is (q Wk) x, and values are
        projected after averaging; both are associativity."""
        n, d = newest.shape
        by_head = (self.heads, d // self.heads, d)
        q = self.query_proj(newest).view(n, self.heads, -1).transpose(0, 1)  # [h,n,d/h]
        asked = (q @ self.key_proj.weight.view(by_head)).transpose(0, 1)  # [n,h,d]
        scores = asked @ states.transpose(1, 2) / math.sqrt(d // self.heads) + unseen[:, None, :]  # [n,h,w]
        mixed = (torch.softmax(scores, dim=-1) @ states).transpose(0, 1)  # [h,n,d]
        values = mixed @ self.value_proj.weight.view(by_head).transpose(1, 2)  # [h,n,d/h]
        return cast(Tensor, self.out_proj(values.transpose(0, 1).reshape(n, d)))


class TransformerEncoderLayer(nn.Module):
    """Post-norm: attention, add, LayerNorm; feed-forward of 4d with GELU, add, LayerNorm. [n,q,d] ->
    [n,q,d]."""

    def __init__(self, preset: TransformerPreset) -> None:
        super().__init__()
        d = preset.hidden
        self.attention = MultiHeadAttention(d, preset.heads)
        self.ln1 = nn.LayerNorm(d)
        self.linear1 = nn.Linear(d, 4 * d)
        self.linear2 = nn.Linear(4 * d, d)
        self.ln2 = nn.LayerNorm(d)
        self.dropout = nn.Dropout(preset.dropout)

    def forward(self, queries: Tensor, states: Tensor, real: Tensor) -> Tensor:
        x = self.ln1(queries + self.dropout(self.attention(queries, states, real)))
        wide = self.dropout(nn.functional.gelu(self.linear1(x)))  # [n,q,4d]
        return cast(Tensor, self.ln2(x + self.dropout(self.linear2(wide))))


class TransformerTemporalEncoder(nn.Module):
    """[n,w,f] -> [n,output]: project, add positions, attend, take the last state, project.

    Only the last state leaves, so the last layer computes only its query.
    """

    positions: Tensor

    def __init__(self, preset: TransformerPreset, features: int) -> None:
        super().__init__()
        d = preset.hidden
        self.input_proj = nn.Linear(features, d)
        self.register_buffer("positions", sinusoidal(preset.window, d), persistent=False)
        self.layers = nn.ModuleList(TransformerEncoderLayer(preset) for _ in range(preset.layers))
        self.norm = nn.LayerNorm(d)
        self.output_proj = nn.Linear(d, preset.output)
        self.dropout = nn.Dropout(preset.dropout)

    def forward(self, history: Tensor, length: Tensor) -> Tensor:
        real = real_states(length, history.shape[1])
        x = self.dropout(self.input_proj(history) + self.positions)  # [n,w,d]
        for layer in self.layers[:-1]:
            x = layer(x, x, real)
        last = self.layers[-1](x[:, -1:], x, real)[:, 0]  # [n,d]
        return cast(Tensor, self.output_proj(self.norm(last)))

    def attention(self, history: Tensor, length: Tensor) -> list[Tensor]:
        """[n,h,q,w] of each layer: what queries read. All states ask; in the last layer the newest alone."""
        real = real_states(length, history.shape[1])
        x, found = self.input_proj(history) + self.positions, list[Tensor]()
        for layer in cast("list[TransformerEncoderLayer]", self.layers):
            queries = x[:, -1:] if layer is self.layers[-1] else x
            found.append(layer.attention.weights(queries, x, real))
            x = layer(queries, x, real)
        return found


class Head(nn.Module):
    """[n,in] -> [n,out]: two layers of Linear, LayerNorm, tanh, then Linear. Actor: out 3; critic: out 1."""

    def __init__(self, width_in: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width_in, hidden)
        self.ln1 = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.ln2 = nn.LayerNorm(hidden)
        self.fc3 = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.ln1(self.fc1(x)))
        x = torch.tanh(self.ln2(self.fc2(x)))
        return cast(Tensor, self.fc3(x))


class DecisionNet(nn.Module):
    """One encoder feeds both heads: [newest state, temporal features] -> logits [n,3] and value [n], USD.

    The critic describes the actor and does not steer the encoder: its gradient stops at the features.
    """

    def __init__(self, preset: Preset, features: int) -> None:
        super().__init__()
        self.temporal_encoder: nn.Module
        if isinstance(preset, BasePreset):
            self.temporal_encoder = BaseEncoder(preset, features)
        else:
            self.temporal_encoder = TransformerTemporalEncoder(preset, features)
        self.actor = Head(features + preset.output, preset.hidden, ACTIONS)
        self.critic = Head(features + preset.output, preset.hidden, 1)

    def forward(self, history: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        temporal = self.temporal_encoder(history, length)
        both = torch.cat([history[:, -1], temporal], dim=-1)  # [n, f + output]
        return self.actor(both), self.critic(both.detach())[:, 0]


def real_states(length: Tensor, window: int) -> Tensor:
    """bool[n,w]: which positions hold a state; the last `length` do."""
    return torch.arange(window, device=length.device) >= window - length[:, None]


def sinusoidal(window: int, width: int) -> Tensor:
    """float32[w,d]: sin(pos / 10000^(2i/d)) in even columns and cos in odd ones (Vaswani et al. 2017)."""
    position = torch.arange(window, dtype=torch.float64)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000.0) / width))
    table = torch.stack([torch.sin(position * rate), torch.cos(position * rate)], dim=-1).flatten(1)
    return table.to(torch.float32)
