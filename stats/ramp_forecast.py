"""What a ramp can show before it begins: how likely a promotion is, how soon, and how soon harm is seen.

The ramp's clock is information, sum e(1 - e) over its units, which one day at share e adds to by e(1 - e)
times the units of a day. On it the evidence moves like a Brownian motion, with drift where there is an
effect, and the chance to have crossed a bound by a look is integrated (Armitage, McPherson, Rowe 1969,
`group_sequential`). The bounds are those of `gate`: half-normal mixtures, tightest at 0.6 (promotion) and
0.15 (rollback) of the plan. Stages are taken to last as briefly as they may; units count on the day they
start.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stats import boundary
from stats.errors import DesignError
from stats.group_sequential import Boundaries, crossed_by
from stats.root import crossing
from stats.scale import PROMOTION_SHARE, ROLLBACK_SHARE, gate_rho, plan_variance
from stats.sequence import MIN_EFFECTIVE_UNITS
from stats.special import normal_cdf, normal_isf

_MOST_LOOKS = 60
_NEAREST = 0.006
WANTED = 0.8


@dataclass(frozen=True, slots=True)
class Leg:
    """One stage: the treatment's share, how long it lasts at least and at most, the units an arm it wants."""

    share: float
    days_min: float
    days_max: float
    units_min: int

    @property
    def information(self) -> float:
        """Of one unit."""
        return self.share * (1.0 - self.share)


@dataclass(frozen=True, slots=True)
class Ramp:
    """legs, and what comes in. promote_day: no promotion before that day of the ramp, whatever is shown.

    is_planned: promotion is asked once, when the last leg's time is over.
    """

    legs: tuple[Leg, ...]
    units_per_day: float
    promote_day: float
    is_planned: bool

    def __post_init__(self) -> None:
        if not self.legs or not 0.0 < self.units_per_day < math.inf:
            raise DesignError("a ramp has a leg or more, and units_per_day above 0, say 384")


@dataclass(frozen=True, slots=True)
class Claim:
    """One metric: the variance of one unit, how much must be exceeded (-margin), level, and the planned
    units.
    """

    variance: float
    margin: float
    alpha: float
    plan_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LegForecast:
    """days: when the stage ends at the earliest, from the ramp's start; None where it cannot within its
    days_max.

    units: the treatment's by then. no_sign: chance that the first look at its end shows no sign of harm, if
    the arms are equal. seen: chance that harm of the size of the effect was rolled back by then.
    """

    share: float
    days: float | None
    units: int | None
    no_sign: float | None
    seen: float | None


@dataclass(frozen=True, slots=True)
class Chance:
    """By each day of the ramp on which promotion is asked."""

    days: tuple[float, ...]
    chances: tuple[float, ...]

    @property
    def whole(self) -> float:
        """By the end."""
        return self.chances[-1] if self.chances else 0.0

    def day_of(self, wanted: float) -> float | None:
        """The first day with this chance; None where it is never had."""
        return next((d for d, c in zip(self.days, self.chances, strict=True) if c >= wanted), None)


def ends(ramp: Ramp) -> tuple[float | None, ...]:
    """When each leg ends at the earliest, in days; None from the first that cannot end in time."""
    found, day = list[float | None](), 0.0
    for leg in ramp.legs:
        smaller = min(leg.share, 1.0 - leg.share) * ramp.units_per_day
        needed = max(leg.days_min, leg.units_min / smaller)
        if needed > leg.days_max:
            return (*found, *[None] * (len(ramp.legs) - len(found)))
        day += needed
        found.append(day)
    return tuple(found)


def promotion(ramp: Ramp, claim: Claim, effect: float) -> Chance:
    """The chance that the claim has been shown, by day, if the true effect is this one."""
    window = _window(ramp)
    if window is None:
        return Chance((), ())
    first, last = window
    drift = effect + claim.margin
    if ramp.is_planned:
        seen = _information(ramp, last)
        spread = math.sqrt(claim.variance * seen)
        return Chance((last,), (normal_cdf(drift * seen / spread - normal_isf(claim.alpha)),))
    days = _looks(ramp, first, last)
    rho = gate_rho(plan_variance(claim.variance, claim.plan_units), PROMOTION_SHARE, claim.alpha)
    return Chance(days, _crossed(ramp, claim, rho, days, drift))


def smallest(ramp: Ramp, claim: Claim, wanted: float = WANTED) -> float | None:
    """The effect that is shown with the wanted chance by the end; None where no leg can end."""
    if _window(ramp) is None:
        return None
    most = 40.0 * math.sqrt(claim.variance / _information(ramp, _window(ramp)[1]))  # type: ignore[index]
    return crossing(lambda effect: promotion(ramp, claim, effect).whole - wanted, -claim.margin, most)


def legs(ramp: Ramp, harm: Claim, effect: float) -> tuple[LegForecast, ...]:
    """Stage by stage. harm: the metric at its rollback's level; effect: the size of the harm, above 0."""
    rho = gate_rho(plan_variance(harm.variance, harm.plan_units), ROLLBACK_SHARE, harm.alpha)
    return tuple(
        _leg(ramp, harm, rho, effect, leg, day) for leg, day in zip(ramp.legs, ends(ramp), strict=True)
    )


def _leg(ramp: Ramp, harm: Claim, rho: float, effect: float, leg: Leg, day: float | None) -> LegForecast:
    if day is None:
        return LegForecast(share=leg.share, days=None, units=None, no_sign=None, seen=None)
    variance = harm.variance * _information(ramp, day)
    half = boundary.radius_one_sided(variance, rho, harm.alpha) / math.sqrt(variance)
    first = _first_look(ramp)
    seen = (
        0.0
        if first is None or first > day
        else _crossed(ramp, harm, rho, _looks(ramp, first, day), effect)[-1]
    )
    return LegForecast(
        share=leg.share,
        days=day,
        units=round(_units(ramp, day)),
        no_sign=normal_cdf(0.5 * half),
        seen=seen,
    )


def _first_look(ramp: Ramp) -> float | None:
    """The day on which the treatment has 20 units: before, no bound is told."""
    begun = 0.0
    had = 0.0
    for leg, end in zip(ramp.legs, ends(ramp), strict=True):
        if end is None:
            return None
        rate = leg.share * ramp.units_per_day
        if had + rate * (end - begun) >= MIN_EFFECTIVE_UNITS:
            return max(1.0, begun + (MIN_EFFECTIVE_UNITS - had) / rate)
        had, begun = had + rate * (end - begun), end
    return None


def _window(ramp: Ramp) -> tuple[float, float] | None:
    """The first and the last day on which promotion is asked."""
    *earlier, end = ends(ramp)
    if end is None:
        return None
    begun = earlier[-1] if earlier else 0.0
    assert begun is not None  # noqa: S101 - the stage before the last ended before it
    last = begun + ramp.legs[-1].days_max
    first = max(end, ramp.promote_day)
    return (last, last) if ramp.is_planned else (min(first, last), last)


def _rate_spans(ramp: Ramp, day: float) -> list[tuple[Leg, float]]:
    """(leg, days in it) up to a day; the last leg goes on."""
    found, begun = list[tuple[Leg, float]](), 0.0
    for index, (leg, end) in enumerate(zip(ramp.legs, ends(ramp), strict=True)):
        until = day if index == len(ramp.legs) - 1 or end is None else min(day, end)
        found.append((leg, max(0.0, until - begun)))
        begun = until
    return found


def _information(ramp: Ramp, day: float) -> float:
    return math.fsum(leg.information * ramp.units_per_day * span for leg, span in _rate_spans(ramp, day))


def _units(ramp: Ramp, day: float) -> float:
    return math.fsum(leg.share * ramp.units_per_day * span for leg, span in _rate_spans(ramp, day))


def _looks(ramp: Ramp, first: float, last: float) -> tuple[float, ...]:
    """Daily, or as many as the integration takes; the last day is always one."""
    if last - first < 1e-9:
        return (last,)
    count = min(_MOST_LOOKS, max(1, math.floor(last - first)))
    days = [first + (last - first) * i / count for i in range(count + 1)]
    whole, kept = _information(ramp, last), list[float]()
    for day in reversed(days):
        if not kept or (_information(ramp, kept[-1]) - _information(ramp, day)) / whole >= _NEAREST:
            kept.append(day)
    return tuple(day for day in reversed(kept) if _information(ramp, day) / whole >= _NEAREST)


def _crossed(ramp: Ramp, claim: Claim, rho: float, days: Sequence[float], drift: float) -> tuple[float, ...]:
    seen = [_information(ramp, day) for day in days]
    variances = [claim.variance * one for one in seen]
    critical = tuple(boundary.radius_one_sided(v, rho, claim.alpha) / math.sqrt(v) for v in variances)
    fractions = tuple(one / seen[-1] for one in seen)
    bounds = Boundaries(fractions, critical, (claim.alpha,) * len(days), 1)
    return crossed_by(bounds, drift * seen[-1] / math.sqrt(variances[-1]))
