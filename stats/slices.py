"""The effect in slices of the units, and which stand out once all that were looked at are counted.

Control: e-BH on the slices' e-values (Wang and Ramdas 2022). Slices share days and prices, so they depend on
each other, and the report is read at any time: e-BH keeps the expected share of false ones at most alpha
under both, where Holm or Benjamini-Hochberg on one-look p-values would not. A slice that cannot be judged yet
counts with E = 1. Whatever stands out is a question for an experiment of its own, never evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.design import Design, History
from stats.effect import Effect
from stats.metric_effect import metric_effect
from stats.multiplicity import e_bh
from stats.scores import pair_scores
from stats.status import Metric, Status
from stats.units import Units

MOST = 40
LABEL = "description, not evidence: a slice that stands out is a question for an experiment of its own"
CONTROL = "e-BH on e-values: valid for slices that depend on each other, and at any look"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """units: mature ones of each arm. stands_out: after e-BH over all slices at the design's alpha."""

    name: str
    units: dict[str, int]
    status: Status
    estimate: float | None
    low: float | None
    high: float | None
    e_value: float | None
    pnl_estimate_usd: float | None
    stands_out: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """All slices by one key, the largest first (of days the last), pooled from the 41st on."""

    by: str
    slices: tuple[Slice, ...]
    label: str = LABEL
    control: str = CONTROL


def slices(design: Design, units: Units, by: str, names: Sequence[str], history: History) -> Slices:
    """names: the slice of each unit, fixed before its coin (its market, bots, day, or models in force)."""
    found, index, counts = np.unique(
        np.array([*names, ""], dtype=object)[:-1].astype(str), return_inverse=True, return_counts=True
    )
    order = np.arange(len(found))[::-1] if by == "day" else np.lexsort((found, -counts))
    masks = [(str(found[at]), index == at) for at in order[:MOST]]
    if len(order) > MOST:
        masks.append((f"{len(order) - MOST:,} others", np.isin(index, order[MOST:])))
    judged = [(name, *_effects(design, units.take(rows), history)) for name, rows in masks]
    believed = e_bh([1.0 if own.e_value is None else own.e_value for _, own, _, _ in judged], design.alpha)
    return Slices(
        by=by,
        slices=tuple(
            Slice(
                name=name,
                units=dict(zip(design.arms, counted, strict=True)),
                status=own.status,
                estimate=own.estimate,
                low=own.low,
                high=own.high,
                e_value=own.e_value,
                pnl_estimate_usd=pnl.estimate,
                stands_out=believes,
            )
            for (name, own, pnl, counted), believes in zip(judged, believed, strict=True)
        ),
    )


def _effects(design: Design, units: Units, history: History) -> tuple[Effect, Effect, list[int]]:
    """(of the metric, of PnL, units per arm)."""
    metrics: tuple[Metric, Metric] = (design.metric, "pnl")
    own, pnl = (
        metric_effect(design, metric, pair_scores(units, *design.pair, metric), history) for metric in metrics
    )
    return own, pnl, _counts(units.arm, len(design.arms))


def _counts(arm: npt.NDArray[np.int64], arms: int) -> list[int]:
    counted: list[int] = np.bincount(arm, minlength=arms).tolist()
    return counted
