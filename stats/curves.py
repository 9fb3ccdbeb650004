"""How it came to what it is: the confidence sequence and each arm's rates at some moments, for charts.

The bound holds at every moment together, so any moments may be shown. They are chosen by how many units had
matured, never by what was seen; units that matured at the same instant are never parted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats import boundary
from stats.arm_report import MICRO, share
from stats.centre import DECAY_PER_DAY, PRIOR_UNITS, daily_centre
from stats.design import Design, History
from stats.effect import Effect, enough, interval
from stats.moments import group_sums, grouped_moments, merge
from stats.scores import Scores, pair_rows, pair_scores, to_door
from stats.sequence import Look
from stats.skewness import running_third
from stats.status import Metric
from stats.units import Units

MOST_MOMENTS = 40
Ints = npt.NDArray[np.int64]
Numbers = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectCurve:
    """One value a moment, None where nothing could be said then."""

    metric: Metric
    estimate: Numbers
    low: Numbers
    high: Numbers
    e_value: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCurve:
    """Of all units that had matured by the moment."""

    mature: tuple[int, ...]
    win_rate: Numbers
    profit_rate: Numbers
    pnl_usd: tuple[float, ...]
    pnl_per_unit_usd: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """at_us: the moments, rising; empty without a mature unit."""

    at_us: tuple[int, ...]
    effect: EffectCurve
    pnl_effect: EffectCurve
    arms: dict[str, ArmCurve]


def curves(
    design: Design, units: Units, matured_at_us: Ints, effects: Mapping[Metric, Effect], history: History
) -> Curves:
    """matured_at_us: of each unit, never falling. effects: of the design's metric and of "pnl", as judged."""
    moments = _moments(matured_at_us)
    group = np.searchsorted(moments, matured_at_us)
    paths = {
        metric: _effect_curve(design, units, (group, len(moments)), found, history)
        for metric, found in effects.items()
    }
    return Curves(
        at_us=tuple(moments.tolist()),
        effect=paths[design.metric],
        pnl_effect=paths["pnl"],
        arms={
            arm: _arm_curve(units, (units.arm == index).nonzero()[0], group, len(moments))
            for index, arm in enumerate(design.arms)
        },
    )


def _moments(matured_at_us: Ints) -> Ints:
    if not len(matured_at_us):
        return matured_at_us
    wanted = np.arange(1, MOST_MOMENTS + 1) * len(matured_at_us)
    return np.unique(matured_at_us[np.maximum(-(-wanted // MOST_MOMENTS) - 1, 0)])


def _arm_curve(units: Units, rows: Ints, group: Ints, groups: int) -> ArmCurve:
    at, has_traded, has_won = group[rows], units.traded[rows], units.won[rows]
    mature, traded, won, profits = (
        np.cumsum(np.bincount(counted, minlength=groups)).tolist()
        for counted in (at, at[has_traded], at[has_traded & has_won], at[has_won])
    )
    micro = np.zeros(groups, np.int64)
    np.add.at(micro, at, units.pnl_micro[rows])
    pnl: list[int] = np.cumsum(micro).tolist()
    return ArmCurve(
        mature=tuple(mature),
        win_rate=tuple(map(share, won, traded)),
        profit_rate=tuple(map(share, profits, mature)),
        pnl_usd=tuple(amount / MICRO for amount in pnl),
        pnl_per_unit_usd=tuple(
            share(amount, count * MICRO) for amount, count in zip(pnl, mature, strict=True)
        ),
    )


def _effect_curve(
    design: Design, units: Units, grouped: tuple[Ints, int], found: Effect, history: History
) -> EffectCurve:
    scores = pair_scores(units, *design.pair, found.metric)
    group = grouped[0][pair_rows(units, *design.pair)]
    path = _looks(scores, group, grouped[1], history.prior(found.metric) - scores.reference)
    rho = found.rho if found.status != "invalid_design" else None
    points = [_point(look, found.metric, rho, design.alpha) for look in path]
    estimate, low, high, e_value = zip(*points, strict=True) if points else ((), (), (), ())
    return EffectCurve(metric=found.metric, estimate=estimate, low=low, high=high, e_value=e_value)


def _looks(scores: Scores, group: Ints, groups: int, prior: float) -> list[Look]:
    """As `sequence.looks`, at any moments: a unit's centre still comes from the days before its own."""
    if not groups:
        return []
    day = np.cumsum(np.diff(scores.day, prepend=scores.day[:1]) != 0, dtype=np.int64)
    days = int(day[-1]) + 1 if len(day) else 0
    sums, brought = (group_sums(day, column, days) for column in (scores.sums, scores.trials))
    centre = daily_centre(sums, brought, prior, PRIOR_UNITS, DECAY_PER_DAY)[day]
    judged = scores.judged
    if not bool(judged.all()):
        scores, group, centre = scores.take(judged), group[judged], centre[judged]
    at, e, treated, trials = group, scores.e, scores.treated, scores.trials
    weight = np.where(treated, 1.0 - e, e)
    centred = scores.sums - centre * trials
    per_arm = grouped_moments(2 * at + treated, 2 * groups, weight, trials, centred)
    information = e * (1.0 - e) * trials
    shares = np.cumsum(group_sums(at, information, groups)).tolist()
    centres = np.cumsum(group_sums(at, information * centre, groups)).tolist()
    third = running_third(at, groups, treated, scores.sums).tolist()
    looks: list[Look] = []
    for index in range(groups):
        arms = per_arm[2 * index + 1], per_arm[2 * index]
        if looks:
            arms = merge(looks[-1].treatment, arms[0]), merge(looks[-1].control, arms[1])
        looks.append(Look(*arms, shares[index], centres[index], third[index]))
    return looks


def _point(look: Look, metric: Metric, rho: float | None, alpha: float) -> tuple[float | None, ...]:
    """(estimate, low, high, e_value) at the door."""
    if not look.has_both:
        return None, None, None, None
    scale, estimate = to_door(metric), look.effect
    if rho is None or not enough(look, metric) or look.error == 0.0:
        return estimate * scale, None, None, None
    low, high = interval(look, metric, rho, alpha)
    return estimate * scale, low * scale, high * scale, boundary.e_from_log(look.log_e(rho))
