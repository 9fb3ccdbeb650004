"""Behaviour cloning in torch: fixed seeds, one thread."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from arms.checkpoint import State
from arms.cloning import Batch, clone, material_of, seen_by, trained_of
from arms.episodes import Episode
from arms.epochs import UNWATCHED, Fitted, Watch
from arms.presets import Preset
from arms.torch_nets import DecisionNet
from arms.torch_state import part_of, restore, state_of
from arms.training import Evaluate, Policy, TrainingConfig, greedy


def train(
    episodes: Sequence[Episode],
    preset: Preset,
    config: TrainingConfig,
    evaluate: Evaluate,
    watch: Watch = UNWATCHED,
) -> Fitted[DecisionNet]:
    """See `arms.cloning.clone`. The same seed, data, machine and torch version: the same weights."""
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    material = material_of(episodes, preset.window)
    learner = _Learner(preset, material.ticks.states.shape[1], config)
    epochs, kept = clone(learner, material, config, evaluate, watch)
    trained = trained_of(episodes, config, epochs[kept - 1])
    return Fitted(learner.finished(material.lessons.scale_usd), trained, epochs)


class _Learner:
    """arms.epochs.Learner in torch."""

    def __init__(self, preset: Preset, features: int, config: TrainingConfig) -> None:
        self._config = config
        self._window = preset.window
        self._net = DecisionNet(preset, features)
        self._optimizer = torch.optim.Adam(self._net.parameters(), lr=config.learning_rate, fused=True)
        self._averaged = copy.deepcopy(self._net)
        self._towards = get_ema_multi_avg_fn(config.averaging)  # type: ignore[no-untyped-call]
        self._best: dict[str, Tensor] = {}

    def start_epoch(self) -> None:
        self._net.train()

    def step(self, batch: Batch, rate: float) -> tuple[float, int]:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        logits, value = self._net(torch.from_numpy(batch.history), torch.from_numpy(batch.length))
        gains, values = torch.from_numpy(batch.gains), torch.from_numpy(batch.values)
        losses = loss_of(logits, value, gains, values, self._config.sharpness)
        loss = (losses * torch.from_numpy(batch.weight)).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._net.parameters(), self._config.gradient_norm)
        self._optimizer.step()
        self._average()
        return float(loss.detach()), int((logits.detach().argmax(dim=1).numpy() == batch.best).sum())

    def policy(self) -> Policy:
        return policy_of(self._averaged, self._window)

    def keep(self) -> None:
        self._best = copy.deepcopy(self._averaged.state_dict())

    def state(self) -> State:
        nets = {"net": self._net.state_dict(), "mean": self._averaged.state_dict(), "best": self._best}
        return state_of(nets, self._optimizer)

    def restore(self, state: State) -> None:
        self._net.load_state_dict(part_of(state, "net"))
        self._averaged.load_state_dict(part_of(state, "mean"))
        self._best = part_of(state, "best")
        restore(state, self._optimizer)

    def finished(self, scale_usd: float) -> DecisionNet:
        """The best epoch's net, its critic turned from scaled units to USD."""
        self._net.load_state_dict(self._best)
        with torch.no_grad():
            self._net.critic.fc3.weight.mul_(scale_usd)
            self._net.critic.fc3.bias.mul_(scale_usd)
        return self._net.eval()

    def _average(self) -> None:
        """Labels are luck for the most part; the running mean of the weights is steadier than any of them."""
        with torch.no_grad():
            self._towards(list(self._averaged.parameters()), list(self._net.parameters()), 0)


def policy_of(net: DecisionNet, window: int) -> Policy:
    """The greedy policy of a net; takes histories of any length >= 1 and reads its own window."""

    def act(histories: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        seen, real = seen_by(histories, lengths, window)
        net.eval()
        with torch.inference_mode():
            logits, _ = net(torch.from_numpy(seen), torch.from_numpy(real))
            return greedy(logits.numpy())

    return act


def loss_of(logits: Tensor, value: Tensor, gains: Tensor, values: Tensor, sharpness: float) -> Tensor:
    """[n]: cross-entropy weighted by gains, plus `sharpness` x expected regret, plus the critic's squared
    error.

    The first two have the same best action at every state; the first gives gradient when sure and wrong, the
    second decides where two actions are nearly equal. The critic learns the value of the actor's own choice.
    """
    log_probs = torch.log_softmax(logits, dim=-1)
    probs = log_probs.exp()
    regret = (probs * (values.max(dim=1, keepdim=True).values - values)).sum(dim=1)
    earned = (probs.detach() * values).sum(dim=1)
    return -(gains * log_probs).sum(dim=1) + sharpness * regret + 0.5 * (value - earned) ** 2
