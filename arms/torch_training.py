"""The training loop in torch: fixed seeds, one thread, best epoch by net PnL kept, NaN stops with the batch
named."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arms.artefact import Trained
from arms.episodes import Episode, Ticks, digest_of, joined, windows
from arms.errors import TrainingError
from arms.presets import Preset
from arms.torch_nets import DecisionNet
from arms.training import Epoch, Evaluate, Lessons, Policy, TrainingConfig, draw, lessons_of, pnl_moments

Progress = Callable[[Epoch], None]
WARM_UP_EPOCHS = 0.5


@dataclass(frozen=True, slots=True)
class Fitted:
    """The net of the best epoch, and every epoch's facts."""

    net: DecisionNet
    trained: Trained
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    ticks: Ticks
    lessons: Lessons
    window: int
    config: TrainingConfig
    net: DecisionNet
    averaged: DecisionNet
    optimizer: torch.optim.Adam


def train(
    episodes: Sequence[Episode],
    preset: Preset,
    config: TrainingConfig,
    evaluate: Evaluate,
    progress: Progress = lambda epoch: None,
    clock_s: Callable[[], float] = time.perf_counter,
) -> Fitted:
    """Clone the best action in hindsight, weighted by what it earned. `evaluate` plays markets that are not
    in `episodes`; its net PnL decides which epoch is kept and when to stop."""
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    run = _start(episodes, preset, config)
    reports: list[Epoch] = []
    best: tuple[float, int, dict[str, Tensor]] = (-math.inf, 0, {})
    for number in range(1, config.epochs + 1):
        began_s = clock_s()
        loss, accuracy, rows = _epoch(run, number, rng)
        took_s = max(clock_s() - began_s, 1e-9)
        pnl, error = pnl_moments(evaluate(policy_of(run.averaged, preset.window)))
        report = Epoch(number, config.epochs, loss, accuracy, pnl, error, rows / took_s)
        reports.append(report)
        progress(report)
        if report.score > best[0]:
            best = (report.score, number, copy.deepcopy(run.averaged.state_dict()))
        if best[0] > 0 and number - best[1] >= config.patience:
            break
    return _finished(run, episodes, best[2], reports, best[1])


def policy_of(net: DecisionNet, window: int) -> Policy:
    """The greedy policy of a net; takes histories of any length >= 1 and reads its own window."""

    def act(histories: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        seen = np.zeros((len(histories), window, histories.shape[2]), dtype=np.float32)
        reach = min(window, histories.shape[1])
        seen[:, window - reach :] = histories[:, histories.shape[1] - reach :]
        real = np.minimum(lengths, window).astype(np.int64)
        net.eval()
        with torch.inference_mode():
            logits, _ = net(torch.from_numpy(seen), torch.from_numpy(real))
            actions: NDArray[np.int64] = logits.argmax(dim=1).numpy()
            return actions

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


def _start(episodes: Sequence[Episode], preset: Preset, config: TrainingConfig) -> _Run:
    ticks = joined(episodes)
    net = DecisionNet(preset, ticks.states.shape[1])
    optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
    averaged = copy.deepcopy(net)
    return _Run(ticks, lessons_of(ticks), preset.window, config, net, averaged, optimizer)


def _epoch(run: _Run, number: int, rng: np.random.Generator) -> tuple[float, float, int]:
    """Mean loss, accuracy and number of rows of one pass."""
    run.net.train()
    drawn = draw(run.lessons.best, run.config.rows_per_epoch, rng)
    weight = drawn.weight / drawn.weight.mean()
    size, rows = run.config.batch_size, len(drawn.index)
    losses, hits = 0.0, 0
    for start in range(0, rows, size):
        _set_rate(run, number - 1 + start / rows)
        batch = drawn.index[start : start + size]
        loss, hit = _step(run, batch, weight[start : start + size])
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of epoch {number}, batch {start // size + 1} is {loss}: lower the learning rate "
                f"({run.config.learning_rate:g}) or look for outliers in the values of these markets"
            )
        losses += loss * len(batch)
        hits += hit
    return losses / rows, hits / rows, rows


def _step(run: _Run, batch: NDArray[np.int64], weight: NDArray[np.float32]) -> tuple[float, int]:
    lessons = run.lessons
    history, length = windows(run.ticks, lessons.rows[batch], run.window)
    logits, value = run.net(torch.from_numpy(history), torch.from_numpy(length))
    gains, values = torch.from_numpy(lessons.gains[batch]), torch.from_numpy(lessons.values[batch])
    losses = loss_of(logits, value, gains, values, run.config.sharpness)
    loss = (losses * torch.from_numpy(weight)).mean()
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(run.net.parameters(), run.config.gradient_norm)
    run.optimizer.step()
    _average(run)
    return float(loss.detach()), int((logits.detach().argmax(dim=1).numpy() == lessons.best[batch]).sum())


def _average(run: _Run) -> None:
    """Labels are luck for the most part; the running mean of the weights is steadier than any of them."""
    with torch.no_grad():
        for mean, newest in zip(run.averaged.parameters(), run.net.parameters(), strict=True):
            mean.lerp_(newest, 1 - run.config.averaging)


def _set_rate(run: _Run, epochs_done: float) -> None:
    """Linear warm-up, then half a cosine down to a tenth: post-norm attention diverges without the first."""
    warm = min(1.0, (epochs_done + 0.02) / WARM_UP_EPOCHS)
    cosine = 0.55 + 0.45 * math.cos(math.pi * epochs_done / run.config.epochs)
    for group in run.optimizer.param_groups:
        group["lr"] = run.config.learning_rate * warm * cosine


def _finished(
    run: _Run, episodes: Sequence[Episode], best: dict[str, Tensor], reports: list[Epoch], kept: int
) -> Fitted:
    """The best epoch's net, its critic turned from scaled units to USD."""
    run.net.load_state_dict(best)
    with torch.no_grad():
        run.net.critic.fc3.weight.mul_(run.lessons.scale_usd)
        run.net.critic.fc3.bias.mul_(run.lessons.scale_usd)
    report = reports[kept - 1]
    metrics = {"loss": report.loss, "accuracy": report.accuracy, "pnl_per_market_usd": report.pnl_usd}
    trained = Trained(
        data_digest=digest_of(episodes),
        seed=run.config.seed,
        epochs=kept,
        metrics={name: round(value, 6) for name, value in metrics.items()},
        origin="behaviour cloning",
    )
    return Fitted(run.net.eval(), trained, tuple(reports))
