"""The betting e-process: a gambler who can only win if the coin mattered. Valid from the first unit on.

Each unit offers the bet x = (A - e)(Y - m) in [-1, 1]: A its coin, e the coin's bias, Y in [0, 1] what the
unit brought, m the mean of past days. If the treatment changes nothing, x has mean 0 given everything before
the coin, and no wealth that is never negative can be expected to grow (Waudby-Smith and Ramdas, JRSS B 2024;
Shekhar and Ramdas 2023). Nothing here is asymptotic: it is the second opinion below 20 units an arm, and for
audits.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.boundary import e_from_log, p_from_log_e
from stats.centre import daily_centre
from stats.errors import UnitsError
from stats.moments import group_sums
from stats.scores import Scores

Floats = npt.NDArray[np.float64]

STAKES = np.array([0.03, 0.06, 0.12, 0.25, 0.5, 0.9])


@dataclass(frozen=True, slots=True)
class Bet:
    """e_value: wealth now, from 1. p = 1 / the largest so far. units: bets that could go either way."""

    e_value: float
    p: float
    log_e: float
    units: int


def bet(scores: Scores, prior: float) -> Bet:
    """On "the treatment changes nothing", two-sided, over all units so far. prior: m before the first day."""
    path = log_wealth(payoffs(scores, prior))
    now = float(path[-1]) if len(path) else 0.0
    best = float(path.max()) if len(path) else 0.0
    units = int(np.count_nonzero(scores.judged & (scores.trials > 0.0)))
    return Bet(e_from_log(now), p_from_log_e(best), now, units)


def payoffs(scores: Scores, prior: float) -> Floats:
    """x of each unit, in order; 0 without trials, or where the coin had one side."""
    if not 0.0 <= prior <= 1.0:
        raise UnitsError(f"prior is {prior!r}: outcomes lie in [0, 1], and so does their mean")
    counted = scores.trials > 0.0
    outcome = np.divide(scores.sums, scores.trials, out=np.zeros_like(scores.sums), where=counted)
    if scores.reference != 0.0 or not np.all((outcome >= 0.0) & (outcome <= 1.0)):
        raise UnitsError(
            "an outcome lies outside [0, 1]: bet on a rate, or on money held within caps and scaled"
        )
    if len(outcome) == 0:
        return np.zeros(0)
    day = np.cumsum(np.diff(scores.day, prepend=scores.day[:1]) != 0, dtype=np.int64)
    days = int(day[-1]) + 1
    past = daily_centre(
        group_sums(day, outcome, days), group_sums(day, counted.astype(np.float64), days), prior, 0.0, 1.0
    )
    result: Floats = np.where(
        counted & scores.judged, (scores.treated - scores.e) * (outcome - past[day]), 0.0
    )
    return result


def log_wealth(payoff: Floats) -> Floats:
    """ln E after each bet: half the wealth bets on gains, half on losses, each spread over six stakes."""
    if not np.all(np.abs(payoff) <= 1.0):
        raise UnitsError("a payoff lies outside [-1, 1]: the wealth could become negative")
    staked = payoff[:, None] * STAKES
    up, down = (np.logaddexp.reduce(np.cumsum(np.log1p(side), axis=0), axis=1) for side in (staked, -staked))
    result: Floats = np.logaddexp(up, down) - math.log(2 * len(STAKES))
    return result
