"""Markets as training data: states, what each action was worth, and windows gathered by index.

Windows are never laid out up front (that would be 20 copies of every state) and never reach across the edge
of a market: what came before its first tick is zero and masked, as it is when serving.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arms.errors import EpisodeError

ACTION_COUNT = 3


@dataclass(frozen=True, slots=True)
class Episode:
    """One market. states: float32[T,F], oldest first. values: float32[T,3], net USD of hold, buy, sell at
    that tick, spread and fees paid. use: bool[T], ticks worth learning from (quoted, early enough to act)."""

    market: str
    states: NDArray[np.float32]
    values: NDArray[np.float32]
    use: NDArray[np.bool_]

    def __post_init__(self) -> None:
        ticks = len(self.states)
        if self.states.ndim != 2 or self.values.shape != (ticks, ACTION_COUNT) or self.use.shape != (ticks,):
            raise EpisodeError(
                f"episode {self.market}: states {self.states.shape}, values {self.values.shape} "
                f"and use {self.use.shape} must be [T,F], [T,{ACTION_COUNT}] and [T]"
            )
        if not np.isfinite(self.states).all() or not np.isfinite(self.values[self.use]).all():
            raise EpisodeError(
                f"episode {self.market} holds NaN or infinity: mark unknown ticks use=False, states 0"
            )


@dataclass(frozen=True, slots=True)
class Ticks:
    """Many markets end to end. starts: int64[N], the first row of the market that a row belongs to."""

    states: NDArray[np.float32]
    values: NDArray[np.float32]
    starts: NDArray[np.int64]
    usable: NDArray[np.int64]


def joined(episodes: Sequence[Episode]) -> Ticks:
    """Stack the markets; `usable` are the row numbers with use=True."""
    if not episodes:
        raise EpisodeError("there are no episodes: record or simulate at least one market")
    lengths = np.array([len(episode.states) for episode in episodes], dtype=np.int64)
    first_rows = np.cumsum(lengths) - lengths
    return Ticks(
        states=np.concatenate([episode.states for episode in episodes]).astype(np.float32, copy=False),
        values=np.concatenate([episode.values for episode in episodes]).astype(np.float32, copy=False),
        starts=np.repeat(first_rows, lengths),
        usable=np.flatnonzero(np.concatenate([episode.use for episode in episodes])).astype(np.int64),
    )


def windows(
    ticks: Ticks, rows: NDArray[np.int64], window: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """float32[n,window,F] ending at `rows`, front-padded with zeros, and int64[n] how many states are
    real."""
    index = rows[:, None] + np.arange(1 - window, 1, dtype=np.int64)
    real = index >= ticks.starts[rows][:, None]
    gathered = ticks.states[np.where(real, index, rows[:, None])]
    gathered *= real[:, :, None]
    return gathered, real.sum(axis=1, dtype=np.int64)


def digest_of(episodes: Sequence[Episode]) -> str:
    """blake2b-16 over names, states, values and use of every market: which data a model was trained on."""
    digest = hashlib.blake2b(digest_size=16)
    for episode in episodes:
        digest.update(f"{episode.market}\0{episode.states.shape}\0".encode())
        digest.update(np.ascontiguousarray(episode.states, dtype="<f4").tobytes())
        digest.update(np.ascontiguousarray(episode.values, dtype="<f4").tobytes())
        digest.update(np.packbits(episode.use).tobytes())
    return digest.hexdigest()
