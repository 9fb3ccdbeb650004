"""Which units of a log may speak about another policy, and what each brought: the report's mature ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from router.cohort import Bools, cohort_of, first_fill
from router.errors import UnknownArm
from stats.arm_report import MICRO
from store import experiments
from store.logged_actions import Wanted
from store.named_units import read_named_units
from store.records import Experiment, Fill
from store.unit_columns import UnitColumns

_DAY_US = 86_400_000_000
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Which:
    """fill: None is that of the report. days: only units that matured in so many days. arm: only units that
    the coin gave it: under one logging policy weights vary less.
    """

    fill: Fill | None = None
    days: int | None = None
    arm: str | None = None


EVERY = Which()


@dataclass(frozen=True, slots=True)
class LoggedUnit:
    """pnl_micro: net. won: 1.0 or 0.0, by the experiment's rule; a unit without a trade did not win."""

    pnl_micro: int
    won: float
    decisions: int

    @property
    def pnl_usd(self) -> float:
        """The same as a float."""
        return self.pnl_micro / MICRO


@dataclass(frozen=True, slots=True)
class LoggedUnits:
    """by_name: mature units of one fill. wanted: what to read to have all their decisions."""

    experiment: Experiment
    fill: str
    by_name: dict[str, LoggedUnit]
    wanted: Wanted


def read_logged_units(connection: Connection, key: str, now_us: int, which: Which = EVERY) -> LoggedUnits:
    """Raises UnknownArm where `arm` is none of the experiment's."""
    experiment = experiments.get(connection, key)
    named = read_named_units(connection, key)
    columns = named.columns
    cohort = cohort_of(experiment, columns, now_us)
    judged = which.fill or first_fill(columns, cohort)
    since_us = 0 if which.days is None else now_us - which.days * _DAY_US
    mask = cohort.mature & (columns.fill == judged) & (cohort.matured_at_us >= since_us)
    rows = np.flatnonzero(mask & _of_arm(experiment, columns, which.arm))
    won = columns.won == 1 if experiment.win == "reported" else columns.pnl_micro > 0
    won &= columns.market_trades > 0
    pnl, decisions = columns.pnl_micro, columns.decisions
    units = {
        named.names[row]: LoggedUnit(int(pnl[row]), float(won[row]), int(decisions[row]))
        for row in rows.tolist()
    }
    first_us = int(columns.first_at_us[rows].min()) if len(rows) else now_us
    return LoggedUnits(experiment, judged, units, Wanted(key, judged, first_us))


def _of_arm(experiment: Experiment, columns: UnitColumns, arm: str | None) -> Bools:
    if arm is None:
        return np.ones(len(columns), dtype=np.bool_)
    if arm not in experiment.arms:
        raise UnknownArm(arm, list(experiment.arms))
    own: Bools = columns.arm == arm
    return own
