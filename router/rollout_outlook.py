"""What a plan can do before it begins: its ledger, its chances, its days. Arithmetic is
`stats.ramp_forecast`'s.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from msgspec import UNSET, to_builtins

from router.errors import BadPlan
from router.rollout_plan import Plan, Spending, briefest, digest, spending
from stats.ramp_forecast import WANTED, Claim, Leg, Ramp, ends, legs, promotion, smallest

Shape = dict[str, Any]
Source = Literal["given", "history", "assumed", "unknown"]
SCHEMA = "abctl.rollout-plan/1"
ASSUMED = {"baseline": 0.5, "units_per_day": 384.0, "pnl_sd_usd": None}
"""Where neither the caller nor the experiment's past says it. A rate's variance is largest at 0.5."""


@dataclass(frozen=True, slots=True)
class Known:
    """A number that the outlook starts from, and where it came from."""

    value: float | None
    source: Source


def outlook(plan: Plan, known: Mapping[str, Known], plan_units: int) -> Shape:
    """Everything that `abctl rollout plan check` prints. plan_units: what the experiment's bounds are tuned
    for.
    """
    spent, ramp = spending(plan), _ramp(plan, _pace(known))
    return {
        "schema": SCHEMA,
        "digest": digest(plan),
        "known": {name: asdict(one) for name, one in known.items()},
        "alpha": _ledger(plan, spent),
        "all_pass_if_equal": 1.0 - sum(level for _, level in spent.rollback),
        "stages": _stages(plan, spent, ramp, known, plan_units),
        "promotion": _promotion(plan, spent, ramp, known, plan_units),
        "money": _money(plan, spent, ramp, known, plan_units),
        "shadow": None if plan.shadow is UNSET else to_builtins(plan.shadow),
        "days_most": sum(stage.days_max for stage in plan.stages) + _days_on_paper(plan),
        "on_timeout": plan.on_timeout,
        "approvals": [*(stage.approvals for stage in plan.stages), plan.promotion_approvals],
        "holdback": plan.holdback,
        "waiver": plan.waiver,
    }


def _days_on_paper(plan: Plan) -> float:
    return 0.0 if plan.shadow is UNSET else plan.shadow.days_max


def _pace(known: Mapping[str, Known]) -> float:
    pace = known["units_per_day"].value
    if pace is None or not 0.0 < pace < math.inf:
        raise BadPlan("units_per_day", f"must be above 0, not {pace}", "give --units-per-day, say 384")
    return pace


def _ramp(plan: Plan, units_per_day: float) -> Ramp:
    each = zip(plan.stages, _briefest(plan), strict=True)
    stages = tuple(Leg(stage.share, days, stage.days_max, stage.units_min) for stage, days in each)
    return Ramp(stages, units_per_day, 7.0 * plan.weekly_cycles, plan.gate == "planned")


def _briefest(plan: Plan) -> list[float]:
    """Days of each stage: where paper opened the first one, it shortens all but the last."""
    *before, last = plan.stages
    return [*(briefest(plan, stage) for stage in before), last.days_min]


def _ledger(plan: Plan, spent: Spending) -> Shape:
    return {
        "promotion": {
            "whole": plan.alpha.promotion,
            "split": spent.promotion_split,
            "shadow": spent.promotion_shadow,
        },
        "rollback": {"whole": plan.alpha.rollback, "tests": dict(spent.rollback)},
        "dry_run": dict(spent.dry_run),
        "limits": [
            {"name": g.name, "limit": g.limit, "then": g.then, "dry_run": g.dry_run}
            for g in plan.guardrails
            if not g.is_test
        ],
    }


def _variance(metric: str, known: Mapping[str, Known], effect: float) -> float | None:
    """Of one unit, mean of both arms'; None while it is not known."""
    if metric == "pnl":
        sd = known["pnl_sd_usd"].value
        return None if sd is None else sd**2
    rate = known["baseline"].value
    if rate is None or not (0.0 < rate < 1.0 and rate + effect < 1.0):
        rule = f"is {rate} and the effect {effect:g}: both rates must lie inside (0, 1)"
        raise BadPlan("baseline", rule, "give another --baseline, or plan for a smaller effect")
    return 0.5 * (rate * (1.0 - rate) + (rate + effect) * (1.0 - rate - effect))


def _stages(
    plan: Plan, spent: Spending, ramp: Ramp, known: Mapping[str, Known], plan_units: int
) -> list[Shape]:
    metric, effect = plan.primary.metric, plan.primary.effect
    variance = _variance(metric, known, effect)
    if variance is None:
        bare = {"units": None, "no_sign": None, "seen": None}
        return [
            {"share": leg.share, "days": day} | bare for leg, day in zip(ramp.legs, ends(ramp), strict=True)
        ]
    claim = Claim(variance, 0.0, spent.level(metric), plan_units)
    return [asdict(row) for row in legs(ramp, claim, effect)]


def _promotion(
    plan: Plan, spent: Spending, ramp: Ramp, known: Mapping[str, Known], plan_units: int
) -> Shape | None:
    """Of the primary metric alone; None while its variance is not known."""
    effect, variance = plan.primary.effect, _variance(plan.primary.metric, known, plan.primary.effect)
    if variance is None:
        return None
    claim = Claim(variance, plan.primary.margin, spent.promotion_split, plan_units)
    found = promotion(ramp, claim, effect)
    return {
        "effect": effect,
        "chance": found.whole,
        "chance_if_equal": promotion(ramp, claim, 0.0).whole,
        "median_day": found.day_of(0.5),
        "likely_day": found.day_of(WANTED),
        "smallest_effect": smallest(ramp, claim),
    }


def _money(plan: Plan, spent: Spending, ramp: Ramp, known: Mapping[str, Known], plan_units: int) -> Shape:
    """How likely it is to be shown that PnL is not worse, if it is the same."""
    told: Shape = {"margin_usd": plan.money.margin_usd, "chance_if_equal": None, "margin_needed_usd": None}
    variance = _variance("pnl", known, 0.0)
    if variance is None or plan.primary.metric == "pnl":
        return told
    claim = Claim(variance, plan.money.margin_usd, spent.promotion_split, plan_units)
    bare = Claim(variance, 0.0, spent.promotion_split, plan_units)
    return told | {
        "chance_if_equal": promotion(ramp, claim, 0.0).whole,
        "margin_needed_usd": smallest(ramp, bare),
    }
