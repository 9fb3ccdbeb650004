"""The nets in MLX, the twin of `arms.torch_nets`: same names, same shapes, same numbers to 1e-5.

On Apple silicon MLX computes on the GPU, elsewhere on the processor. Serving never imports this.
"""

import math

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten
from numpy.typing import NDArray

from arms.attention import positions_of
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

    def __call__(self, history: mx.array, length: mx.array) -> mx.array:
        real = real_states(length, history.shape[1])
        flat = (history * real[:, :, None]).reshape(len(history), -1)
        hidden = mx.tanh(self.ln1(self.fc1(flat)))
        return mx.tanh(self.ln2(self.fc2(hidden)))


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention, no biases: queries [n,q,d] over states [n,w,d]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_proj = nn.Linear(width, width, bias=False)
        self.key_proj = nn.Linear(width, width, bias=False)
        self.value_proj = nn.Linear(width, width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def __call__(self, queries: mx.array, states: mx.array, real: mx.array) -> mx.array:
        weights = self.weights(queries, states, real)
        mixed = (weights @ self._by_head(self.value_proj(states))).swapaxes(1, 2)
        return self.out_proj(mixed.reshape(*queries.shape))

    def weights(self, queries: mx.array, states: mx.array, real: mx.array) -> mx.array:
        """[n,h,q,w]: the share that a query gives to each state; 0 where there is none."""
        q, k = self._by_head(self.query_proj(queries)), self._by_head(self.key_proj(states))
        scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
        return mx.softmax(mx.where(real[:, None, None, :], scores, MASKED), axis=-1)

    def _by_head(self, x: mx.array) -> mx.array:
        n, q, d = x.shape
        return x.reshape(n, q, self.heads, d // self.heads).swapaxes(1, 2)


class TransformerEncoderLayer(nn.Module):
    """Post-norm: attention, add, LayerNorm; feed-forward of 4d with GELU, add, LayerNorm."""

    def __init__(self, preset: TransformerPreset) -> None:
        super().__init__()
        d = preset.hidden
        self.attention = MultiHeadAttention(d, preset.heads)
        self.ln1 = nn.LayerNorm(d)
        self.linear1 = nn.Linear(d, 4 * d)
        self.linear2 = nn.Linear(4 * d, d)
        self.ln2 = nn.LayerNorm(d)
        self.dropout = nn.Dropout(preset.dropout)

    def __call__(self, queries: mx.array, states: mx.array, real: mx.array) -> mx.array:
        x = self.ln1(queries + self.dropout(self.attention(queries, states, real)))
        wide = self.dropout(nn.gelu(self.linear1(x)))  # [n,q,4d]
        return self.ln2(x + self.dropout(self.linear2(wide)))


class TransformerTemporalEncoder(nn.Module):
    """[n,w,f] -> [n,output]: project, add positions, attend, take the last state, project."""

    def __init__(self, preset: TransformerPreset, features: int) -> None:
        super().__init__()
        d = preset.hidden
        self.input_proj = nn.Linear(features, d)
        self._positions = mx.array(positions_of(preset.window, d).astype(np.float32))
        self.layers = [TransformerEncoderLayer(preset) for _ in range(preset.layers)]
        self.norm = nn.LayerNorm(d)
        self.output_proj = nn.Linear(d, preset.output)
        self.dropout = nn.Dropout(preset.dropout)

    def __call__(self, history: mx.array, length: mx.array) -> mx.array:
        real = real_states(length, history.shape[1])
        x = self.dropout(self.input_proj(history) + self._positions)  # [n,w,d]
        for layer in self.layers[:-1]:
            x = layer(x, x, real)
        last = self.layers[-1](x[:, -1:], x, real)[:, 0]  # [n,d]
        return self.output_proj(self.norm(last))

    def attention(self, history: mx.array, length: mx.array) -> list[mx.array]:
        """[n,h,q,w] of each layer: what queries read. All states ask; in the last layer the newest alone."""
        real = real_states(length, history.shape[1])
        x, found = self.input_proj(history) + self._positions, []
        for layer in self.layers:
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

    def __call__(self, x: mx.array) -> mx.array:
        x = mx.tanh(self.ln1(self.fc1(x)))
        x = mx.tanh(self.ln2(self.fc2(x)))
        return self.fc3(x)


class DecisionNet(nn.Module):
    """One encoder feeds both heads: [newest state, temporal features] -> logits [n,3] and value [n], USD.

    The critic describes the actor and does not steer the encoder: its gradient stops at the features.
    """

    def __init__(self, preset: Preset, features: int) -> None:
        super().__init__()
        if isinstance(preset, BasePreset):
            self.temporal_encoder = BaseEncoder(preset, features)
        else:
            self.temporal_encoder = TransformerTemporalEncoder(preset, features)
        self.actor = Head(features + preset.output, preset.hidden, ACTIONS)
        self.critic = Head(features + preset.output, preset.hidden, 1)

    def __call__(self, history: mx.array, length: mx.array) -> tuple[mx.array, mx.array]:
        temporal = self.temporal_encoder(history, length)
        both = mx.concatenate([history[:, -1], temporal], axis=-1)  # [n, f + output]
        return self.actor(both), self.critic(mx.stop_gradient(both))[:, 0]


def real_states(length: mx.array, window: int) -> mx.array:
    """bool[n,w]: which positions hold a state; the last `length` do."""
    return mx.arange(window) >= window - length[:, None]


def weights_of(net: DecisionNet) -> dict[str, NDArray[np.float32]]:
    """Named float32 arrays, as torch names them."""
    return {name: np.array(array, dtype=np.float32) for name, array in tree_flatten(net.parameters())}


def with_weights(net: DecisionNet, weights: dict[str, NDArray[np.float32]]) -> DecisionNet:
    """The net, holding these weights; all of them must be there, and no others."""
    net.load_weights([(name, mx.array(array)) for name, array in weights.items()], strict=True)
    return net
