"""Three ways to see the same lift, planned side by side: a fixed test, our sequence, paired shadows.

A unit's rate over m decisions has variance p(1 - p) DEFF / m (`design_effect`). With share e a unit of the
pair moves the overlap-weighted sum by e(1 - e) lift and its variance by e(1 - e)((1 - e) v1 + e v0); the
sequence stops where that sum leaves `boundary.radius` (Brownian limit, integrated look by look: Armitage,
McPherson, Rowe 1969). Stops in the wrong direction do not count as power. A fall is planned as a rise is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stats import boundary
from stats.design_effect import design_effect
from stats.errors import DesignError
from stats.group_sequential import Boundaries, crossed_by
from stats.sample_size import Plan
from stats.scale import rate_variance, rho_of
from stats.special import normal_quantile

MOST_LOOKS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """lift: the treatment's rate less `baseline`. share: the treatment's. trials_per_unit: mean decisions
    that a unit's rate is over; cv: their coefficient of variation. correlation: of both arms' rates on one
    unit. plan_units: what the sequence's scale is made for.
    """

    baseline: float
    lift: float
    share: float
    units_per_day: float
    alpha: float = 0.05
    power: float = 0.8
    trials_per_unit: float = 1.0
    icc: float = 0.0
    cv: float = 0.0
    correlation: float | None = None
    plan_units: int = 2000

    def __post_init__(self) -> None:
        Plan(self.alpha, self.power)
        if not (0.0 < self.baseline < 1.0 and 0.0 < self.baseline + self.lift < 1.0):
            raise DesignError(
                f"baseline is {self.baseline!r} and lift {self.lift!r}: give a baseline inside (0, 1), say"
                " 0.55, and a lift that leaves the rate there"
            )
        if self.lift == 0.0:
            raise DesignError("lift is 0: give the change that should be seen, say 0.05; no size shows none")
        if not 0.0 < self.share < 1.0:
            raise DesignError(f"share is {self.share!r}: give the treatment's share inside (0, 1), say 0.1")
        if not 0.0 < self.units_per_day < math.inf:
            raise DesignError(f"units_per_day is {self.units_per_day!r}: give a number above 0, say 384")
        if not (self.trials_per_unit < math.inf and self.cv < math.inf and self.plan_units >= 1):
            raise DesignError("trials_per_unit and cv must be finite and plan_units at least 1")
        if self.correlation is not None and not -1.0 <= self.correlation < 1.0:
            raise DesignError(f"correlation is {self.correlation!r}: give one in [-1, 1), say 0.5")
        self.design_effect  # noqa: B018 - its own checks of size, icc and cv

    @property
    def design_effect(self) -> float:
        """Of a unit's decisions."""
        return design_effect(self.trials_per_unit, self.icc, self.cv)

    @property
    def variances(self) -> tuple[float, float]:
        """Of one unit's rate: (treatment, control)."""
        worth = self.design_effect / self.trials_per_unit
        high = self.baseline + self.lift
        return high * (1.0 - high) * worth, self.baseline * (1.0 - self.baseline) * worth

    @property
    def information(self) -> float:
        """A unit's, of the overlap-weighted sum."""
        return self.share * (1.0 - self.share)

    @property
    def spread(self) -> float:
        """A unit's variance in that sum."""
        treated, control = self.variances
        return self.information * ((1.0 - self.share) * treated + self.share * control)


@dataclass(frozen=True, slots=True)
class Needed:
    """units: of both arms together."""

    units: int
    days: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequential:
    """units, days: to the wanted power. mean_days: of a run, those that find nothing by `days` counted with
    `days`. median_days: half of the runs have stopped. early: chance to have stopped by the last look before
    the fixed test's day is over. look_days: days and `chances`: chance to have stopped by then.
    """

    units: int
    days: float
    mean_days: float
    median_days: float
    early: float
    every_days: float
    look_days: tuple[float, ...]
    chances: tuple[float, ...]


def fixed(question: Question) -> Needed:
    """One look (unpooled z, normal quantiles)."""
    plan = Plan(question.alpha, question.power)
    scale = question.spread / (question.information * question.lift) ** 2
    return _needed(plan.reach**2 * scale, question)


def shadow(question: Question) -> Needed | None:
    """Both arms on every unit, one look; None without a correlation."""
    spread = paired_spread(question)
    if spread is None:
        return None
    return _needed(Plan(question.alpha, question.power).reach ** 2 * spread / question.lift**2, question)


def paired_spread(question: Question) -> float | None:
    """Variance of one unit's difference of rates."""
    if question.correlation is None:
        return None
    treated, control = question.variances
    return treated + control - 2.0 * question.correlation * math.sqrt(treated * control)


def sequential(question: Question) -> Sequential:
    """Daily looks, or 60 even ones where the wanted power takes longer than 60 days."""
    most_days = _most_units(question) / question.units_per_day
    step = max(1.0, most_days / MOST_LOOKS)
    count = min(MOST_LOOKS, max(2, math.ceil(most_days / step)))
    looks = tuple(step * (i + 1.0) for i in range(count))
    chances = _chances(question, looks)
    days = _when(looks, chances, question.power)
    return Sequential(
        units=math.ceil(days * question.units_per_day),
        days=days,
        mean_days=_mean(looks[: looks.index(days) + 1], chances),
        median_days=_when(looks, chances, min(0.5, question.power)),
        early=_by(looks, chances, fixed(question).days),
        every_days=step,
        look_days=looks,
        chances=chances,
    )


def edges(question: Question, units: Sequence[float]) -> tuple[float, ...]:
    """How far the overlap-weighted sum must be from 0 when so many units of the pair are in."""
    rho = rho_of(rate_variance(), question.plan_units, question.alpha)
    return tuple(boundary.radius(question.spread * count, rho, question.alpha) for count in units)


def _chances(question: Question, looks: tuple[float, ...]) -> tuple[float, ...]:
    units = [question.units_per_day * day for day in looks]
    deviations = [math.sqrt(question.spread * count) for count in units]
    critical = tuple(edge / sd for edge, sd in zip(edges(question, units), deviations, strict=True))
    fractions = tuple(day / looks[-1] for day in looks)
    moved = question.information * units[-1] * abs(question.lift)
    bounds = Boundaries(fractions, critical, (question.alpha,) * len(looks), 2)
    return crossed_by(bounds, moved / deviations[-1])


def _most_units(question: Question) -> float:
    """Enough for the last look alone to have the wanted power, so never too few."""
    luck = normal_quantile(question.power)
    units = float(fixed(question).units)
    while True:
        (edge,) = edges(question, (units,))
        needed = edge + luck * math.sqrt(question.spread * units)
        if needed <= question.information * units * abs(question.lift):
            return units
        units *= 1.1


def _when(looks: Sequence[float], chances: Sequence[float], wanted: float) -> float:
    return next((day for day, chance in zip(looks, chances, strict=True) if chance >= wanted), looks[-1])


def _by(looks: Sequence[float], chances: Sequence[float], day: float) -> float:
    """The chance at the last look up to a day; 0 before the first."""
    return max((chance for look, chance in zip(looks, chances, strict=True) if look <= day), default=0.0)


def _mean(looks: Sequence[float], chances: Sequence[float]) -> float:
    """Who has not stopped by a look goes on to the next; all end at the last."""
    begins = (0.0, *looks)
    going = (1.0, *(1.0 - chance for chance in chances))
    return math.fsum((looks[i] - begins[i]) * going[i] for i in range(len(looks)))


def _needed(units: float, question: Question) -> Needed:
    whole = math.ceil(units)
    return Needed(whole, whole / question.units_per_day)
