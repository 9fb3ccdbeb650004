"""Behaviour cloning as cost-sensitive classification: what is learned from, framework-free.

A tick's label is not only its best action: every action weighs what it earns above the worst one. The
expectation of these weights ranks actions by expected value, so where the past cannot tell up from down the
learner holds, which plain classification of the best action in hindsight would never do (Elkan 2001;
consistency: Pires and Szepesvari 2016).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arms.episodes import Ticks
from arms.errors import EpisodeError, TrainingError

Policy = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.int64]]
"""histories float32[n,k,F] front-padded with zeros and lengths int64[n] -> actions int64[n] (0 hold, 1 buy,
2 sell)."""

Evaluate = Callable[[Policy], Sequence[float]]
"""Net PnL in USD of every market of a fixed set, played by the policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Same config, data, machine and torch version: same weights. There is no weight decay: the lessons
    that matter are so rare that it wins against them. sharpness: weight of the expected-regret term.
    averaging: share of the running mean of the weights that a step keeps; that mean is what is judged and
    kept. patience: epochs without a better one before stopping, counted only once a policy has earned more
    than holding."""

    epochs: int = 24
    batch_size: int = 192
    learning_rate: float = 2e-3
    gradient_norm: float = 1.0
    rows_per_epoch: int = 24_000
    sharpness: float = 1.0
    averaging: float = 0.995
    patience: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "gradient_norm", "rows_per_epoch", "patience"):
            if not 0 < getattr(self, name) < np.inf:
                raise EpisodeError(f"training {name} is {getattr(self, name)}: it must be above 0 and finite")
        if not 0 <= self.averaging < 1:
            raise EpisodeError(f"training averaging is {self.averaging}: it must lie in [0, 1)")


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's facts. loss: mean over rows; accuracy: share of unweighted rows where the best action was
    chosen; pnl_usd and pnl_se_usd: mean net PnL per evaluated market and its standard error."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    pnl_usd: float
    pnl_se_usd: float
    samples_per_s: float

    @property
    def line(self) -> str:
        return f"Epoch {self.epoch}/{self.epochs}: Loss={self.loss:.4f}, Accuracy={self.accuracy:.3f}"

    @property
    def score(self) -> float:
        """What the best epoch is chosen by: PnL less two standard errors, so that the luckiest of many
        epochs does not beat holding, which scores 0."""
        return self.pnl_usd - 2 * self.pnl_se_usd


@dataclass(frozen=True, slots=True)
class Lessons:
    """rows: int64[n] of Ticks. gains: float32[n,3], value above the worst action. scale_usd: what 1 in
    gains means."""

    rows: NDArray[np.int64]
    gains: NDArray[np.float32]
    values: NDArray[np.float32]
    best: NDArray[np.int64]
    scale_usd: float


def lessons_of(ticks: Ticks) -> Lessons:
    """Every usable tick with its gains in units of the mean range between best and worst action."""
    if not len(ticks.usable):
        raise EpisodeError(
            "no tick is marked for use: record markets with quotes, or lower the labelling threshold"
        )
    values = ticks.values[ticks.usable]
    gains = values - values.min(axis=1, keepdims=True)
    scale = float(gains.max(axis=1).mean())
    if scale <= 0:
        raise EpisodeError("all actions are worth the same at every tick: there is nothing to learn")
    return Lessons(
        rows=ticks.usable,
        gains=(gains / scale).astype(np.float32),
        values=(values / scale).astype(np.float32),
        best=values.argmax(axis=1).astype(np.int64),
        scale_usd=scale,
    )


@dataclass(frozen=True, slots=True)
class Drawn:
    """One epoch's lessons in random order. weight: float32[n], 1 / chance of being drawn."""

    index: NDArray[np.int64]
    weight: NDArray[np.float32]


def draw(best: NDArray[np.int64], rows: int, rng: np.random.Generator) -> Drawn:
    """About `rows` lessons: up to half from ticks where acting was best, the rest from quiet ones.

    Each keeps the weight 1 / its chance, so expected values, and with them decisions, stay what they were.
    """
    acting = best != 0
    busy, quiet = int(acting.sum()), int((~acting).sum())
    chance_busy = min(1.0, max(rows // 2, rows - quiet) / max(busy, 1))
    chance_quiet = min(1.0, (rows - chance_busy * busy) / max(quiet, 1))
    chance = np.where(acting, chance_busy, chance_quiet)
    index = rng.permutation(np.flatnonzero(rng.random(len(best)) < chance))
    return Drawn(index=index, weight=(1.0 / chance[index]).astype(np.float32))


def greedy(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """[n]: the most probable actions. TrainingError where a net answers no numbers: their argmax is to hold,
    by which a spoiled net would beat any that loses."""
    if not np.isfinite(logits).all():
        raise TrainingError("the net's answers are not finite after its last batch: lower the learning rate")
    return np.asarray(logits.argmax(axis=1), dtype=np.int64)


def pnl_moments(pnl_usd: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error over markets; the error of one market is taken as 0."""
    pnl = np.asarray(pnl_usd, dtype=np.float64)
    if not len(pnl) or not np.isfinite(pnl).all():
        raise EpisodeError("evaluate must return a finite net PnL for at least one market")
    error = float(pnl.std(ddof=1) / np.sqrt(len(pnl))) if len(pnl) > 1 else 0.0
    return float(pnl.mean()), error
