"""A log with a candidate's answers: what can be weighed, what it brought, what is left out."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from router.candidate import Answered, Candidate, LeftOut, answered
from router.logged_units import LoggedUnits
from stats.arm_report import MICRO
from store.logged_actions import LoggedAction, units_in
from store.records import ACTIONS

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a unit's decisions: columns, for there may be millions."""

    rows: Answered
    pnl_micro: NDArray[np.int64]
    won: Floats
    first_state: NDArray[np.float32]
    arms: frozenset[str]


@dataclass(frozen=True, slots=True)
class Log:
    """The units that can be weighed, numbered in the order of their names. unit: number of each decision's.

    firsts: state of each unit's first decision. *_rewards: by name. arms: that answered. left_out: units by
    why. unexplained: units whose trades do not add up to their result.
    """

    rows: Answered
    unit: NDArray[np.int64]
    firsts: Floats
    unit_rewards: dict[str, Floats]
    decision_rewards: dict[str, Floats]
    arms: list[str]
    left_out: dict[str, int]
    unexplained: int

    @property
    def units(self) -> int:
        """How many."""
        return len(self.firsts)


def read_log(
    connection: Connection, chosen: LoggedUnits, candidate: Candidate, tell: Callable[[int], None]
) -> Log:
    """Reads and asks unit by unit; tell hears how many are done."""
    taken: dict[str, Kept] = {}
    left: Counter[str] = Counter()
    for name, actions in units_in(connection, chosen.wanted):
        if name not in chosen.by_name:
            continue
        is_whole = len(actions) == chosen.by_name[name].decisions
        found = answered(actions, candidate) if is_whole else "decisions_gone"
        if isinstance(found, Answered):
            taken[name] = _kept(found, actions)
        else:
            left[found] += 1
        tell(len(taken))
    left["decisions_gone"] += len(chosen.by_name) - len(taken) - left.total()
    return _log(chosen, dict(sorted(taken.items())), {word: left[word] for word in get_args(LeftOut)})


def won_of(action: LoggedAction) -> float:
    """1.0 where the decision opened a trade that won, as reported or by its PnL."""
    won = action.won if action.won is not None else (action.pnl_micro or 0) > 0
    return float(won)


def _kept(found: Answered, actions: Sequence[LoggedAction]) -> Kept:
    first = min(range(len(actions)), key=lambda i: actions[i].received_at_us)
    return Kept(
        rows=found,
        pnl_micro=np.array([action.pnl_micro or 0 for action in actions], dtype=np.int64),
        won=np.array([won_of(action) for action in actions], dtype=np.float64),
        first_state=found.states[first],
        arms=frozenset(action.served_arm for action in actions),
    )


def _log(chosen: LoggedUnits, taken: Mapping[str, Kept], left_out: dict[str, int]) -> Log:
    kept = list(taken.values())
    units = [chosen.by_name[name] for name in taken]
    sums = [int(each.pnl_micro.sum()) for each in kept]
    return Log(
        rows=_joined([each.rows for each in kept]),
        unit=np.repeat(np.arange(len(kept)), [len(each.won) for each in kept]),
        firsts=np.array([each.first_state for each in kept], dtype=np.float64),
        unit_rewards={
            "pnl_usd": np.array([unit.pnl_usd for unit in units], dtype=np.float64),
            "win": np.array([unit.won for unit in units], dtype=np.float64),
        },
        decision_rewards={
            "pnl_usd": _end_to_end([each.pnl_micro / MICRO for each in kept]),
            "win": _end_to_end([each.won for each in kept]),
        },
        arms=sorted(frozenset[str]().union(*(each.arms for each in kept))),
        left_out=left_out,
        unexplained=sum(total != unit.pnl_micro for total, unit in zip(sums, units, strict=True)),
    )


def _end_to_end(columns: list[Floats]) -> Floats:
    return np.concatenate([np.zeros(0), *columns])


def _joined(rows: list[Answered]) -> Answered:
    if not rows:
        nothing = np.zeros((0, len(ACTIONS)))
        return Answered(np.zeros(0, np.int64), nothing, nothing, np.zeros(0), np.zeros((0, 1), np.float32))
    names = Answered.__dataclass_fields__
    return Answered(**{name: np.concatenate([getattr(found, name) for found in rows]) for name in names})
