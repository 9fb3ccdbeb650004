"""Proximal policy optimisation (Schulman et al. 2017), whatever the framework: play, weigh, update, judge.

An epoch is one rollout and the updates on it. A `PpoLearner` holds the net and its optimizer; nothing here
knows tensors, and nothing knows what the environment is made of. Rewards are only ever divided by a
constant, so "no reward" stays 0; what has its mean taken off are the advantages of a minibatch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arms.advantages import Horizon, Trail, advantages_of
from arms.artefact import Trained
from arms.checkpoint import State
from arms.environment import Answer, Environment, Rollout, rollout
from arms.epochs import UNWATCHED, Kept, Passed, Told, Watch, epochs_of
from arms.errors import EpisodeError, TrainingError
from arms.training import Epoch, Evaluate, Policy, pnl_moments

COMPARED_ROWS = 2048
_ABOVE_0 = (
    "epochs", "ticks", "passes", "learning_rate", "gradient_norm", "target_kl", "start_sharpness",
    "reward_scale_usd", "patience",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipping:
    """The loss. ratio: how far new odds may leave old ones, in each direction, and still gain. value: the
    same for the critic in reward units, None = freely. The weights are of the three terms."""

    ratio: float = 0.2
    value: float | None = None
    policy_weight: float = 1.0
    value_weight: float = 0.5
    entropy_weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise EpisodeError(f"clipping ratio is {self.ratio}: it must lie in (0, 1)")
        if self.value is not None and not self.value > 0:
            raise EpisodeError(f"clipping value is {self.value}: it must be above 0, or None")
        for name in ("policy_weight", "value_weight", "entropy_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise EpisodeError(f"clipping {name} is {getattr(self, name)}: it must be 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoConfig:
    """Same config, start, environment, machine and framework version: same weights.

    ticks: length of a rollout, in every market place. passes: how often an epoch goes through it.
    gradient_norm: of the critic's gradient and of all the others', each for itself. target_kl: an epoch's
    updates end at the first minibatch whose odds have moved further, in nats. start_sharpness: the logits of
    a start are multiplied by it, which leaves its greedy actions as they are and its drawn ones close to
    them; an odd trade per hundred ticks costs more than most policies earn. critic_epochs: epochs at the
    beginning that teach the critic alone, which else misleads the first steps. reward_scale_usd: what 1 means
    to the critic. patience: epochs without a better one before stopping, counted only once a policy has
    earned more than holding.
    """

    epochs: int = 60
    ticks: int = 256
    passes: int = 4
    batch_size: int = 1024
    learning_rate: float = 3e-4
    gradient_norm: float = 0.5
    target_kl: float = 0.02
    start_sharpness: float = 8.0
    critic_epochs: int = 3
    reward_scale_usd: float = 10.0
    patience: int = 20
    seed: int = 0
    clipping: Clipping = field(default_factory=Clipping)
    horizon: Horizon = field(default_factory=Horizon)

    def __post_init__(self) -> None:
        for name in _ABOVE_0:
            if not 0 < getattr(self, name) < math.inf:
                raise EpisodeError(f"ppo {name} is {getattr(self, name)}: it must be above 0 and finite")
        if self.batch_size < 2:
            raise EpisodeError(f"ppo batch_size is {self.batch_size}: advantages are compared, so 2 or more")
        if self.critic_epochs < 0:
            raise EpisodeError(f"ppo critic_epochs is {self.critic_epochs}: it must be 0 or more")


@dataclass(frozen=True, slots=True)
class PpoEpoch(Epoch):
    """accuracy: share of states (at most COMPARED_ROWS of the rollout) whose greedy action the updates left
    as it was; there are no right answers to compare with. loss: mean over minibatches. kl: of the last
    minibatch, nats. entropy: mean over minibatches, nats. played_usd: net PnL booked per tick and market
    while actions were drawn from the odds."""

    kl: float
    entropy: float
    played_usd: float

    @property
    def line(self) -> str:
        return (
            f"Epoch {self.epoch}/{self.epochs}: Loss={self.loss:.4f}, Unchanged={self.accuracy:.3f}, "
            f"Entropy={self.entropy:.3f}, Played={self.played_usd:+.4f}"
        )


@dataclass(frozen=True, slots=True)
class PpoBatch:
    """n rows. history: float32[n,window,F]; length, action: int64[n]; log_prob (of the action when it was
    drawn), advantage (mean 0, deviation 1), target and old_value (reward units): float32[n]."""

    history: NDArray[np.float32]
    length: NDArray[np.int64]
    action: NDArray[np.int64]
    log_prob: NDArray[np.float32]
    advantage: NDArray[np.float32]
    target: NDArray[np.float32]
    old_value: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Step:
    """A minibatch before its step: loss, KL from the odds that played, entropy. taken: False where the loss
    was not finite or the KL above target, and the weights stayed."""

    loss: float
    kl: float
    entropy: float
    taken: bool


class PpoLearner(Kept, Protocol):
    """A net that learns; without dropout, which would tell old and new odds apart where nothing changed."""

    def answer(self) -> Answer:
        """What plays: log odds and the critic in reward units."""
        ...

    def step(self, batch: PpoBatch, clipping: Clipping, rate: float) -> Step:
        """One step of the optimizer at a learning rate, unless it must not be taken."""
        ...


@dataclass(frozen=True, slots=True)
class Learned:
    """Every epoch's facts and the one that was kept, 0 = the start. start_usd: what that earned per judged
    market."""

    epochs: tuple[Epoch, ...]
    kept: int
    start_usd: float

    @property
    def kept_usd(self) -> float:
        """What the kept one earned per judged market."""
        return self.epochs[self.kept - 1].pnl_usd if self.kept else self.start_usd


@dataclass(frozen=True, slots=True)
class _Playing:
    """arms.epochs.Kept: the learner together with what it plays, which goes on from a checkpoint too."""

    learner: PpoLearner
    environment: Environment

    def policy(self) -> Policy:
        return self.learner.policy()

    def keep(self) -> None:
        self.learner.keep()

    def state(self) -> State:
        played = {f"environment/{name}": array for name, array in self.environment.state().items()}
        return {**self.learner.state(), **played}

    def restore(self, state: State) -> None:
        self.learner.restore(state)
        self.environment.restore(
            {
                name.removeprefix("environment/"): array
                for name, array in state.items()
                if name.startswith("environment/")
            }
        )


def improve(
    learner: PpoLearner,
    environment: Environment,
    config: PpoConfig,
    evaluate: Evaluate,
    watch: Watch = UNWATCHED,
) -> Learned:
    """Plays and learns; `evaluate` plays markets that the environment does not hold, and its net PnL decides
    which weights are kept, the start's included, and when to stop. See `arms.epochs.epochs_of` for the
    checkpoint; one that goes on judges its start again, to the same cent."""
    start_usd, error_usd = pnl_moments(evaluate(learner.policy()))
    learner.keep()

    def one_pass(number: int, rng: np.random.Generator) -> Passed:
        played = rollout(environment, learner.answer(), config.ticks, rng)
        return _passed(learner, played, _updated(learner, played, config, (number, rng), watch.batch))

    told = Told(PpoEpoch, floor=start_usd - 2 * error_usd)
    epochs, kept = epochs_of(_Playing(learner, environment), one_pass, config, evaluate, watch, told)
    return Learned(epochs, kept, start_usd)


def weighed(played: Rollout, config: PpoConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Advantages and the critic's targets, float64[T,N], in reward units."""
    values = played.values.astype(np.float64)
    rewards, last_values = played.rewards_usd / config.reward_scale_usd, played.last_values.astype(np.float64)
    trail = Trail(rewards, values, played.done, last_values)
    advantages = advantages_of(trail, config.horizon.gamma, config.horizon.trace)
    return advantages, advantages + values


def _updated(
    learner: PpoLearner,
    played: Rollout,
    config: PpoConfig,
    turn: tuple[int, np.random.Generator],
    told: Callable[[float], None],
) -> list[Step]:
    """The epoch's steps, up to the one that was not taken. turn: the epoch's number, and what draws its rows.
    told: which share is done. Raises TrainingError on a loss that is not finite."""
    number, rng = turn
    advantages, targets = (array.reshape(-1) for array in weighed(played, config))
    clipping = config.clipping
    if number <= config.critic_epochs:
        clipping = replace(clipping, policy_weight=0.0, entropy_weight=0.0)
    rate = config.learning_rate * (1 - 0.9 * (number - 1) / config.epochs)
    steps: list[Step] = []
    batches = minibatches(played.rows, config, rng)
    for rows in batches:
        step = learner.step(_batch(played, rows, advantages[rows], targets[rows]), clipping, rate)
        steps.append(step)
        if not math.isfinite(step.loss):
            raise TrainingError(
                f"the loss of epoch {number}, batch {len(steps)} is {step.loss}: lower the learning rate "
                f"({config.learning_rate:g}) or look for outliers in the states of these markets"
            )
        told(len(steps) / len(batches))
        if not step.taken:
            break
    return steps


def minibatches(rows: int, config: PpoConfig, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Every pass in an order of its own; a last batch of one row, which has no deviation, joins the one
    before."""
    cuts = range(config.batch_size, rows - 1, config.batch_size)
    return [part for _ in range(config.passes) for part in np.split(rng.permutation(rows), list(cuts))]


def _batch(
    played: Rollout, rows: NDArray[np.int64], advantage: NDArray[np.float64], target: NDArray[np.float64]
) -> PpoBatch:
    history, length = played.windows(rows)
    return PpoBatch(
        history=history,
        length=length,
        action=played.actions.reshape(-1)[rows],
        log_prob=played.log_probs.reshape(-1)[rows],
        advantage=standardised(advantage).astype(np.float32),
        target=target.astype(np.float32),
        old_value=played.values.reshape(-1)[rows],
    )


def standardised(advantage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean 0 and sample deviation 1 over a minibatch; all the same stays 0."""
    return np.asarray((advantage - advantage.mean()) / (advantage.std(ddof=1) + 1e-8), dtype=np.float64)


def _passed(learner: PpoLearner, played: Rollout, steps: Sequence[Step]) -> Passed:
    return Passed(
        loss=float(np.mean([step.loss for step in steps])),
        accuracy=_unchanged(learner, played),
        rows=played.rows,
        more=(
            steps[-1].kl,
            float(np.mean([step.entropy for step in steps])),
            float(played.rewards_usd.mean()),
        ),
    )


def _unchanged(learner: PpoLearner, played: Rollout) -> float:
    rows = np.arange(0, played.rows, -(-played.rows // COMPARED_ROWS), dtype=np.int64)
    odds, _ = learner.answer()(*played.windows(rows))
    return float((odds.argmax(axis=1) == played.greedy.reshape(-1)[rows]).mean())


def trained_of(environment: Environment, config: PpoConfig, learned: Learned, origin: str) -> Trained:
    """What the artefact says of its making."""
    metrics = {"start_pnl_per_market_usd": learned.start_usd, "pnl_per_market_usd": learned.kept_usd}
    return Trained(
        data_digest=environment.digest,
        seed=config.seed,
        epochs=learned.kept,
        metrics={name: round(value, 6) for name, value in metrics.items()},
        origin=origin,
    )
