"""A log whose arms are dealt anew: how often a method finds a difference where there is none.

Within a stratum (stage and propensity) the coin was the same for all units, so if arms change nothing every
deal of the arms that fell there was as likely as the one that came (Fisher 1935): what units brought, when,
and how they hang together stays as it was. Each deal is looked at as the report is, and called by three
methods: a z over trades as if they were independent; the report's estimate with its unit-level error against
a fixed quantile, at every look; the report's own sequence.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stats.effect import Effect, Pair, effect_on, enough, interval, path_of
from stats.interval import clopper_pearson
from stats.scores import Scores
from stats.sequence import Look
from stats.special import normal_quantile
from stats.status import Metric
from stats.two_by_two import TwoByTwo
from stats.two_proportion import pooled_z

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
METHODS = ("naive", "clustered", "ours")


@dataclass(frozen=True, slots=True)
class Log:
    """scores: of the pair, their `day` being the look that a unit is first in. stratum: within which arms are
    dealt. trades, trade_wins: of each unit, for the naive test.
    """

    scores: Scores
    stratum: Ints
    trades: Ints
    trade_wins: Ints


@dataclass(frozen=True, slots=True)
class Call:
    """Whether a method finds a difference: at any look, and at the last."""

    ever: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Rate:
    """Share of the deals, with its exact 95% interval (Clopper and Pearson 1934)."""

    share: float
    low: float
    high: float


def rate_of(called: int, deals: int) -> Rate:
    """deals: at least 1."""
    found = clopper_pearson(called, deals)
    if found is None:
        raise ValueError("no deal was made: make at least 1")
    return Rate(called / deals, found.low, found.high)


def dealt(log: Log, generator: np.random.Generator) -> Log:
    """The arms of each stratum in another order; everything else as it was."""
    held = np.argsort(log.stratum, kind="stable")
    fresh = np.lexsort((generator.random(len(held)), log.stratum))
    treated = np.empty_like(log.scores.treated)
    treated[held] = log.scores.treated[fresh]
    return replace(log, scores=replace(log.scores, treated=treated))


def planted(log: Log, metric: Metric, lift: float, generator: np.random.Generator) -> Log:
    """The treated brought more by `lift`. Of a rate: units that lost win as often as it takes (those that won
    lose, for a fall); of money: every unit gets it, in the unit of the scores. ValueError where a rate has no
    room for it. The naive test's columns stay.
    """
    scores = log.scores
    if metric == "pnl":
        return replace(log, scores=replace(scores, sums=scores.sums + lift * scores.trials * scores.treated))
    counted = scores.trials > 0.0
    rate = float(scores.sums[counted].mean()) if np.any(counted) else 0.0
    was, room = (0.0, 1.0 - rate) if lift > 0.0 else (1.0, rate)
    if not 0.0 < abs(lift) <= room:
        raise ValueError(
            f"lift is {lift:g}: a rate of {rate:.3f} has no room for it; give a smaller one, not 0"
        )
    turned = generator.random(len(counted)) < abs(lift) / room
    sums = np.where(counted & scores.treated & turned & (scores.sums == was), 1.0 - was, scores.sums)
    return replace(log, scores=replace(scores, sums=sums))


def calls(log: Log, pair: Pair) -> dict[str, Call]:
    """What each method says of a log."""
    path = path_of(log.scores, pair)
    return {
        "naive": _naive(log, pair.alpha),
        "clustered": _clustered(path, pair.alpha),
        "ours": _ours(path, effect_on(path, log.scores, pair), pair),
    }


def _ours(path: list[Look], found: Effect, pair: Pair) -> Call:
    """Whatever a look said stays said, also where a later one withholds the interval again."""
    last = found.low is not None and found.high is not None and not found.low <= 0.0 <= found.high
    if found.status in {"invalid_design", "degenerate"} or pair.rho is None:
        return Call(last, last)
    looks = (look for look in path if enough(look, pair.metric))
    bounds = (interval(look, pair.metric, pair.rho, pair.alpha) for look in looks)
    return Call(last or any(not low <= 0.0 <= high for low, high in bounds), last)


def _clustered(path: list[Look], alpha: float) -> Call:
    critical = normal_quantile(1.0 - alpha / 2.0)
    said = [abs(k.effect) > critical * k.error for k in path if k.has_both and k.ready]
    return Call(any(said), bool(said) and said[-1])


def _naive(log: Log, alpha: float) -> Call:
    """At the end of each day, over all trades so far."""
    scores = log.scores
    ends = np.flatnonzero(np.diff(scores.day, append=scores.day[-1:] + 1))
    totals = [
        np.cumsum(np.where(scores.treated == arm, values, 0))[ends]
        for arm in (True, False)
        for values in (log.trade_wins, log.trades)
    ]
    tests = (pooled_z(TwoByTwo(*map(int, row))) for row in zip(*totals, strict=True))
    said = [test.p is not None and test.p < alpha for test in tests]
    return Call(any(said), bool(said) and said[-1])


def even_looks(units: int, looks: int) -> Ints:
    """The look that each unit is first in: as many units in each, in their order."""
    return np.arange(units, dtype=np.int64) * looks // max(1, units)
