"""Markets as they were played: what offline reinforcement learning learns from.

Row t holds the state of tick t, the action decided there and what was booked from then until tick t + 1. A
state is stored once, windows are gathered from it by index, and nothing crosses the edge of a market: neither
a window, nor a bootstrap, nor an advantage.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arms.advantages import Horizon, Trail, advantages_of
from arms.episodes import ACTION_COUNT, Ticks, windows
from arms.errors import EpisodeError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Exact = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One market, played to its end. states: float32[T,F], oldest first. actions: int64[T]. rewards_usd:
    float64[T], booked by acting at t until t + 1, fees and spread paid; the last one includes settlement.

    worth_usd: float64[T], what closing at once would leave of the position that state t shows; 0 when flat.
    It must be a function of the state. use: bool[T], ticks to learn from, chosen by the state alone.
    """

    market: str
    states: Floats
    actions: Ints
    rewards_usd: Exact
    worth_usd: Exact
    use: Bools

    def __post_init__(self) -> None:
        ticks = len(self.states)
        columns = (self.actions, self.rewards_usd, self.worth_usd, self.use)
        if self.states.ndim != 2 or not ticks or any(column.shape != (ticks,) for column in columns):
            found = ", ".join(str(column.shape) for column in columns)
            raise EpisodeError(
                f"trajectory {self.market}: states {self.states.shape} must be [T,F], T above 0, and "
                f"actions, rewards_usd, worth_usd and use ({found}) must be [T]"
            )
        if not ((self.actions >= 0) & (self.actions < ACTION_COUNT)).all():
            raise EpisodeError(f"trajectory {self.market}: actions must be 0, 1 or 2")
        if not all(np.isfinite(a).all() for a in (self.states, self.rewards_usd, self.worth_usd)):
            raise EpisodeError(f"trajectory {self.market} holds NaN or infinity: leave this market out")


@dataclass(frozen=True, slots=True)
class Steps:
    """Many trajectories end to end. ends: bool[R], the last row of a market."""

    ticks: Ticks
    actions: Ints
    rewards_usd: Exact
    worth_usd: Exact
    ends: Bools

    @property
    def rows(self) -> int:
        return len(self.actions)


def joined(trajectories: Sequence[Trajectory]) -> Steps:
    """Stacks the markets. Raises EpisodeError where there is no tick to learn from."""
    if not trajectories or not any(trajectory.use.any() for trajectory in trajectories):
        raise EpisodeError(
            "there is no tick to learn from: play at least one market with ticks marked for use"
        )
    lengths = np.array([len(trajectory.actions) for trajectory in trajectories], dtype=np.int64)
    last_rows = np.cumsum(lengths) - 1
    ends = np.zeros(int(lengths.sum()), dtype=np.bool_)
    ends[last_rows] = True
    ticks = Ticks(
        states=np.concatenate([t.states for t in trajectories]).astype(np.float32, copy=False),
        values=np.broadcast_to(np.float32(np.nan), (len(ends), ACTION_COUNT)),  # only what was done is known
        starts=np.repeat(last_rows + 1 - lengths, lengths),
        usable=np.flatnonzero(np.concatenate([t.use for t in trajectories])).astype(np.int64),
    )
    return Steps(
        ticks=ticks,
        actions=np.concatenate([t.actions for t in trajectories]).astype(np.int64, copy=False),
        rewards_usd=np.concatenate([t.rewards_usd for t in trajectories]),
        worth_usd=np.concatenate([t.worth_usd for t in trajectories]),
        ends=ends,
    )


@dataclass(frozen=True, slots=True)
class Transitions:
    """n rows. history, following: float32[n,window,F], of the tick and of the next one; length,
    following_length: int64[n]; action: int64[n]; goes_on: float32[n], 0 where the market ended and
    `following` means nothing."""

    history: Floats
    length: Ints
    action: Ints
    following: Floats
    following_length: Ints
    goes_on: Floats


def transitions(steps: Steps, rows: Ints, window: int) -> Transitions:
    """What the rows saw, did and saw next. The last tick of a market is followed by itself, which counts
    for nothing."""
    ends = steps.ends[rows]
    history, length = windows(steps.ticks, rows, window)
    following, following_length = windows(steps.ticks, np.where(ends, rows, rows + 1), window)
    goes_on = (~ends).astype(np.float32)
    return Transitions(history, length, steps.actions[rows], following, following_length, goes_on)


def earned_usd(steps: Steps, gamma: float) -> Exact:
    """float64[R]: rewards paid as they arise, reward + gamma * worth(t+1) - worth(t), worth 0 after the end.

    Potential-based shaping (Ng, Harada and Russell 1999): every policy's value at a state changes by
    -worth(state), so the best action stays the best, and the costs of an entry are felt at the entry. With
    nothing held, or worth 0 throughout, it is the booked reward to the bit: what pays nothing stays 0.
    """
    worth_after = np.append(steps.worth_usd[1:], 0.0)
    worth_after[steps.ends] = 0.0
    return np.asarray(steps.rewards_usd + (gamma * worth_after - steps.worth_usd), dtype=np.float64)


def returns_of(steps: Steps, rewards: Exact, values: Floats, horizon: Horizon) -> Exact:
    """float64[R]: TD(lambda) returns, lambda = horizon.trace (Sutton and Barto 2018, ch. 12).

    rewards, values: [R] in one unit; values are the critic's. trace 1 is what was earned (Monte Carlo).
    """
    row = np.arange(steps.rows)
    tick = row - steps.ticks.starts
    place: Ints = np.cumsum(steps.ends) - steps.ends
    shape = int(tick.max()) + 1, int(place[-1]) + 1
    reward, value, done = np.zeros(shape), np.zeros(shape), np.ones(shape, dtype=np.bool_)
    reward[tick, place], value[tick, place], done[tick, place] = rewards, values, steps.ends
    trail = Trail(reward, value, done, np.zeros(shape[1]))
    advantages = advantages_of(trail, horizon.gamma, horizon.trace)
    return np.asarray(advantages[tick, place] + value[tick, place], dtype=np.float64)


def digest_of(trajectories: Sequence[Trajectory]) -> str:
    """blake2b-16 over everything of every market: which data a model was trained on."""
    digest = hashlib.blake2b(digest_size=16)
    for played in trajectories:
        digest.update(f"{played.market}\0{played.states.shape}\0".encode())
        digest.update(np.ascontiguousarray(played.states, dtype="<f4").tobytes())
        digest.update(np.ascontiguousarray(played.actions, dtype="<i8").tobytes())
        for column in (played.rewards_usd, played.worth_usd):
            digest.update(np.ascontiguousarray(column, dtype="<f8").tobytes())
        digest.update(np.packbits(played.use).tobytes())
    return digest.hexdigest()
