"""Tapes played by a behaviour policy that tries things, as trajectories for offline learning.

It enters at random, more often where something happened and never once the exit rule is flattening, and gets
out by that rule, sometimes early and sometimes late. It looks at the present alone. The roll of
`market.labels` may enter where an entry will have paid, because labels are worth the same whoever rolled; an
action taken because of what comes would make itself look good here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from arms.fills import BUY, MICRO, SELL, TradingRules
from arms.paper import PNL_SCALE_MICRO
from arms.trajectories import Trajectory
from market.errors import TapeError
from market.labels import EVENTFUL, ExitRule
from market.session import Session, fill_ticks
from market.tape import EXOGENOUS, HAS_POSITION, POSITION_PNL, POSITION_SIDE, Tape

PNL_SCALE_USD: Final = PNL_SCALE_MICRO / MICRO


@dataclass(frozen=True, slots=True, kw_only=True)
class Explorer:
    """Chances per tick. quiet_entry, eventful_entry: of entering when flat, either side alike; a tick is
    eventful when a feature has moved by more than EVENTFUL. early_exit: of closing before the rule says so.
    rule_exit: of closing when it does. quiet_share: share of the other ticks that are kept for learning;
    which ticks they are depends on nothing that was decided there."""

    quiet_entry: float = 0.01
    eventful_entry: float = 0.5
    early_exit: float = 0.15
    rule_exit: float = 0.8
    quiet_share: float = 0.15

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            if not 0 <= getattr(self, name) <= 1:
                raise TapeError(f"explorer {name} is {getattr(self, name)}: it must lie in [0, 1]")


DEFAULT_EXPLORER: Final = Explorer()


def rolled_out(
    tapes: Sequence[Tape],
    rule: ExitRule,
    seed: int,
    explorer: Explorer = DEFAULT_EXPLORER,
    rules: TradingRules | None = None,
) -> tuple[Trajectory, ...]:
    """One trajectory per tape, in their order. The same seed gives the same bytes.

    rules: replaces every tape's own fees and the default stake. Raises TapeError where the exit rule waits
    for a result that a state cannot show.
    """
    if max(rule.take_profit_usd, rule.stop_loss_usd) > PNL_SCALE_USD:
        raise TapeError(
            f"the exit rule waits for {max(rule.take_profit_usd, rule.stop_loss_usd):g} USD and a state "
            f"shows {PNL_SCALE_USD:g} at most: choose take_profit_usd and stop_loss_usd within that"
        )
    return tuple(
        trajectory_of(Session(tape, rules), rule, explorer, np.random.default_rng((seed, i)))
        for i, tape in enumerate(tapes)
    )


def trajectory_of(
    session: Session, rule: ExitRule, explorer: Explorer, rng: np.random.Generator
) -> Trajectory:
    """Plays a session from its first tick to its end."""
    tape = session.tape
    ticks = len(tape.tick_us)
    meets = fill_ticks(tape.tick_us, session.rules.latency_us)
    eventful = _eventful(tape.features)
    draws, coins, kept = rng.random(ticks), rng.random(ticks), rng.random(ticks) < explorer.quiet_share
    states = np.empty_like(tape.features)
    actions = np.zeros(ticks, dtype=np.int64)
    rewards_usd = np.zeros(ticks)
    wants_out, waits = np.zeros(ticks, dtype=np.bool_), np.zeros(ticks, dtype=np.bool_)
    enters = np.where(eventful, explorer.eventful_entry, explorer.quiet_entry)
    enters[tape.left_us <= rule.flatten_left_us] = 0.0
    free_from = booked_micro = 0
    for tick in range(ticks):
        states[tick] = state = session.state()
        wants_out[tick] = _wants_out(state, int(tape.left_us[tick]), rule)
        waits[tick] = tick < free_from
        if not waits[tick]:
            leaves = explorer.rule_exit if wants_out[tick] else explorer.early_exit
            if draws[tick] < (leaves if state[HAS_POSITION] > 0 else enters[tick]):
                actions[tick] = _order(state, coins[tick])
                free_from = int(meets[tick])
        session.step(int(actions[tick]))
        rewards_usd[tick] = (session.booked_micro - booked_micro) / MICRO
        booked_micro = session.booked_micro
    worth_usd = states[:, POSITION_PNL].astype(np.float64) * PNL_SCALE_USD
    use = (eventful | wants_out | kept) & ~waits
    return Trajectory(tape.market, states, actions, rewards_usd, worth_usd, use)


def _order(state: NDArray[np.float32], coin: float) -> int:
    """Closes what is held, else opens the coin's side."""
    if state[HAS_POSITION] > 0:
        return SELL if state[POSITION_SIDE] > 0 else BUY
    return BUY if coin < 0.5 else SELL


def _wants_out(state: NDArray[np.float32], left_us: int, rule: ExitRule) -> bool:
    if state[HAS_POSITION] == 0:
        return False
    result_usd = float(state[POSITION_PNL]) * PNL_SCALE_USD
    done = result_usd >= rule.take_profit_usd or result_usd <= -rule.stop_loss_usd
    return done or left_us <= rule.flatten_left_us


def _eventful(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    moved = np.abs(np.diff(features[:, EXOGENOUS], axis=0, prepend=features[:1, EXOGENOUS]))
    return np.asarray((moved > EVENTFUL).any(axis=1))
