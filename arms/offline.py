"""Offline reinforcement learning, whatever the framework: AWR and IQL on markets that someone else played.

AWR (Peng et al. 2019, arXiv:1910.00177) copies what was done, each action weighted by exp(advantage / beta),
where the advantage is a TD(lambda) return less the state's value. IQL (Kostrikov, Nair and Levine 2021,
arXiv:2110.06169) learns Q and an upper expectile V of it without ever asking for an action that nobody took,
and copies with weights exp((Q - V) / beta). One return is luck as well as merit, and AWR's exponential likes
luck; IQL averages it in Q first. Q and V exist while training only.

Rewards are only ever divided by a constant, so what pays nothing stays 0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from arms.advantages import Horizon
from arms.artefact import Trained
from arms.epochs import Learner, Passed, Told, Watch, epochs_of, passed_over
from arms.errors import EpisodeError
from arms.training import Epoch, Evaluate, TrainingConfig
from arms.trajectories import (
    Steps,
    Trajectory,
    Transitions,
    digest_of,
    earned_usd,
    joined,
    returns_of,
    transitions,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
ValueOf = Callable[[Floats, Ints], Floats]
"""histories float32[n,window,F], lengths int64[n] -> float32[n]."""
SWEEP_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """How a policy is drawn from advantages: log-likelihood weighted by min(exp(advantage / beta_usd),
    weight_cap). beta_usd: small trusts advantages, large copies the behaviour. weight_cap: what one row may
    count, so that no single piece of luck decides."""

    beta_usd: float = 3.5
    weight_cap: float = 20.0

    def __post_init__(self) -> None:
        _check_positive("extraction", beta_usd=self.beta_usd)
        if not 1 < self.weight_cap < math.inf:
            raise EpisodeError(f"extraction weight_cap is {self.weight_cap}: it must be above 1 and finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Awr:
    """horizon: a trace near 1 asks the critic little and lets an entry know what came of it ticks later, at
    the price of the luck in between. scale_usd: what 1 means to the critics."""

    extraction: Extraction = field(default_factory=Extraction)
    horizon: Horizon = field(default_factory=lambda: Horizon(trace=0.97))
    scale_usd: float = 10.0

    def __post_init__(self) -> None:
        _check_positive(self.name, scale_usd=self.scale_usd)

    @property
    def name(self) -> str:
        return "awr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Iql:
    """expectile: tau of V, 0.5 = the mean over what was done, towards 1 = the best of it. polyak: share of Q
    that its target takes over at a step. scale_usd: what 1 means to the critics. One step ahead is looked at,
    so the horizon's trace is not used."""

    expectile: float = 0.7
    polyak: float = 0.01
    extraction: Extraction = field(default_factory=Extraction)
    horizon: Horizon = field(default_factory=lambda: Horizon(horizon_s=120.0))
    scale_usd: float = 10.0

    def __post_init__(self) -> None:
        _check_positive(self.name, scale_usd=self.scale_usd)
        if not 0 < self.expectile < 1:
            raise EpisodeError(f"iql expectile is {self.expectile}: it must lie in (0, 1)")
        if not 0 < self.polyak <= 1:
            raise EpisodeError(f"iql polyak is {self.polyak}: it must lie in (0, 1]")

    @property
    def name(self) -> str:
        return "iql"


Method = Awr | Iql


def _check_positive(owner: str, **numbers: float) -> None:
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise EpisodeError(f"{owner} {name} is {number}: it must be above 0 and finite")


@dataclass(frozen=True, slots=True)
class OfflineEpoch(Epoch):
    """loss: mean over rows of all terms; accuracy: share of rows where the greedy action is the played one,
    which a policy better than the one that played should not bring to 1."""

    @property
    def line(self) -> str:
        return f"Epoch {self.epoch}/{self.epochs}: Loss={self.loss:.4f}, AsPlayed={self.accuracy:.3f}"


@dataclass(frozen=True, slots=True)
class Material:
    """What is learned from. rewards: float64[R] and worth: float32[R], in units of the method's scale."""

    steps: Steps
    rewards: NDArray[np.float64]
    worth: Floats
    window: int

    def batch(self, rows: Ints) -> Transitions:
        return transitions(self.steps, rows, self.window)

    def returns(self, value_of: ValueOf, horizon: Horizon) -> Floats:
        """float32[R]: TD(lambda) returns with every state valued anew."""
        rows = np.arange(self.steps.rows, dtype=np.int64)
        parts = [rows[start : start + SWEEP_ROWS] for start in range(0, len(rows), SWEEP_ROWS)]
        batches = (self.batch(part) for part in parts)
        values = np.concatenate([value_of(batch.history, batch.length) for batch in batches])
        return returns_of(self.steps, self.rewards, values, horizon).astype(np.float32)


def material_of(trajectories: Sequence[Trajectory], window: int, method: Method) -> Material:
    """Whole markets, their rewards scaled. Raises EpisodeError where they teach nothing."""
    steps = joined(trajectories)
    rewards = earned_usd(steps, method.horizon.gamma) / method.scale_usd
    if not rewards.any():
        raise EpisodeError(
            "nothing was ever earned or lost in these markets: play them with orders that fill"
        )
    return Material(steps, rewards, (steps.worth_usd / method.scale_usd).astype(np.float32), window)


def learned(
    learner: Learner[Ints], material: Material, config: TrainingConfig, evaluate: Evaluate, watch: Watch
) -> tuple[tuple[Epoch, ...], int]:
    """Every epoch's facts, and which one the learner kept.

    `evaluate` plays markets that are not in the material; its net PnL decides which epoch is kept and when to
    stop. A hit is a row whose greedy action is the played one. The config's sharpness is not used.
    """

    def one_pass(number: int, rng: np.random.Generator) -> Passed:
        learner.start_epoch()
        drawn = rng.permutation(material.steps.ticks.usable)[: config.rows_per_epoch]
        return passed_over(learner, len(drawn), lambda part: drawn[part], config, number, watch.batch)

    return epochs_of(learner, one_pass, config, evaluate, watch, Told(OfflineEpoch))


def trained_of(
    trajectories: Sequence[Trajectory], config: TrainingConfig, method: Method, report: Epoch
) -> Trained:
    """What the artefact says of its making; report: of the epoch that was kept."""
    metrics = {"loss": report.loss, "as_played": report.accuracy, "pnl_per_market_usd": report.pnl_usd}
    return Trained(
        data_digest=digest_of(trajectories),
        seed=config.seed,
        epochs=report.epoch,
        metrics={name: round(value, 6) for name, value in metrics.items()},
        origin=f"offline {method.name}",
    )


def facts_of(method: Method) -> dict[str, str]:
    """Every setting of a method by name: what decides the weights besides the training's own config."""
    flat: dict[str, object] = {"method": method.name}
    for name, value in asdict(method).items():
        flat |= value if isinstance(value, dict) else {name: value}
    return {name.replace("_", " "): str(value) for name, value in flat.items()}
