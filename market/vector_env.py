"""Many tapes in step for online training: `arms.environment.Environment` over the sessions that bots play."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arms.fills import MICRO, TradingRules
from arms.schema import MARKET_V1
from market.errors import TapeError
from market.session import Session
from market.tape import Tape


class VectorEnv:
    """`markets` sessions at a time, each over the next tape of a seeded order that goes through all tapes
    before it meets one again.

    The reward is USD booked at a step: closed trades and settlement, spread and fees paid, at the book as it
    is at the first tick after the latency. `rules` replaces every tape's own fees and the default stake.
    """

    def __init__(
        self,
        tapes: Sequence[Tape],
        markets: int,
        window: int,
        seed: int,
        rules: TradingRules | None = None,
    ) -> None:
        if not tapes:
            raise TapeError("there are no tapes: read a recording or simulate at least one market")
        if markets < 1 or window < 1:
            raise TapeError(f"markets {markets} and window {window} must be 1 or more")
        self._tapes, self._rules = tapes, rules
        self._seed, self._drawn = seed, 0
        self._order = _shuffled(len(tapes), seed)
        self._played = [self._next() for _ in range(markets)]
        self._actions: list[list[int]] = [[] for _ in range(markets)]
        self._sessions = [self._session(number) for number in self._played]
        self._booked_micro = [0] * markets
        self._histories = np.zeros((markets, window, MARKET_V1.width), dtype=np.float32)
        self._lengths = np.zeros(markets, dtype=np.int64)
        self._look()

    @property
    def markets(self) -> int:
        return len(self._sessions)

    @property
    def shape(self) -> tuple[int, int]:
        return self._histories.shape[1], self._histories.shape[2]

    @property
    def digest(self) -> str:
        """blake2b-16 over the tapes' digests in order, and the rules."""
        content = ",".join((*(tape.digest for tape in self._tapes), repr(self._rules)))
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def observe(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return self._histories.copy(), self._lengths.copy()

    def step(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        rewards_usd = np.zeros(self.markets)
        done = np.zeros(self.markets, dtype=np.bool_)
        for place, action in enumerate(actions.tolist()):
            session = self._sessions[place]
            session.step(action)
            self._actions[place].append(action)
            booked_micro = session.booked_micro
            rewards_usd[place] = (booked_micro - self._booked_micro[place]) / MICRO
            self._booked_micro[place] = booked_micro
            if session.done:
                done[place] = True
                self._replace(place)
        self._look()
        return rewards_usd, done

    def state(self) -> dict[str, NDArray[Any]]:
        """drawn: int64[1], tapes taken from the order so far. tape and ticks: int64[N], which tape a place
        plays and how far. actions: int8[N,most ticks], what was played in it, padded with 0.

        A session is its tape and the actions in it, so nothing of the session itself is kept.
        """
        ticks = np.array([len(actions) for actions in self._actions], dtype=np.int64)
        played = np.zeros((self.markets, int(ticks.max())), dtype=np.int8)
        for row, actions in zip(played, self._actions, strict=True):
            row[: len(actions)] = actions
        drawn, tape = np.array([self._drawn], dtype=np.int64), np.array(self._played, dtype=np.int64)
        return {"drawn": drawn, "tape": tape, "ticks": ticks, "actions": played}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Plays the running markets again up to where they stood. TapeError: other places or tapes."""
        tape, ticks = state["tape"], state["ticks"]
        if len(tape) != self.markets or tape.max() >= len(self._tapes):
            raise TapeError(
                f"what is kept plays {len(tape)} markets of at least {tape.max() + 1} tapes, and here are "
                f"{self.markets} of {len(self._tapes)}: go on with the tapes and places that it had"
            )
        self._drawn = int(state["drawn"][0])
        self._order = islice(_shuffled(len(self._tapes), self._seed), self._drawn, None)
        self._played = tape.tolist()
        rows = zip(state["actions"], ticks.tolist(), strict=True)
        self._actions = [actions[:count].tolist() for actions, count in rows]
        for place in range(self.markets):
            self._replay(place)

    def _replay(self, place: int) -> None:
        session = self._session(self._played[place])
        for action in self._actions[place]:
            session.step(action)
        shown = session.history(self._histories.shape[1])
        self._histories[place] = 0.0
        self._histories[place, self._histories.shape[1] - len(shown) :] = shown
        self._lengths[place] = len(shown)
        self._sessions[place], self._booked_micro[place] = session, session.booked_micro

    def _replace(self, place: int) -> None:
        self._played[place], self._actions[place] = self._next(), []
        self._sessions[place] = self._session(self._played[place])
        self._booked_micro[place] = 0
        self._histories[place] = 0.0
        self._lengths[place] = 0

    def _next(self) -> int:
        self._drawn += 1
        return next(self._order)

    def _session(self, number: int) -> Session:
        return Session(self._tapes[number], self._rules)

    def _look(self) -> None:
        """Every place's newest state enters its history, once."""
        self._histories[:, :-1] = self._histories[:, 1:]
        for place, session in enumerate(self._sessions):
            self._histories[place, -1] = session.state()
        self._lengths = np.minimum(self._lengths + 1, self._histories.shape[1])


def _shuffled(count: int, seed: int) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.permutation(count).tolist()
