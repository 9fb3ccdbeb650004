"""AWR and IQL in MLX: the same lessons, losses and schedule as in torch (`arms.offline`)."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx import nn
from mlx.nn.utils import value_and_grad
from mlx.utils import tree_flatten, tree_map
from numpy.typing import NDArray

from arms.checkpoint import State
from arms.epochs import UNWATCHED, Fitted, Watch
from arms.mlx_nets import (
    ACTIONS,
    BaseEncoder,
    DecisionNet,
    Head,
    TransformerTemporalEncoder,
    weights_of,
    with_weights,
)
from arms.mlx_state import part_of, restore, state_of
from arms.mlx_training import policy_of
from arms.offline import Awr, Extraction, Iql, Material, Method, learned, material_of, trained_of
from arms.presets import BasePreset, Preset, TransformerPreset
from arms.training import Evaluate, Policy, TrainingConfig
from arms.trajectories import Trajectory, Transitions

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


def train(
    trajectories: Sequence[Trajectory],
    preset: Preset,
    config: TrainingConfig,
    method: Method,
    evaluate: Evaluate,
    watch: Watch = UNWATCHED,
) -> Fitted[DecisionNet]:
    """See `arms.offline.learned`. The same seed, data, machine and MLX version: the same weights."""
    mx.random.seed(config.seed)
    material = material_of(trajectories, preset.window, method)
    learner = learner_of(preset, material, config, method)
    epochs, kept = learned(learner, material, config, evaluate, watch)
    trained = trained_of(trajectories, config, method, epochs[kept - 1])
    return Fitted(learner.finished(method.scale_usd), trained, epochs)


def learner_of(
    preset: Preset, material: Material, config: TrainingConfig, method: Method
) -> "AwrLearner | IqlLearner":
    if isinstance(method, Awr):
        return AwrLearner(preset, material, config, method)
    return IqlLearner(preset, material, config, method)


class Critic(nn.Module):
    """See `arms.torch_offline.Critic`."""

    def __init__(self, preset: Preset, features: int, out: int) -> None:
        super().__init__()
        if isinstance(preset, BasePreset):
            self.temporal_encoder = BaseEncoder(preset, features)
        else:
            self.temporal_encoder = TransformerTemporalEncoder(preset, features)
        self.head = Head(features + preset.output, preset.hidden, out)

    def __call__(self, history: mx.array, length: mx.array) -> mx.array:
        return self.head(mx.concatenate([history[:, -1], self.temporal_encoder(history, length)], axis=-1))


class Moved(nn.Module):
    """All that the optimizer moves, so that one backward pass reaches it."""

    def __init__(self, net: DecisionNet, critics: dict[str, Critic]) -> None:
        super().__init__()
        self.net = net
        for name, critic in critics.items():
            setattr(self, name, critic)


class Learning:
    """See `arms.torch_offline.Learning`."""

    def __init__(
        self,
        preset: Preset,
        material: Material,
        config: TrainingConfig,
        learns: dict[str, Critic],
        follows: dict[str, Critic],
    ) -> None:
        features = material.steps.ticks.states.shape[1]
        self._config, self._material, self._window = config, material, preset.window
        self._net = DecisionNet(preset, features)
        self._averaged = with_weights(DecisionNet(preset, features), weights_of(self._net))
        self._critics = {**learns, **follows}
        self._moved = Moved(self._net, learns)
        self._optimizer = optim.Adam(learning_rate=config.learning_rate, bias_correction=True)
        self._backward = value_and_grad(self._moved, self._loss)
        self._best: dict[str, Floats] = {}

    def start_epoch(self) -> None:
        self._net.train()

    def policy(self) -> Policy:
        return policy_of(self._averaged, self._window)

    def keep(self) -> None:
        self._best = weights_of(self._averaged)

    def state(self) -> State:
        nets = {"net": weights_of(self._net), "mean": weights_of(self._averaged), "best": self._best}
        critics = {name: _named(critic) for name, critic in self._critics.items()}
        return state_of({**nets, **critics}, self._optimizer)

    def restore(self, state: State) -> None:
        with_weights(self._net, part_of(state, "net"))
        with_weights(self._averaged, part_of(state, "mean"))
        self._best = part_of(state, "best")
        for name, critic in self._critics.items():
            _load(critic, part_of(state, name))
        restore(state, self._optimizer)

    def finished(self, scale_usd: float) -> DecisionNet:
        """The best epoch's net, its critic turned from scaled units to USD."""
        best = dict(self._best)
        for name in ("critic.fc3.weight", "critic.fc3.bias"):
            best[name] = best[name] * np.float32(scale_usd)
        net = with_weights(self._net, best)
        net.eval()
        return net

    def _loss(self, *told: Any) -> Any:
        """(loss, logits) of the method."""
        raise NotImplementedError

    def _descend(self, rate: float, action: Ints, *told: Any) -> tuple[float, int]:
        self._optimizer.learning_rate = rate
        (loss, logits), gradients = self._backward(*told)
        norm = self._config.gradient_norm
        each = {name: optim.clip_grad_norm(part, norm)[0] for name, part in gradients.items()}
        self._optimizer.update(self._moved, each)
        _follow(self._averaged, self._net, 1 - self._config.averaging)
        mx.eval(self._moved.parameters(), self._averaged.parameters(), self._optimizer.state, loss, logits)
        return float(loss.item()), int((np.array(logits).argmax(axis=1) == action).sum())


class AwrLearner(Learning):
    """arms.epochs.Learner: advantage-weighted regression."""

    def __init__(self, preset: Preset, material: Material, config: TrainingConfig, method: Awr) -> None:
        self._value = critic_of(preset, material, 1)
        self._method = method
        self._returns: Floats = np.zeros(0, dtype=np.float32)
        super().__init__(preset, material, config, {"value": self._value}, {})

    def start_epoch(self) -> None:
        super().start_epoch()
        self._returns = self._material.returns(self._value_of, self._method.horizon)

    def step(self, rows: Ints, rate: float) -> tuple[float, int]:
        batch = self._material.batch(rows)
        earned, worth = mx.array(self._returns[rows]), mx.array(self._material.worth[rows])
        return self._descend(rate, batch.action, seen_of(batch), earned, worth)

    def _loss(self, *told: Any) -> Any:
        (history, length, action), earned, worth = told
        logits, said = self._net(history, length)
        value = self._value(history, length)[:, 0]
        extraction = self._method.extraction
        weight = weights_of_rows(earned - value, extraction.beta_usd / self._method.scale_usd, extraction)
        return awr_loss(value, earned) + actor_loss(logits, action, weight, (said, earned + worth)), logits

    def _value_of(self, histories: Floats, lengths: Ints) -> Floats:
        return np.array(self._value(mx.array(histories), mx.array(lengths))[:, 0])


class IqlLearner(Learning):
    """arms.epochs.Learner: implicit Q-learning, discrete, one Q and its slow target."""

    def __init__(self, preset: Preset, material: Material, config: TrainingConfig, method: Iql) -> None:
        self._method = method
        self._value, self._q = critic_of(preset, material, 1), critic_of(preset, material, ACTIONS)
        self._target = critic_of(preset, material, ACTIONS)
        _load(self._target, _named(self._q))
        learns = {"value": self._value, "q": self._q}
        super().__init__(preset, material, config, learns, {"target": self._target})

    def step(self, rows: Ints, rate: float) -> tuple[float, int]:
        batch, method = self._material.batch(rows), self._method
        history, length, action = seen_of(batch)
        ahead = self._value(mx.array(batch.following), mx.array(batch.following_length))[:, 0]
        rewards = mx.array(self._material.rewards[rows].astype(np.float32))
        aim = rewards + method.horizon.gamma * mx.array(batch.goes_on) * ahead
        steady = chosen(self._target(history, length), action)
        worth = mx.array(self._material.worth[rows])
        mx.eval(aim, steady)
        found = self._descend(rate, batch.action, (history, length, action), (steady, aim), worth)
        _follow(self._target, self._q, method.polyak)
        mx.eval(self._target.parameters())
        return found

    def _loss(self, *told: Any) -> Any:
        seen, (steady, aim), worth = told
        history, length, action = seen
        logits, said = self._net(history, length)
        value, q = self._value(history, length)[:, 0], chosen(self._q(history, length), action)
        extraction = self._method.extraction
        weight = weights_of_rows(steady - value, extraction.beta_usd / self._method.scale_usd, extraction)
        meant = mx.stop_gradient(value) + worth
        loss = iql_loss(value, q, (steady, aim), self._method.expectile)
        return loss + actor_loss(logits, action, weight, (said, meant)), logits


def critic_of(preset: Preset, material: Material, out: int) -> Critic:
    """Without dropout, which would be noise in every target."""
    if isinstance(preset, TransformerPreset):
        preset = replace(preset, dropout=0.0)
    return Critic(preset, material.steps.ticks.states.shape[1], out)


def seen_of(batch: Transitions) -> tuple[mx.array, mx.array, mx.array]:
    """history, length, action."""
    return mx.array(batch.history), mx.array(batch.length), mx.array(batch.action)


def chosen(values: mx.array, action: mx.array) -> mx.array:
    """[n,3], [n] -> [n]: the value of the action that was played."""
    return mx.take_along_axis(values, action[:, None], axis=1)[:, 0]


def weights_of_rows(advantage: mx.array, beta: float, extraction: Extraction) -> mx.array:
    """[n]; see `arms.torch_offline.weights_of_rows`."""
    return mx.exp(mx.minimum(mx.stop_gradient(advantage) / beta, math.log(extraction.weight_cap)))


def actor_loss(
    logits: mx.array, action: mx.array, weight: mx.array, told: tuple[mx.array, mx.array]
) -> mx.array:
    """See `arms.torch_offline.actor_loss`."""
    said, meant = told
    likelihood = chosen(logits - mx.logsumexp(logits, axis=-1, keepdims=True), action)
    return (-weight * likelihood + 0.5 * (said - meant) ** 2).mean()


def awr_loss(value: mx.array, earned: mx.array) -> mx.array:
    """Mean squared error of the value, halved."""
    return 0.5 * ((value - earned) ** 2).mean()


def iql_loss(value: mx.array, q: mx.array, told: tuple[mx.array, mx.array], expectile: float) -> mx.array:
    """See `arms.torch_offline.iql_loss`."""
    steady, aim = told
    return (expectile_loss(steady - value, expectile) + 0.5 * (q - aim) ** 2).mean()


def expectile_loss(gap: mx.array, expectile: float) -> mx.array:
    """|tau - 1(gap < 0)| gap^2 (Newey and Powell 1987)."""
    return mx.where(gap < 0, 1 - expectile, expectile) * gap**2


def _named(module: nn.Module) -> dict[str, NDArray[Any]]:
    return {name: np.array(array) for name, array in tree_flatten(module.parameters())}


def _load(module: nn.Module, weights: dict[str, NDArray[Any]]) -> None:
    module.load_weights([(name, mx.array(array)) for name, array in weights.items()], strict=True)


def _follow(slow: nn.Module, fast: nn.Module, share: float) -> None:
    mean, newest = slow.parameters(), fast.parameters()
    slow.update(tree_map(lambda held, new: held + share * (new - held), mean, newest))
