"""Rules to be measured against: what a world offers at best, and what needs no learning at all."""

import numpy as np
from numpy.typing import NDArray

from arms.fills import BUY, HOLD, SELL
from arms.schema import MARKET_V1
from market.evaluation import Policy
from market.tape import HAS_POSITION, POSITION_PNL, POSITION_SIDE
from market.worlds import CUED, SPIKED

VISIBLE = 0.7
"""Background noise ends at 0.5, spikes and cues start at 0.8."""
RETURNS_1M = MARKET_V1.names.index("returns_1m")

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def hold(histories: Floats, lengths: Ints) -> Ints:
    return np.zeros(len(histories), dtype=np.int64)


def decoy_oracle(window: int, take_profit: float = 0.02) -> Policy:
    """The decoy's best simple rule for a memory of `window` ticks: at the cue, against the newest spike.

    Closes as soon as position_pnl reaches `take_profit` (of 50 USD). A memory too short to hold the spike
    knows no direction at the cue, every blind entry loses, so its best rule is this one, which then holds.
    """

    def act(histories: Floats, lengths: Ints) -> Ints:
        seen = histories[:, -window:]
        entry = np.where(cue_now(seen), action_of(-newest_spike(seen)), HOLD)
        return exit_or(entry, seen[:, -1], take_profit)

    return act


def momentum(histories: Floats, lengths: Ints) -> Ints:
    """Follows the one-minute return; no exit but the opposite signal."""
    return action_of(_strong(histories[:, -1, RETURNS_1M]))


def mean_reversion(histories: Floats, lengths: Ints) -> Ints:
    """Fades the one-minute return; no exit but the opposite signal."""
    return action_of(-_strong(histories[:, -1, RETURNS_1M]))


def random_policy(seed: int, trade_share: float = 0.1) -> Policy:
    """Buys or sells with probability `trade_share`, whatever it sees."""
    rng = np.random.default_rng(seed)

    def act(histories: Floats, lengths: Ints) -> Ints:
        trades = rng.random(len(histories)) < trade_share
        return np.where(trades, rng.integers(BUY, SELL + 1, len(histories)), HOLD).astype(np.int64)

    return act


def cue_now(histories: Floats) -> NDArray[np.bool_]:
    """bool[n]: the newest state shows the cue."""
    return np.asarray((histories[:, -1, CUED] > VISIBLE).all(axis=1))


def newest_spike(histories: Floats) -> Ints:
    """int64[n]: sign of the newest spike in the window, 0 without one."""
    level = histories[:, ::-1, SPIKED[0]]
    spiked = np.abs(level) > VISIBLE
    newest = spiked.argmax(axis=1)
    sign = np.sign(level[np.arange(len(level)), newest])
    return np.where(spiked.any(axis=1), sign, 0).astype(np.int64)


def action_of(signs: Ints) -> Ints:
    """+1 buys, -1 sells, 0 holds."""
    return np.where(signs > 0, BUY, np.where(signs < 0, SELL, HOLD)).astype(np.int64)


def exit_or(entry: Ints, newest: Floats, take_profit: float) -> Ints:
    """`entry` where flat; else the closing action once position_pnl has reached `take_profit`, or hold."""
    closing = np.where(newest[:, POSITION_SIDE] > 0, SELL, BUY)
    managed = np.where(newest[:, POSITION_PNL] >= take_profit, closing, HOLD)
    return np.where(newest[:, HAS_POSITION] > 0, managed, entry).astype(np.int64)


def _strong(returns: Floats) -> Ints:
    return (np.sign(returns) * (np.abs(returns) > 0.2)).astype(np.int64)
