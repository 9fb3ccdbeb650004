"""A gymnasium environment over tapes, so that any RL library can learn or be measured on the same fills."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from arms.fills import MICRO, TradingRules
from arms.schema import MARKET_V1
from market.errors import TapeError
from market.session import Session
from market.tape import Tape

State = NDArray[np.float32]


class MarketEnv(gymnasium.Env[State, np.int64]):
    """One episode is one tape, drawn by the seeded generator of the environment, or `options={"tape": i}`.

    Observation: the last `window` states, float32[window,F], front-padded with 0. Action: 0 hold, 1 buy,
    2 sell. Reward: USD booked at this step (closed trades and settlement, fees paid), so rewards sum to the
    market's net PnL. The last observation repeats the last tick's history. info["length"]: real states.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (gymnasium's own declaration)

    def __init__(self, tapes: Sequence[Tape], window: int, rules: TradingRules | None = None) -> None:
        if not tapes:
            raise TapeError("there are no tapes: read a recording or simulate at least one market")
        self._tapes, self._window, self._rules = tapes, window, rules
        low, high = (np.tile(bound, (window, 1)) for bound in (MARKET_V1.low, MARKET_V1.high))
        # Padding is 0, which every feature's range contains.
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Discrete(3)
        self._session = Session(tapes[0], rules)
        self._last: tuple[State, dict[str, Any]] = self._observe()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[State, dict[str, Any]]:
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(len(self._tapes)))
        self._session = Session(self._tapes[(options or {}).get("tape", drawn)], self._rules)
        self._last = self._observe()
        return self._last

    def step(self, action: np.int64) -> tuple[State, float, bool, bool, dict[str, Any]]:
        before = self._session.booked_micro
        self._session.step(int(action))
        if not self._session.done:
            self._last = self._observe()
        reward_usd = (self._session.booked_micro - before) / MICRO
        state, info = self._last
        return state, reward_usd, self._session.done, False, info

    def _observe(self) -> tuple[State, dict[str, Any]]:
        history = self._session.history(self._window)
        padded = np.zeros((self._window, history.shape[1]), dtype=np.float32)
        padded[self._window - len(history) :] = history
        return padded, {"length": len(history), "market": self._session.tape.market}
