"""How many independent observations the correlated ones are worth: the sentence that ends naive counting."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.design import Design
from stats.design_effect import Correlation, correlation
from stats.exact import exact_sum
from stats.units import Units
from stats.words import many

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """icc: of `observation` ("trade", or the unit's name) within `cluster` (the unit's name, or "window").

    effective: independent observations that all are worth. cv: coefficient of variation of a cluster's
    observations. decisions: of the mature units of the pair. Where nothing repeats within anything icc, cv,
    design_effect and effective are None, and the sentence says so.
    """

    observation: str
    cluster: str
    decisions: int
    observations: int
    clusters: int
    icc: float | None
    cv: float | None
    design_effect: float | None
    effective: int | None
    sentence: str


def dependence(design: Design, units: Units, window: Ints) -> Dependence:
    """Trades won within units; where no unit has two trades, units won within windows.

    window: of each unit, equal where units started together. Residuals are taken about the arm's own rate, so
    that a difference between the arms is no correlation.
    """
    pair = np.isin(units.arm, design.pair)
    own, windows = (units, window) if bool(pair.all()) else (units.take(pair), window[pair])
    decisions = exact_sum(own.decisions)
    by_trade = correlation(*_trades(own)) if np.any(own.trades > 1) else None
    if by_trade is not None:
        return _said(by_trade, ("trade", design.unit_name), decisions)
    traded = own.traded
    by_window = correlation(windows[traded], _residuals(own.arm[traded], own.won[traded].astype(np.float64)))
    if by_window is not None:
        return _said(by_window, (design.unit_name, "window"), decisions)
    return _nothing(design, decisions, int(np.count_nonzero(traded)), len(np.unique(windows[traded])))


def _trades(units: Units) -> tuple[Ints, Floats]:
    """(unit, residual) of every trade: those of a unit differ in nothing but whether they won."""
    lost = units.trades - units.trade_wins
    rows = np.arange(len(units))
    unit = np.concatenate([np.repeat(rows, units.trade_wins), np.repeat(rows, lost)])
    won = np.arange(len(unit)) < exact_sum(units.trade_wins)
    return unit, _residuals(units.arm[unit], won.astype(np.float64))


def _residuals(arm: Ints, values: Floats) -> Floats:
    if not len(arm):
        return values
    count = np.bincount(arm)
    means = np.bincount(arm, values) / np.maximum(count, 1)
    residuals: Floats = values - means[arm]
    return residuals


def _said(found: Correlation, names: tuple[str, str], decisions: int) -> Dependence:
    observation, cluster = names
    effective = round(found.effective)
    inside = many(found.decisions, observation)
    sentence = (
        f"{many(decisions, 'decision')}, {inside} in {many(found.units, cluster)} ~ {effective:,} independent"
        f" {observation}s (ICC of a {observation}'s win within its {cluster} {found.icc:.2f},"
        f" design effect {found.design_effect:.2f})."
    )
    return Dependence(
        observation=observation,
        cluster=cluster,
        decisions=decisions,
        observations=found.decisions,
        clusters=found.units,
        icc=found.icc,
        cv=found.cv,
        design_effect=found.design_effect,
        effective=effective,
        sentence=sentence,
    )


def _nothing(design: Design, decisions: int, traded: int, windows: int) -> Dependence:
    name = design.unit_name
    sentence = (
        f"{many(decisions, 'decision')}, {many(traded, name)} with a fill: no two trades of one {name} and no"
        f" two {name}s of one window differ, so how much they are correlated cannot be said; decisions of one"
        f" {name} share its coin and its outcome, and count as one."
    )
    return Dependence(
        observation=name,
        cluster="window",
        decisions=decisions,
        observations=traded,
        clusters=windows,
        icc=None,
        cv=None,
        design_effect=None,
        effective=None,
        sentence=sentence,
    )
