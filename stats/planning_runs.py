"""Whole experiments drawn and looked at, to hold beside what `planning` computes.

A unit's decisions are won with a chance of its own, drawn from a Beta law with the question's ICC. Units have
the question's mean number of them, and its coefficient of variation by a rounded Gamma law, at least one
each. Paired arms are drawn for one decision a unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.errors import DesignError
from stats.interval import Interval, wilson
from stats.planning import Question, Sequential, edges, fixed, paired_spread, shadow
from stats.sample_size import Plan

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Sums = Floats
_ROUNDING_VARIANCE = 1.0 / 6.0
"""Of a number rounded up or down at random, so that its mean stays: u(1-u) over even u."""
"""[runs,looks]: the overlap-weighted sum, centred at the baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Share of drawn runs that found the lift by `day`, with its 95% interval (Wilson 1927); `computed`."""

    day: float
    computed: float
    found: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """shadow: None where no pairs were drawn; `why` says why."""

    runs: int
    fixed: Found
    sequential: Found
    shadow: Found | None
    why: str


def simulated(question: Question, plan: Sequential, runs: int, generator: np.random.Generator) -> Runs:
    """The variance is the true one. DesignError for decisions that no such units can have."""
    if runs < 1:
        raise DesignError(f"runs is {runs!r}: draw at least 1")
    if question.trials_per_unit < 1.0 or (question.cv and question.trials_per_unit == 1.0):
        raise DesignError(
            f"trials_per_unit is {question.trials_per_unit!r} and cv {question.cv!r}: a unit that is drawn"
            " has at least 1 decision, and all have 1 where that is the mean; leave the simulation out"
        )
    paired, why = _paired(question, runs, generator)
    return Runs(
        runs=runs,
        fixed=_fixed(question, runs, generator),
        sequential=_sequential(question, plan, runs, generator),
        shadow=paired,
        why=why,
    )


def _sequential(question: Question, plan: Sequential, runs: int, generator: np.random.Generator) -> Found:
    place = plan.look_days.index(plan.days)
    units = [round(day * question.units_per_day) for day in plan.look_days[: place + 1]]
    sums = _sums(question, units, runs, generator) * np.sign(question.lift)
    stopped = np.any(sums >= edges(question, units), axis=1)
    return _found(stopped, plan.days, plan.chances[place])


def _fixed(question: Question, runs: int, generator: np.random.Generator) -> Found:
    needed = fixed(question)
    sums = _sums(question, [needed.units], runs, generator)[:, 0] * np.sign(question.lift)
    edge = Plan(question.alpha, question.power).critical * np.sqrt(question.spread * needed.units)
    return _found(sums >= edge, needed.days, question.power)


def _paired(question: Question, runs: int, generator: np.random.Generator) -> tuple[Found | None, str]:
    needed, spread = shadow(question), paired_spread(question)
    if needed is None or spread is None:
        return None, "no correlation is given"
    if question.trials_per_unit != 1.0:
        return None, "pairs are drawn for one decision a unit only"
    chances = _joint(question)
    if min(chances) < 0.0:
        return None, f"no two such rates can have a correlation of {question.correlation:g}"
    won = generator.multinomial(needed.units, chances, runs)
    gap = (won[:, 1] - won[:, 2]) * np.sign(question.lift)
    edge = Plan(question.alpha, question.power).critical * np.sqrt(spread * needed.units)
    return _found(gap >= edge, needed.days, question.power), ""


def _joint(question: Question) -> tuple[float, float, float, float]:
    """Chances that both arms win, the treatment alone, the control alone, neither."""
    high, low = question.baseline + question.lift, question.baseline
    treated, control = question.variances
    both = high * low + (question.correlation or 0.0) * float(np.sqrt(treated * control))
    return both, high - both, low - both, 1.0 - high - low + both


def _sums(question: Question, units: Sequence[int], runs: int, generator: np.random.Generator) -> Sums:
    e, rate = question.share, question.baseline
    fresh = np.diff(np.array(units), prepend=0)
    treated = generator.binomial(fresh, e, (runs, len(fresh)))
    gained = _gains(treated, rate + question.lift, question, generator)
    kept = _gains(fresh - treated, rate, question, generator)
    sums: Sums = np.cumsum((1.0 - e) * gained - e * kept, axis=1)
    return sums


def _gains(units: Ints, rate: float, question: Question, generator: np.random.Generator) -> Floats:
    """What so many units won beyond the baseline, in decisions of a mean unit."""
    if question.trials_per_unit == 1.0:
        return generator.binomial(units, rate) - question.baseline * units
    gains = np.empty(units.shape)
    for run, counts in enumerate(units):
        sizes = _sizes(question, int(counts.sum()), generator)
        won = generator.binomial(sizes, _chance(rate, question.icc, len(sizes), generator))
        total = np.concatenate(([0.0], np.cumsum(won - question.baseline * sizes)))
        gains[run] = np.diff(total[np.cumsum(counts)], prepend=0.0)
    return gains / question.trials_per_unit


def _chance(rate: float, icc: float, units: int, generator: np.random.Generator) -> Floats:
    """Of each unit's decisions to be won: a Beta law, at its ends a constant and a coin."""
    if icc == 0.0:
        return np.full(units, rate)
    if icc == 1.0:
        return generator.binomial(1, rate, units).astype(np.float64)
    firmness = 1.0 / icc - 1.0
    return generator.beta(rate * firmness, (1.0 - rate) * firmness, units)


def _sizes(question: Question, units: int, generator: np.random.Generator) -> Ints:
    """Decisions of each unit. What rounding adds to their variance the Gamma law has less."""
    beyond, spread = question.trials_per_unit - 1.0, question.cv * question.trials_per_unit
    variance = max(0.0, spread**2 - _ROUNDING_VARIANCE) if question.cv else 0.0
    if beyond > 0.0 and variance > 0.0:
        more = generator.gamma(beyond**2 / variance, variance / beyond, units)
    else:
        more = np.full(units, beyond)
    return 1 + np.floor(more + generator.random(units)).astype(np.int64)


def _found(stopped: npt.NDArray[np.bool_], day: float, computed: float) -> Found:
    count = int(np.count_nonzero(stopped))
    interval = wilson(count, len(stopped)) or Interval(0.0, 1.0)
    return Found(day=day, computed=computed, found=count / len(stopped), low=interval.low, high=interval.high)
