"""PPO in MLX: the same loop, loss and schedule as in torch (`arms.ppo`)."""

import math
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx.nn.utils import value_and_grad
from numpy.typing import NDArray

from arms.artefact import Artefact
from arms.checkpoint import State
from arms.environment import Answer, Environment
from arms.epochs import UNWATCHED, Fitted, Watch
from arms.errors import EpisodeError
from arms.mlx_export import restored
from arms.mlx_nets import DecisionNet, Head, weights_of, with_weights
from arms.mlx_state import part_of, restore, state_of
from arms.mlx_training import policy_of
from arms.ppo import Clipping, PpoBatch, PpoConfig, Step, improve, trained_of
from arms.presets import Preset
from arms.training import Evaluate, Policy


@dataclass(frozen=True, slots=True)
class Told:
    """A batch's columns as arrays, [n] each; see `arms.ppo.PpoBatch`."""

    action: mx.array
    log_prob: mx.array
    advantage: mx.array
    target: mx.array
    old_value: mx.array


def train(
    environment: Environment,
    preset: Preset,
    config: PpoConfig,
    evaluate: Evaluate,
    watch: Watch = UNWATCHED,
    start: Artefact | None = None,
) -> Fitted[DecisionNet]:
    """See `arms.ppo.improve`. start: whose weights to begin with, whichever framework made them. The same
    seed, start, environment, machine and MLX version: the same weights."""
    mx.random.seed(config.seed)
    window, features = environment.shape
    if window != preset.window:
        raise EpisodeError(f"the environment shows {window} states and {preset.name} reads {preset.window}")
    net = DecisionNet(preset, features)
    if start:
        net = restored(start, preset, features)
        rescale(net.actor, config.start_sharpness)
    learner = Learner(net, preset.window, config, config.start_sharpness if start is not None else 1.0)
    learned = improve(learner, environment, config, evaluate, watch)
    origin = f"ppo from {start.id}" if start else "ppo"
    trained = trained_of(environment, config, learned, origin)
    return Fitted(learner.finished(), trained, learned.epochs)


class Learner:
    """arms.ppo.PpoLearner in MLX. The net's critic is in USD before and after, in reward units between."""

    def __init__(self, net: DecisionNet, window: int, config: PpoConfig, sharpness: float = 1.0) -> None:
        self._config, self._window, self._sharpness = config, window, sharpness
        self._net = net
        self._net.eval()
        rescale(self._net.critic, 1 / config.reward_scale_usd)
        self._optimizer = optim.Adam(learning_rate=config.learning_rate, bias_correction=True)
        self._backward = value_and_grad(self._net, self._loss)
        self._best = weights_of(self._net)

    def answer(self) -> Answer:
        return self._answer

    def _answer(
        self, histories: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits, value = self._net(mx.array(histories), mx.array(lengths))
        log_probs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        mx.eval(log_probs, value)
        return np.array(log_probs), np.array(value)

    def step(self, batch: PpoBatch, clipping: Clipping, rate: float) -> Step:
        self._optimizer.learning_rate = rate
        history, length = mx.array(batch.history), mx.array(batch.length)
        (loss, kl, entropy), gradients = self._backward(history, length, told_of(batch), clipping)
        taken = math.isfinite(loss.item()) and kl.item() <= self._config.target_kl
        if taken:
            self._optimizer.update(self._net, clipped(gradients, self._config.gradient_norm))
            mx.eval(self._net.parameters(), self._optimizer.state)
        return Step(loss.item(), kl.item(), entropy.item(), taken)

    def _loss(self, history: mx.array, length: mx.array, told: Told, clipping: Clipping) -> Any:
        logits, value = self._net(history, length)
        return loss_of(logits, value, told, clipping)

    def policy(self) -> Policy:
        return policy_of(self._net, self._window)

    def keep(self) -> None:
        self._best = weights_of(self._net)

    def state(self) -> State:
        return state_of({"net": weights_of(self._net), "best": self._best}, self._optimizer)

    def restore(self, state: State) -> None:
        with_weights(self._net, part_of(state, "net"))
        self._best = part_of(state, "best")
        restore(state, self._optimizer)

    def finished(self) -> DecisionNet:
        """The best net, its critic back in USD and its odds as sharp as the start's were."""
        net = with_weights(self._net, self._best)
        rescale(net.critic, self._config.reward_scale_usd)
        rescale(net.actor, 1 / self._sharpness)
        net.eval()
        return net


def told_of(batch: PpoBatch) -> Told:
    columns = (batch.action, batch.log_prob, batch.advantage, batch.target, batch.old_value)
    return Told(*(mx.array(column) for column in columns))


def loss_of(
    logits: mx.array, value: mx.array, told: Told, clipping: Clipping
) -> tuple[mx.array, mx.array, mx.array]:
    """(loss, KL, entropy); see `arms.torch_ppo.loss_of`."""
    log_probs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    log_ratio = mx.take_along_axis(log_probs, told.action[:, None], axis=1)[:, 0] - told.log_prob
    ratio = mx.exp(log_ratio)
    kept = mx.clip(ratio, 1 - clipping.ratio, 1 + clipping.ratio)
    surrogate = mx.minimum(ratio * told.advantage, kept * told.advantage).mean()
    if clipping.value is not None:
        value = told.old_value + mx.clip(value - told.old_value, -clipping.value, clipping.value)
    missed = ((value - told.target) ** 2).mean()
    entropy = -(mx.exp(log_probs) * log_probs).sum(axis=1).mean()
    loss = clipping.value_weight * missed
    if clipping.policy_weight or clipping.entropy_weight:
        loss = loss - clipping.policy_weight * surrogate - clipping.entropy_weight * entropy
    return loss, ((ratio - 1) - log_ratio).mean(), entropy


def clipped(gradients: dict[str, Any], norm: float) -> dict[str, Any]:
    """The critic's and all the others, each to the norm; see `arms.torch_ppo.Learner`."""
    decides = {name: part for name, part in gradients.items() if name != "critic"}
    return {
        **optim.clip_grad_norm(decides, norm)[0],
        "critic": optim.clip_grad_norm(gradients["critic"], norm)[0],
    }


def rescale(head: Head, factor: float) -> None:
    """Multiplies what a head says."""
    head.fc3.weight = head.fc3.weight * factor
    head.fc3.bias = head.fc3.bias * factor
