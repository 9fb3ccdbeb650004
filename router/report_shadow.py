"""The report's block `shadow`: what an arm would have made of the units that another one served.

Paper against paper: the served arm is filled by the same model on the same ticks. How far that model is from
what the bots reported is told beside it, and where that is too far, or not known well enough, the evidence is
void: a paper fill that is too kind makes any arm that trades more look better.
"""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from arms.fills import MICRO
from router.question import Question
from router.report_rows import Rows
from router.shadow_units import Pairs, pairs_of
from router.shadowing import shape as setting_shape
from stats.paired import Paired, paired
from store import shadow_settings
from store.records import Experiment, ShadowSetting
from store.shadow_units import read_shadow_units

Shape = dict[str, Any]
UNITS_A_WINDOW = 4
"""Assets of a market that end together. Only where the bound is tightest hangs on it."""
PLAN_SHARE = 0.5
ESTIMAND = (
    "Shadow minus served, both on paper, of units that were assigned to another arm: what {arm} would have"
    " made of them with orders of {stake} USD. It holds where orders are small beside the book, move no price"
    " and are filled at the first quote after {latency} ms; it says nothing of what others do when they see"
    " them."
)
LATENCY_MS = 150
MOST_VOID = 0.05
"""Of the units that could have given a pair."""


def shadow_block(connection: Connection, rows: Rows, question: Question) -> Shape | None:
    """The block; None where nothing is shadowed. Of a past moment: of units that were mature then, which get
    no more ticks unless a bot is late (ADR 0015).
    """
    experiment, at_us = rows.found.experiment, rows.judged.now_us
    setting = shadow_settings.at(connection, experiment.key, at_us)
    if setting is None or setting.arm is None:
        return None
    units = read_shadow_units(connection, setting)
    pairs = pairs_of(experiment, setting, units, rows.judged.fill, at_us)
    return shadow_shape(setting, pairs, plan_clusters_of(experiment), experiment.alpha)


def plan_clusters_of(experiment: Experiment) -> float:
    """Windows after which bounds of pairs are tightest."""
    return PLAN_SHARE * experiment.plan_units / UNITS_A_WINDOW


def shadow_shape(setting: ShadowSetting, pairs: Pairs, plan_clusters: float, alpha: float) -> Shape:
    """The block. Money in USD a unit, rates as shares."""
    pnl, profit, gap = (
        paired(values, pairs.window, plan_clusters, alpha)
        for values in (pairs.paper_usd, pairs.profits, pairs.live_less_paper_usd)
    )
    calibration = calibration_of(gap, setting.margin_micro / MICRO)
    doubt = calibration["reason"] or void_doubt(len(pairs.pairs), sum(pairs.void.values()))
    return {
        "setting": setting_shape(setting),
        "estimand": ESTIMAND.format(
            arm=setting.arm, stake=f"{setting.stake_micro / MICRO:g}", latency=LATENCY_MS
        ),
        "alpha": alpha,
        "units": len(pairs.pairs),
        "void": dict(pairs.void),
        "ticks": pairs.ticks,
        "disagreement_rate": pairs.differed / pairs.ticks if pairs.ticks else None,
        "unfilled": pairs.unfilled,
        "pnl_effect": asdict(pnl),
        "profit_effect": asdict(profit),
        "calibration": calibration,
        "counts": calibration["status"] == "ok" and not doubt,
        "sentence": _sentence(setting, pnl, doubt),
    }


def calibration_of(gap: Paired, margin_usd: float) -> Shape:
    """Live minus paper of the served arm. status: ok where it surely lies within the margin, void where it
    surely lies outside, else not_ready."""
    status, reason = _calibrated(gap, margin_usd)
    return {**asdict(gap), "margin_usd": margin_usd, "status": status, "reason": reason}


def _calibrated(gap: Paired, margin: float) -> tuple[str, str]:
    if gap.status == "degenerate" and gap.estimate is not None:
        is_within = abs(gap.estimate) <= margin
        return ("ok", "") if is_within else ("void", f"live is {gap.estimate:+.2f} USD a unit off paper")
    if gap.low is None or gap.high is None:
        return "not_ready", gap.reason
    if -margin <= gap.low and gap.high <= margin:
        return "ok", ""
    if gap.low > margin or gap.high < -margin:
        return (
            "void",
            f"live minus paper is {gap.low:+.2f} to {gap.high:+.2f} USD a unit: outside +-{margin:g}",
        )
    reason = (
        f"live minus paper is {gap.low:+.2f} to {gap.high:+.2f} USD a unit: not yet known within +-{margin:g}"
    )
    return "not_ready", reason


def void_doubt(pairs: int, void: int) -> str:
    """Why what is left says too little; empty where it does not. Units that the treatment could not answer
    are void, and need not be like the others.
    """
    share = void / (pairs + void) if void else 0.0
    if share <= MOST_VOID:
        return ""
    return f"{share:.1%} of the units gave no pair, of at most {MOST_VOID:.0%}: see `void`"


def _sentence(setting: ShadowSetting, pnl: Paired, doubt: str) -> str:
    if pnl.low is None or pnl.high is None:
        return f"{setting.arm} on paper: cannot say yet, {pnl.reason}."
    found = f"{setting.arm} on paper makes {pnl.low:+.2f} to {pnl.high:+.2f} USD a unit more than what serves"
    return f"{found}; this is no evidence: {doubt}." if doubt else f"{found}."
