"""Training as a plain torch loop: the same rows, loss, schedule and clipping as `arms.cloning`, no more.

Windows are laid out once as tensors and picked by index, which is as fast as plain torch gets. There is no
running mean of the weights.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from arms.cloning import Material
from arms.episodes import windows
from arms.epochs import rate_at
from arms.torch_training import loss_of
from arms.training import TrainingConfig, draw


@dataclass(frozen=True, slots=True)
class Passed:
    """One epoch."""

    loss: float
    samples_per_s: float


class Loop:
    """A net that answers (history, length) with (logits, value)."""

    def __init__(self, net: nn.Module, material: Material, config: TrainingConfig) -> None:
        lessons = material.lessons
        history, length = windows(material.ticks, lessons.rows, material.window)
        whole = (history, length, lessons.gains, lessons.values, lessons.best)
        self._rows: tuple[Tensor, ...] = tuple(torch.from_numpy(each) for each in whole)
        self._net = net.train()
        self._optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
        self._config = config
        self._best = lessons.best
        self._rng = np.random.default_rng(config.seed)
        self._epoch = 0
        self.hits = 0

    def epoch(self) -> Passed:
        """The next one; the same seed draws the same rows as `arms.cloning.clone`."""
        drawn = draw(self._best, self._config.rows_per_epoch, self._rng)
        weight = torch.from_numpy(drawn.weight / drawn.weight.mean())
        index = torch.from_numpy(drawn.index)
        losses, began_s, size = 0.0, time.perf_counter(), self._config.batch_size
        for start in range(0, len(index), size):
            self._set_rate(rate_at(self._config, self._epoch + start / len(index)))
            picked = index[start : start + size]
            losses += self._step(picked, weight[start : start + size]) * len(picked)
        self._epoch += 1
        return Passed(losses / len(index), len(index) / (time.perf_counter() - began_s))

    def _set_rate(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def _step(self, picked: Tensor, weight: Tensor) -> float:
        history, length, gains, values, best = (rows[picked] for rows in self._rows)
        logits, value = self._net(history, length)
        loss = (loss_of(logits, value, gains, values, self._config.sharpness) * weight).mean()
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._net.parameters(), self._config.gradient_norm)
        self._optimizer.step()
        self.hits += int((logits.detach().argmax(dim=1) == best).sum())
        return float(loss.detach())
