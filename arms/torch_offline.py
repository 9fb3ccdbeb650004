"""AWR and IQL in torch: fixed seeds, one thread."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from arms.checkpoint import State
from arms.epochs import UNWATCHED, Fitted, Watch
from arms.offline import Awr, Extraction, Iql, Material, Method, learned, material_of, trained_of
from arms.presets import BasePreset, Preset, TransformerPreset
from arms.torch_nets import ACTIONS, BaseEncoder, DecisionNet, Head, TransformerTemporalEncoder
from arms.torch_state import part_of, restore, state_of
from arms.torch_training import policy_of
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
    """See `arms.offline.learned`. The same seed, data, machine and torch version: the same weights."""
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
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
    """An encoder of its own and a head: [n,w,f] -> [n,out]. out 1: value; out 3: value of every action."""

    def __init__(self, preset: Preset, features: int, out: int) -> None:
        super().__init__()
        self.temporal_encoder: nn.Module
        if isinstance(preset, BasePreset):
            self.temporal_encoder = BaseEncoder(preset, features)
        else:
            self.temporal_encoder = TransformerTemporalEncoder(preset, features)
        self.head = Head(features + preset.output, preset.hidden, out)

    def forward(self, history: Tensor, length: Tensor) -> Tensor:
        both = torch.cat([history[:, -1], self.temporal_encoder(history, length)], dim=-1)
        said: Tensor = self.head(both)
        return said


class Learning:
    """What both methods have: the net that acts, critics beside it, one optimizer. `learns`: critics by name
    that the optimizer moves; `follows`: those that only follow."""

    def __init__(
        self,
        preset: Preset,
        material: Material,
        config: TrainingConfig,
        learns: dict[str, Critic],
        follows: dict[str, Critic],
    ) -> None:
        self._config, self._material, self._window = config, material, preset.window
        self._net = DecisionNet(preset, material.steps.ticks.states.shape[1])
        self._averaged = copy.deepcopy(self._net)
        self._critics = {**learns, **follows}
        self._moved: tuple[nn.Module, ...] = (self._net, *learns.values())
        parameters = [parameter for module in self._moved for parameter in module.parameters()]
        self._optimizer = torch.optim.Adam(parameters, lr=config.learning_rate)
        self._best: dict[str, Tensor] = {}

    def start_epoch(self) -> None:
        self._net.train()

    def policy(self) -> Policy:
        return policy_of(self._averaged, self._window)

    def keep(self) -> None:
        self._best = copy.deepcopy(self._averaged.state_dict())

    def state(self) -> State:
        nets = {"net": self._net.state_dict(), "mean": self._averaged.state_dict(), "best": self._best}
        critics = {name: critic.state_dict() for name, critic in self._critics.items()}
        return state_of({**nets, **critics}, self._optimizer)

    def restore(self, state: State) -> None:
        self._net.load_state_dict(part_of(state, "net"))
        self._averaged.load_state_dict(part_of(state, "mean"))
        self._best = part_of(state, "best")
        for name, critic in self._critics.items():
            critic.load_state_dict(part_of(state, name))
        restore(state, self._optimizer)

    def finished(self, scale_usd: float) -> DecisionNet:
        """The best epoch's net, its critic turned from scaled units to USD."""
        self._net.load_state_dict(self._best)
        with torch.no_grad():
            self._net.critic.fc3.weight.mul_(scale_usd)
            self._net.critic.fc3.bias.mul_(scale_usd)
        return self._net.eval()

    def _descend(self, loss: Tensor, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for module in self._moved:  # each to its own norm: a critic's surprise must not slow the actor
            torch.nn.utils.clip_grad_norm_(module.parameters(), self._config.gradient_norm)
        self._optimizer.step()
        _follow(self._averaged, self._net, 1 - self._config.averaging)


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
        history, length, action = seen_of(batch)
        earned, worth = torch.from_numpy(self._returns[rows]), torch.from_numpy(self._material.worth[rows])
        logits, said = self._net(history, length)
        value = self._value(history, length)[:, 0]
        beta = self._method.extraction.beta_usd / self._method.scale_usd
        loss = awr_loss(value, earned) + actor_loss(
            logits,
            action,
            weights_of_rows(earned - value, beta, self._method.extraction),
            (said, earned + worth),
        )
        self._descend(loss, rate)
        return loss.item(), int((logits.detach().argmax(dim=1) == action).sum())

    def _value_of(self, histories: Floats, lengths: Ints) -> Floats:
        with torch.inference_mode():
            found: Floats = self._value(torch.from_numpy(histories), torch.from_numpy(lengths))[:, 0].numpy()
            return found


class IqlLearner(Learning):
    """arms.epochs.Learner: implicit Q-learning, discrete, one Q and its slow target."""

    def __init__(self, preset: Preset, material: Material, config: TrainingConfig, method: Iql) -> None:
        self._method = method
        self._value, self._q = critic_of(preset, material, 1), critic_of(preset, material, ACTIONS)
        self._target = copy.deepcopy(self._q)
        learns = {"value": self._value, "q": self._q}
        super().__init__(preset, material, config, learns, {"target": self._target})

    def step(self, rows: Ints, rate: float) -> tuple[float, int]:
        batch, method = self._material.batch(rows), self._method
        history, length, action = seen_of(batch)
        with torch.no_grad():
            ahead = self._value(torch.from_numpy(batch.following), torch.from_numpy(batch.following_length))
            rewards = torch.from_numpy(self._material.rewards[rows].astype(np.float32))
            aim = rewards + method.horizon.gamma * torch.from_numpy(batch.goes_on) * ahead[:, 0]
            steady = chosen(self._target(history, length), action)
        logits, said = self._net(history, length)
        value, q = self._value(history, length)[:, 0], chosen(self._q(history, length), action)
        beta = method.extraction.beta_usd / method.scale_usd
        worth = torch.from_numpy(self._material.worth[rows])
        loss = iql_loss(value, q, (steady, aim), method.expectile) + actor_loss(
            logits,
            action,
            weights_of_rows(steady - value, beta, method.extraction),
            (said, value.detach() + worth),
        )
        self._descend(loss, rate)
        _follow(self._target, self._q, method.polyak)
        return loss.item(), int((logits.detach().argmax(dim=1) == action).sum())


def critic_of(preset: Preset, material: Material, out: int) -> Critic:
    """Without dropout, which would be noise in every target."""
    if isinstance(preset, TransformerPreset):
        preset = replace(preset, dropout=0.0)
    return Critic(preset, material.steps.ticks.states.shape[1], out)


def seen_of(batch: Transitions) -> tuple[Tensor, Tensor, Tensor]:
    """history, length, action."""
    return torch.from_numpy(batch.history), torch.from_numpy(batch.length), torch.from_numpy(batch.action)


def chosen(values: Tensor, action: Tensor) -> Tensor:
    """[n,3], [n] -> [n]: the value of the action that was played."""
    return values.gather(1, action[:, None])[:, 0]


def weights_of_rows(advantage: Tensor, beta: float, extraction: Extraction) -> Tensor:
    """[n]: min(exp(advantage / beta), weight_cap), without gradient; the exponent is capped, so none
    overflows."""
    return (advantage.detach() / beta).clamp(max=math.log(extraction.weight_cap)).exp()


def actor_loss(logits: Tensor, action: Tensor, weight: Tensor, told: tuple[Tensor, Tensor]) -> Tensor:
    """Mean weighted negative log-likelihood, plus the exported critic's squared error; told: (what it says,
    what it should say), [n] each."""
    said, meant = told
    likelihood = chosen(torch.log_softmax(logits, dim=-1), action)
    return (-weight * likelihood + 0.5 * (said - meant) ** 2).mean()


def awr_loss(value: Tensor, earned: Tensor) -> Tensor:
    """Mean squared error of the value, halved."""
    return 0.5 * ((value - earned) ** 2).mean()


def iql_loss(value: Tensor, q: Tensor, told: tuple[Tensor, Tensor], expectile: float) -> Tensor:
    """told: (the slow Q of the played action, reward + gamma * V of the next state), [n] each. V goes to the
    expectile of the slow Q (Kostrikov et al. 2021, eq. 5), Q to what was paid and is to come (eq. 6)."""
    steady, aim = told
    return (expectile_loss(steady - value, expectile) + 0.5 * (q - aim) ** 2).mean()


def expectile_loss(gap: Tensor, expectile: float) -> Tensor:
    """|tau - 1(gap < 0)| gap^2 (Newey and Powell 1987)."""
    return torch.where(gap < 0, 1 - expectile, expectile) * gap**2


def _follow(slow: nn.Module, fast: nn.Module, share: float) -> None:
    with torch.no_grad():
        for mean, newest in zip(slow.parameters(), fast.parameters(), strict=True):
            mean.lerp_(newest, share)
