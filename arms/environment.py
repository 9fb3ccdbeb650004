"""What online training plays, and what it keeps of it: many markets in step, one row per market and tick.

State, action, odds and value of a tick are stored together, before the next tick is looked at. A state is
stored once; windows are gathered from it by index, and a rollout begins with the states its first windows
reach back to, so training sees to the bit what was seen while playing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Exact = NDArray[np.float64]

Answer = Callable[[Floats, Ints], tuple[Floats, Floats]]
"""histories float32[n,window,F] and lengths int64[n] -> log odds of the actions float32[n,3] and the value of
the state float32[n], in units of the reward scale."""


class Environment(Protocol):
    """N markets in step. A market that ends gives its place to the next one, so there are always N."""

    @property
    def markets(self) -> int:
        """N."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """(window, F) of a history."""
        ...

    @property
    def digest(self) -> str:
        """32 hex digits of everything that can be met here: what a model was trained on."""
        ...

    def observe(self) -> tuple[Floats, Ints]:
        """Histories float32[N,window,F], newest last, front-padded with 0, and lengths int64[N] of real
        states, 1 or more; the first state of a market has length 1. The arrays are the caller's."""
        ...

    def step(self, actions: Ints) -> tuple[Exact, Bools]:
        """Plays int64[N]: net USD booked at this step, float64[N], and whether that ended the market,
        bool[N]."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """All by which it goes on from here: what is played, and what comes next."""
        ...

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Stands where one stood that was made in the same way."""
        ...


@dataclass(frozen=True, slots=True)
class Rollout:
    """T ticks of N markets; row r is tick r // N of place r % N.

    states: float32[window-1+T,N,F], the first window-1 from before. lengths, actions, greedy: int64[T,N].
    log_probs, values: float32[T,N]. rewards_usd: float64[T,N]. done: bool[T,N], the market in this place
    ended with this tick. last_values: float32[N], of the states after the last tick.
    """

    states: Floats
    lengths: Ints
    actions: Ints
    greedy: Ints
    log_probs: Floats
    values: Floats
    rewards_usd: Exact
    done: Bools
    last_values: Floats

    @property
    def rows(self) -> int:
        return self.actions.size

    @property
    def window(self) -> int:
        return len(self.states) - len(self.actions) + 1

    def windows(self, rows: Ints) -> tuple[Floats, Ints]:
        """float32[n,window,F] and int64[n], as they were observed."""
        tick, place = np.divmod(rows, self.actions.shape[1])
        length = self.lengths[tick, place]
        back = np.arange(self.window)
        gathered = self.states[tick[:, None] + back, place[:, None]]
        gathered *= (back >= self.window - length[:, None])[:, :, None]
        return gathered, length


def rollout(environment: Environment, answer: Answer, ticks: int, rng: np.random.Generator) -> Rollout:
    """Plays on for `ticks` ticks with actions drawn from the odds."""
    histories, lengths = environment.observe()
    states = [*histories[:, :-1].swapaxes(0, 1)]
    seen, actions, greedy, log_probs, values, rewards_usd, done = ([] for _ in range(7))
    for _ in range(ticks):
        odds, value = answer(histories, lengths)
        action = drawn(odds, rng)
        paid_usd, ended = environment.step(action)
        states.append(histories[:, -1])
        seen.append(lengths)
        actions.append(action)
        greedy.append(odds.argmax(axis=1))
        log_probs.append(odds[np.arange(len(action)), action])
        values.append(value)
        rewards_usd.append(paid_usd)
        done.append(ended)
        histories, lengths = environment.observe()
    return Rollout(
        states=np.stack(states),
        lengths=np.stack(seen),
        actions=np.stack(actions),
        greedy=np.stack(greedy),
        log_probs=np.stack(log_probs),
        values=np.stack(values),
        rewards_usd=np.stack(rewards_usd),
        done=np.stack(done),
        last_values=answer(histories, lengths)[1],
    )


def drawn(log_probs: Floats, rng: np.random.Generator) -> Ints:
    """int64[n], one action per row with these odds (the Gumbel-max trick)."""
    return np.asarray((log_probs + rng.gumbel(size=log_probs.shape)).argmax(axis=1), dtype=np.int64)
