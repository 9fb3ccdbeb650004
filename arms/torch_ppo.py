"""PPO in torch: fixed seeds, one thread."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arms.artefact import Artefact
from arms.checkpoint import State
from arms.environment import Answer, Environment
from arms.epochs import UNWATCHED, Fitted, Watch
from arms.errors import EpisodeError
from arms.ppo import Clipping, PpoBatch, PpoConfig, Step, improve, trained_of
from arms.presets import Preset
from arms.torch_export import restored
from arms.torch_nets import DecisionNet, Head
from arms.torch_state import part_of, restore, state_of
from arms.torch_training import policy_of
from arms.training import Evaluate, Policy


@dataclass(frozen=True, slots=True)
class Told:
    """A batch's columns as tensors, [n] each; see `arms.ppo.PpoBatch`."""

    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor
    old_value: Tensor


def train(
    environment: Environment,
    preset: Preset,
    config: PpoConfig,
    evaluate: Evaluate,
    watch: Watch = UNWATCHED,
    start: Artefact | None = None,
) -> Fitted[DecisionNet]:
    """See `arms.ppo.improve`. start: whose weights to begin with. The same seed, start, environment, machine
    and torch version: the same weights."""
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
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
    """arms.ppo.PpoLearner in torch. The net's critic is in USD before and after, in reward units between."""

    def __init__(self, net: DecisionNet, window: int, config: PpoConfig, sharpness: float = 1.0) -> None:
        self._config, self._window, self._sharpness = config, window, sharpness
        self._net = net.eval()
        rescale(self._net.critic, 1 / config.reward_scale_usd)
        self._optimizer = torch.optim.Adam(self._net.parameters(), lr=config.learning_rate)
        # The critic's errors steer nobody else; in one norm a settlement would drown the actor's gradient.
        critic = list(self._net.critic.parameters())
        decides = [*self._net.temporal_encoder.parameters(), *self._net.actor.parameters()]
        self._parts = (critic, decides)
        self._best = copy.deepcopy(self._net.state_dict())

    def answer(self) -> Answer:
        return self._answer

    def _answer(
        self, histories: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            logits, value = self._net(torch.from_numpy(histories), torch.from_numpy(lengths))
            return torch.log_softmax(logits, dim=-1).numpy(), value.numpy()

    def step(self, batch: PpoBatch, clipping: Clipping, rate: float) -> Step:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        logits, value = self._net(torch.from_numpy(batch.history), torch.from_numpy(batch.length))
        loss, kl, entropy = loss_of(logits, value, told_of(batch), clipping)
        taken = math.isfinite(loss.item()) and kl.item() <= self._config.target_kl
        if taken:
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for part in self._parts:
                torch.nn.utils.clip_grad_norm_(part, self._config.gradient_norm)
            self._optimizer.step()
        return Step(loss.item(), kl.item(), entropy.item(), taken)

    def policy(self) -> Policy:
        return policy_of(self._net, self._window)

    def keep(self) -> None:
        self._best = copy.deepcopy(self._net.state_dict())

    def state(self) -> State:
        return state_of({"net": self._net.state_dict(), "best": self._best}, self._optimizer)

    def restore(self, state: State) -> None:
        self._net.load_state_dict(part_of(state, "net"))
        self._best = part_of(state, "best")
        restore(state, self._optimizer)

    def finished(self) -> DecisionNet:
        """The best net, its critic back in USD and its odds as sharp as the start's were."""
        self._net.load_state_dict(self._best)
        rescale(self._net.critic, self._config.reward_scale_usd)
        rescale(self._net.actor, 1 / self._sharpness)
        return self._net.eval()


def told_of(batch: PpoBatch) -> Told:
    columns = (batch.action, batch.log_prob, batch.advantage, batch.target, batch.old_value)
    return Told(*(torch.from_numpy(column) for column in columns))


def loss_of(logits: Tensor, value: Tensor, told: Told, clipping: Clipping) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, KL, entropy), means over [n]: the clipped surrogate (Schulman et al. 2017, eq. 7 and 9), the
    critic's squared error, the entropy.

    KL is estimated by the mean of (ratio - 1) - log ratio, which is never negative and unbiased.
    """
    log_probs = torch.log_softmax(logits, dim=-1)
    log_ratio = log_probs.gather(1, told.action[:, None])[:, 0] - told.log_prob
    ratio = log_ratio.exp()
    kept = ratio.clamp(1 - clipping.ratio, 1 + clipping.ratio)
    surrogate = torch.minimum(ratio * told.advantage, kept * told.advantage).mean()
    if clipping.value is not None:
        value = told.old_value + (value - told.old_value).clamp(-clipping.value, clipping.value)
    missed = ((value - told.target) ** 2).mean()
    entropy = -(log_probs.exp() * log_probs).sum(dim=1).mean()
    loss = clipping.value_weight * missed
    if clipping.policy_weight or clipping.entropy_weight:  # else nothing goes back through the encoder
        loss = loss - clipping.policy_weight * surrogate - clipping.entropy_weight * entropy
    return loss, ((ratio - 1) - log_ratio).mean(), entropy


def rescale(head: Head, factor: float) -> None:
    """Multiplies what a head says."""
    with torch.no_grad():
        head.fc3.weight.mul_(factor)
        head.fc3.bias.mul_(factor)
