"""What an experiment's own report says about the units to come: where a plan starts from."""

from dataclasses import dataclass
from typing import Any, Literal

from router.errors import NoPast

Shape = dict[str, Any]
Per = Literal["unit", "trade"]
_METRICS = {"win_rate": "traded", "profit_rate": "mature"}
"""Rates of units, and of which units each is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """baseline: the control's rate. share: the treatment's within the pair, now. units_per_day: those that a
    rate is over. trials_per_unit, cv: mean trades of such a unit and their coefficient of variation.
    sentence: how much correlated trades were worth.
    """

    baseline: float
    share: float
    units_per_day: float
    trials_per_unit: float
    icc: float
    cv: float
    sentence: str


def past_of(report: Shape, per: Per) -> Past:
    """From a report (docs/report.md); NoPast where it cannot say. per: units won, or trades won in units."""
    metric, control, treatment = report["metric"], report["control"], report["treatment"]
    counted = "traded" if per == "trade" else _METRICS[metric]
    baseline = report["arms"][control]["trade_win_rate" if per == "trade" else metric]
    if baseline is None or not 0.0 < baseline < 1.0:
        raise NoPast("baseline", f"cannot be had from {control}, whose rate is {baseline}", "give --baseline")
    size, icc, cv = _correlated(report["dependence"]) if per == "trade" else (1.0, 0.0, 0.0)
    return Past(
        baseline=baseline,
        share=_share(report["split"]["weights"], control, treatment),
        units_per_day=_pace(report, (control, treatment), counted),
        trials_per_unit=size,
        icc=icc,
        cv=cv,
        sentence=report["dependence"]["sentence"],
    )


def _correlated(found: Shape) -> tuple[float, float, float]:
    """Size, ICC and cv of the trades of a unit; those of units within windows answer another question."""
    if found["icc"] is None or found["observation"] != "trade":
        raise NoPast("icc", "cannot be had: no unit has two trades", "plan per unit, or give --icc")
    return found["observations"] / found["clusters"], found["icc"], found["cv"]


def _share(weights: dict[str, float], control: str, treatment: str) -> float:
    both = weights.get(control, 0.0) + weights.get(treatment, 0.0)
    share = weights.get(treatment, 0.0) / both if both else 0.0
    if not 0.0 < share < 1.0:
        raise NoPast("share", f"is {share:g} now, and compares nothing", "give the --share that you plan")
    return share


def _pace(report: Shape, pair: tuple[str, str], counted: str) -> float:
    """Units a day as the report's headline has it, of which the rate's own part is mature."""
    per_day = report["headline"]["units_per_day"]
    mature = sum(report["arms"][arm]["mature"] for arm in pair)
    if per_day is None or not mature:
        raise NoPast("units_per_day", "cannot be had: too few units have come", "give --units-per-day")
    pace: float = per_day * sum(report["arms"][arm][counted] for arm in pair) / mature
    return pace
