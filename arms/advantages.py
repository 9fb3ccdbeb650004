"""Generalised advantage estimation (Schulman et al. 2016, eq. 16) over markets in step.

    delta_t = reward_t + gamma * V(s_t+1) * (1 - done_t) - V(s_t)
    A_t     = delta_t + gamma * trace * (1 - done_t) * A_t+1

Every market place is a column of its own, and nothing passes a tick that ended a market: neither the value of
the next market's first state nor its advantage. A rollout that stops in mid-market goes on with the value of
the state after it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arms.errors import EpisodeError

Exact = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """How far ahead counts. gamma = exp(-tick_s / horizon_s): a reward `horizon_s` away weighs 1/e. trace is
    GAE's lambda: 0 trusts the critic alone, 1 only what was paid."""

    tick_s: float = 0.5
    horizon_s: float = 300.0
    trace: float = 0.95

    def __post_init__(self) -> None:
        for name in ("tick_s", "horizon_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise EpisodeError(f"{name} is {getattr(self, name)}: it must be above 0 and finite")
        if not 0 <= self.trace <= 1:
            raise EpisodeError(f"trace is {self.trace}: it must lie in [0, 1]")

    @property
    def gamma(self) -> float:
        return math.exp(-self.tick_s / self.horizon_s)


@dataclass(frozen=True, slots=True)
class Trail:
    """What was paid and expected along T ticks in N places. rewards, values: float[T,N], in one unit. done:
    bool[T,N]. last_values: float[N], of the states after the last tick; unread where the market ended."""

    rewards: Exact
    values: Exact
    done: NDArray[np.bool_]
    last_values: Exact

    def __post_init__(self) -> None:
        shape = self.rewards.shape
        places = shape[1:]
        if len(shape) != 2 or not len(self.rewards) or self.last_values.shape != places:
            raise EpisodeError(f"rewards {shape} and last_values {self.last_values.shape} must be [T,N], [N]")
        if self.values.shape != shape or self.done.shape != shape:
            raise EpisodeError(f"values {self.values.shape} and done {self.done.shape} must be {shape}")


def advantages_of(trail: Trail, gamma: float, trace: float) -> Exact:
    """float64[T,N]; the critic's target is this plus the values."""
    goes_on = ~trail.done
    following = np.concatenate((trail.values[1:], trail.last_values[None]))
    deltas = trail.rewards + gamma * np.where(goes_on, following, 0.0) - trail.values
    advantages = np.empty_like(deltas)
    running = np.zeros(deltas.shape[1])
    for tick in range(len(deltas) - 1, -1, -1):
        running = deltas[tick] + gamma * trace * np.where(goes_on[tick], running, 0.0)
        advantages[tick] = running
    return advantages
