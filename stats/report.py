"""The report: everything that is said about an experiment at one moment, from columns to a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stats.arm_report import Adjusted, ArmReport, arm_report
from stats.caveats import caveats
from stats.contamination import contamination
from stats.design import Design, History, check_fit
from stats.effect import Effect
from stats.exact import exact_sum
from stats.gate import Gates
from stats.gates import Evidence, gates
from stats.grounds import conditions_of
from stats.metric_effect import metric_effect
from stats.missing import missing_of
from stats.scores import Scores, pair_rows, pair_scores, to_door
from stats.srm import Srm, srm, srm_once
from stats.stage_report import StageReport, stage_reports
from stats.status import METRICS, Metric
from stats.two_by_two import TwoByTwo
from stats.two_proportion import pooled_z
from stats.units import ArmCounts, Stage, Units
from stats.verdict import Judged, Verdict, broken, verdict
from stats.words import NAMES, utc

__all__ = ["Design", "History", "Naive", "Report", "report"]

NAIVE_LABEL = (
    "what a naive per-trade test would have said: pooled z over trades, as if trades were independent,"
    " looked at once and the split never changed. Not evidence."
)


@dataclass(frozen=True, slots=True)
class Naive:
    z: float | None
    p: float | None
    label: str = NAIVE_LABEL


@dataclass(frozen=True, slots=True)
class Report:
    metric: Metric
    control: str
    treatment: str
    estimand: str
    arms: dict[str, ArmReport]
    effect: Effect
    pnl_effect: Effect
    srm: Srm
    naive: Naive
    stages: tuple[StageReport, ...]
    verdict: Verdict
    gates: Gates
    warnings: tuple[str, ...]


def report(
    design: Design,
    units: Units,
    counts: Mapping[str, ArmCounts],
    stages: Sequence[Stage],
    history: History | None = None,
    closed_units: int | None = None,
) -> Report:
    """Judge `treatment` against `control` on all units since the experiment's start.

    units: every mature, not excluded unit of one fill kind, in maturity order, from the start on (never a
    window: recomputed on a rolling window the bound does not hold). history: from before the treatment's
    first share. closed_units: how many of the units had matured by the plan's deadline, None while it is
    ahead. Raises StatsError on input that breaks its rule only.
    """
    check_fit(design, units, counts, stages)
    known = history or History()
    scored: dict[Metric, Scores] = {metric: pair_scores(units, *design.pair, metric) for metric in METRICS}
    effects: dict[Metric, Effect] = {
        metric: metric_effect(design, metric, scored[metric], known) for metric in METRICS
    }
    arms = _arms(design, units, counts, effects)
    primary, pnl = (
        judged_of(design, effects[m], arms, counts, units, stages) for m in (design.metric, "pnl")
    )
    imbalance = (srm_once if design.looked_at == "once" else srm)(stages)
    fault = broken(primary, pnl, imbalance, contamination(design, counts))
    gated = gates(
        design,
        Evidence(
            scored,
            {design.metric: primary.effect, "pnl": pnl.effect},
            {design.metric: primary.missing, "pnl": pnl.missing},
            known,
            primary.share,
            _closed_rows(design, units, closed_units),
            () if fault else conditions_of(design, scored[design.metric], units, len(stages), known),
        ),
        fault,
    )
    return Report(
        metric=design.metric,
        control=design.control,
        treatment=design.treatment,
        estimand=_estimand(design),
        arms=arms,
        effect=primary.effect,
        pnl_effect=pnl.effect,
        srm=imbalance,
        naive=_naive(design, units),
        stages=stage_reports(design, units, stages),
        verdict=verdict(design, primary, pnl, fault, gated),
        gates=gated,
        warnings=caveats(design, arms, primary, imbalance),
    )


def _closed_rows(design: Design, units: Units, closed_units: int | None) -> int | None:
    """Of the pair's scores."""
    if closed_units is None:
        return None
    return int(np.count_nonzero(pair_rows(units, *design.pair)[:closed_units]))


def _arms(
    design: Design, units: Units, counts: Mapping[str, ArmCounts], effects: Mapping[Metric, Effect]
) -> dict[str, ArmReport]:
    adjusted = {
        design.treatment: _adjusted({metric: found.adjusted_treatment for metric, found in effects.items()}),
        design.control: _adjusted({metric: found.adjusted_control for metric, found in effects.items()}),
    }
    return {
        arm: arm_report(
            units.take(units.arm == index),
            counts.get(arm, ArmCounts()),
            adjusted.get(arm, Adjusted()),
            design.alpha,
        )
        for index, arm in enumerate(design.arms)
    }


def _adjusted(values: Mapping[Metric, float | None]) -> Adjusted:
    return Adjusted(
        win_rate=values["win_rate"], profit_rate=values["profit_rate"], pnl_per_unit_usd=values["pnl"]
    )


def judged_of(
    design: Design,
    found: Effect,
    arms: Mapping[str, ArmReport],
    counts: Mapping[str, ArmCounts],
    units: Units,
    stages: Sequence[Stage],
) -> Judged:
    """An effect with the room that its missing outcomes leave, at the door."""
    missing = missing_of(design, found, arms, counts, units)
    return Judged(found, missing, to_door(found.metric), _pair_share(design, stages))


def _pair_share(design: Design, stages: Sequence[Stage]) -> float:
    """The treatment's share within the pair under the newest split; 0 without a split."""
    if not stages:
        return 0.0
    treatment, control = (stages[-1].weights[index] for index in design.pair)
    return treatment / (treatment + control) if treatment + control > 0.0 else 0.0


def _naive(design: Design, units: Units) -> Naive:
    rows = [units.arm == index for index in design.pair]
    wins = [exact_sum(units.trade_wins[row]) for row in rows]
    trades = [exact_sum(units.trades[row]) for row in rows]
    test = pooled_z(TwoByTwo(wins[0], trades[0], wins[1], trades[1]))
    return Naive(test.statistic, test.p)


def _estimand(design: Design) -> str:
    what = {
        "win_rate": f"{design.unit_name}s {design.win} among mature {design.unit_name}s with a fill",
        "profit_rate": f"{design.unit_name}s {design.win} among all mature {design.unit_name}s",
        "pnl": f"net PnL per mature {design.unit_name}, 0 where nothing was traded",
    }[design.metric]
    return (
        f"Difference in {NAMES[design.metric]} ({what}), {design.treatment} minus {design.control}, by"
        " assigned arm, weighted towards the times when both arms ran (e(1-e));"
        f" all {design.unit_name}s since {utc(design.started_us)},"
        f" each with the outcomes that came within {design.attribution_s:,} s of its end, a replayed one once"
        " all its bots have reported."
    )
