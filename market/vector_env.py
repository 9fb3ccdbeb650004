"""Many tapes in step for online training: `arms.environment.Environment` over the sessions that bots play."""

import hashlib
from collections.abc import Iterator, Sequence

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
        self._order = _shuffled(len(tapes), np.random.default_rng(seed))
        self._sessions = [self._next() for _ in range(markets)]
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
            booked_micro = session.booked_micro
            rewards_usd[place] = (booked_micro - self._booked_micro[place]) / MICRO
            self._booked_micro[place] = booked_micro
            if session.done:
                done[place] = True
                self._replace(place)
        self._look()
        return rewards_usd, done

    def _replace(self, place: int) -> None:
        self._sessions[place] = self._next()
        self._booked_micro[place] = 0
        self._histories[place] = 0.0
        self._lengths[place] = 0

    def _next(self) -> Session:
        return Session(self._tapes[next(self._order)], self._rules)

    def _look(self) -> None:
        """Every place's newest state enters its history, once."""
        self._histories[:, :-1] = self._histories[:, 1:]
        for place, session in enumerate(self._sessions):
            self._histories[place, -1] = session.state()
        self._lengths = np.minimum(self._lengths + 1, self._histories.shape[1])


def _shuffled(count: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(count).tolist()
