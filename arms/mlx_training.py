"""Behaviour cloning in MLX: the same lessons, loss and schedule as in torch (`arms.cloning`)."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx.nn.utils import value_and_grad
from mlx.utils import tree_map
from numpy.typing import NDArray

from arms.checkpoint import State
from arms.cloning import Batch, clone, material_of, seen_by, trained_of
from arms.episodes import Episode
from arms.epochs import UNWATCHED, Fitted, Watch
from arms.mlx_nets import DecisionNet, weights_of, with_weights
from arms.mlx_state import part_of, restore, state_of
from arms.presets import Preset
from arms.training import Evaluate, Policy, TrainingConfig, greedy


def train(
    episodes: Sequence[Episode],
    preset: Preset,
    config: TrainingConfig,
    evaluate: Evaluate,
    watch: Watch = UNWATCHED,
) -> Fitted[DecisionNet]:
    """See `arms.cloning.clone`. The same seed, data, machine and MLX version: the same weights."""
    mx.random.seed(config.seed)
    material = material_of(episodes, preset.window)
    learner = _Learner(preset, material.ticks.states.shape[1], config)
    epochs, kept = clone(learner, material, config, evaluate, watch)
    trained = trained_of(episodes, config, epochs[kept - 1])
    return Fitted(learner.finished(material.lessons.scale_usd), trained, epochs)


class _Learner:
    """arms.epochs.Learner in MLX."""

    def __init__(self, preset: Preset, features: int, config: TrainingConfig) -> None:
        self._config = config
        self._window = preset.window
        self._net = DecisionNet(preset, features)
        self._averaged = with_weights(DecisionNet(preset, features), weights_of(self._net))
        self._optimizer = optim.Adam(learning_rate=config.learning_rate, bias_correction=True)
        self._backward = value_and_grad(self._net, self._loss)
        self._best: dict[str, NDArray[np.float32]] = {}

    def start_epoch(self) -> None:
        self._net.train()

    def step(self, batch: Batch, rate: float) -> tuple[float, int]:
        self._optimizer.learning_rate = rate
        history, length = mx.array(batch.history), mx.array(batch.length)
        told = mx.array(batch.gains), mx.array(batch.values), mx.array(batch.weight)
        (loss, logits), gradients = self._backward(history, length, told)
        gradients, _ = optim.clip_grad_norm(gradients, self._config.gradient_norm)
        self._optimizer.update(self._net, gradients)
        self._average()
        mx.eval(self._net.parameters(), self._averaged.parameters(), self._optimizer.state, loss, logits)
        return float(loss.item()), int((np.array(logits).argmax(axis=1) == batch.best).sum())

    def policy(self) -> Policy:
        return policy_of(self._averaged, self._window)

    def keep(self) -> None:
        self._best = weights_of(self._averaged)

    def state(self) -> State:
        nets = {"net": weights_of(self._net), "mean": weights_of(self._averaged), "best": self._best}
        return state_of(nets, self._optimizer)

    def restore(self, state: State) -> None:
        with_weights(self._net, part_of(state, "net"))
        with_weights(self._averaged, part_of(state, "mean"))
        self._best = part_of(state, "best")
        restore(state, self._optimizer)

    def finished(self, scale_usd: float) -> DecisionNet:
        """The best epoch's net, its critic turned from scaled units to USD."""
        for name in ("critic.fc3.weight", "critic.fc3.bias"):
            self._best[name] = self._best[name] * np.float32(scale_usd)
        net = with_weights(self._net, self._best)
        net.eval()
        return net

    def _loss(self, history: mx.array, length: mx.array, told: Any) -> tuple[mx.array, mx.array]:
        gains, values, weight = told
        logits, value = self._net(history, length)
        losses = loss_of(logits, value, gains, values, self._config.sharpness)
        return (losses * weight).mean(), logits

    def _average(self) -> None:
        """Labels are luck for the most part; the running mean of the weights is steadier than any of them."""
        share = 1 - self._config.averaging
        mean, newest = self._averaged.parameters(), self._net.parameters()
        self._averaged.update(tree_map(lambda held, new: held + share * (new - held), mean, newest))


def loss_of(
    logits: mx.array, value: mx.array, gains: mx.array, values: mx.array, sharpness: float
) -> mx.array:
    """[n]; see `arms.torch_training.loss_of`."""
    log_probs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    probs = mx.exp(log_probs)
    regret = (probs * (values.max(axis=1, keepdims=True) - values)).sum(axis=1)
    earned = (mx.stop_gradient(probs) * values).sum(axis=1)
    return -(gains * log_probs).sum(axis=1) + sharpness * regret + 0.5 * (value - earned) ** 2


def policy_of(net: DecisionNet, window: int) -> Policy:
    """The greedy policy of a net; takes histories of any length >= 1 and reads its own window."""

    def act(histories: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        seen, real = seen_by(histories, lengths, window)
        net.eval()
        logits, _ = net(mx.array(seen), mx.array(real))
        return greedy(np.array(logits))

    return act
