"""What an experiment's own report says about the units to come: where a plan starts from."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal

from router.errors import NoPast

Shape = dict[str, Any]
Per = Literal["unit", "trade"]
_METRICS = {"win_rate": "traded", "profit_rate": "mature"}
"""Rates of units, and of which units each is."""
_CORRELATED = {"trials_per_unit": 1.0, "icc": 0.0, "cv": 0.0}
"""Of units that count as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """known: what was wanted of `baseline` (the control's rate), `share` (the treatment's within the pair,
    now), `units_per_day` (those that a rate is over), `trials_per_unit` and `cv` (mean trades of such a unit
    and their coefficient of variation) and `icc`. sentence: how much correlated trades were worth.
    """

    known: dict[str, float]
    sentence: str


def past_of(report: Shape, per: Per, wanted: AbstractSet[str]) -> Past:
    """From a report (docs/report.md); NoPast where it cannot say. per: units won, or trades won in units."""
    found: dict[str, float] = {}
    if "baseline" in wanted:
        found["baseline"] = _baseline(report, per)
    if "share" in wanted:
        found["share"] = _share(report)
    if "units_per_day" in wanted:
        found["units_per_day"] = _pace(report, per)
    if wanted & _CORRELATED.keys():
        known = _correlated(report["dependence"]) if per == "trade" else _CORRELATED
        found |= {name: known[name] for name in _CORRELATED if name in wanted}
    return Past(known=found, sentence=report["dependence"]["sentence"])


def _baseline(report: Shape, per: Per) -> float:
    control, metric = report["control"], report["metric"]
    if per == "unit" and metric not in _METRICS:
        raise NoPast("baseline", f"cannot be had: the metric is {metric}, no rate", "give --baseline")
    baseline: float | None = report["arms"][control]["trade_win_rate" if per == "trade" else metric]
    if baseline is None or not 0.0 < baseline < 1.0:
        raise NoPast("baseline", f"cannot be had from {control}, whose rate is {baseline}", "give --baseline")
    return baseline


def _correlated(found: Shape) -> dict[str, float]:
    """Size, ICC and cv of the trades of a unit; those of units within windows answer another question."""
    if found["icc"] is None or found["observation"] != "trade":
        raise NoPast("icc", "cannot be had: no unit has two trades", "plan per unit, or give --icc")
    size = found["observations"] / found["clusters"]
    return {"trials_per_unit": size, "icc": found["icc"], "cv": found["cv"]}


def _share(report: Shape) -> float:
    weights = report["split"]["weights"]
    control, treatment = (weights.get(report[role], 0.0) for role in ("control", "treatment"))
    share: float = treatment / (control + treatment) if control + treatment else 0.0
    if not 0.0 < share < 1.0:
        raise NoPast("share", f"is {share:g} now, and compares nothing", "give the --share that you plan")
    return share


def _pace(report: Shape, per: Per) -> float:
    """Units a day as the report's headline has it, of which the rate's own part is mature."""
    pair = [report["arms"][report[role]] for role in ("control", "treatment")]
    per_day, mature = report["headline"]["units_per_day"], sum(arm["mature"] for arm in pair)
    if per_day is None or not mature:
        raise NoPast("units_per_day", "cannot be had: hardly any unit came lately", "give --units-per-day")
    counted = "traded" if per == "trade" else _METRICS.get(report["metric"], "mature")
    pace: float = per_day * sum(arm[counted] for arm in pair) / mature
    return pace
