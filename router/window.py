"""The last days of a report as a table: it describes, and proves nothing."""

from typing import Any

import numpy as np

from router.report_rows import Judged, Read
from router.splits import rfc3339
from stats.arm_report import MICRO, share
from stats.exact import exact_sum
from stats.units import Units
from store.latencies import EDGES_US, Latencies
from store.trade_edges import Edge

LABEL = "description, not evidence"
_UNTIMED = Latencies((0,) * (len(EDGES_US) + 1))


def window(found: Read, judged: Judged, since_us: int) -> dict[str, Any]:
    """Units that came to an end since then: matured, or were found missing; and all that are pending.

    `edge` is added by `with_edges`, latency by `with_latencies`.
    """
    experiment, columns, cohort = found.experiment, found.columns, judged.cohort
    closes_us = columns.started_at_us + (experiment.unit_duration_s + experiment.attribution_s) * 1_000_000
    lost = cohort.missing & (closes_us >= since_us)
    units = _recent(judged, since_us)
    arms = {}
    for index, arm in enumerate(experiment.arms):
        own = columns.arm == arm
        waiting, missing = (int(np.count_nonzero(own & rows)) for rows in (cohort.pending, lost))
        mature = units.take(units.arm == index)
        arms[arm] = {"units": len(mature) + waiting + missing, "pending": waiting, "missing": missing}
        arms[arm] |= _mature(mature)
    return {
        "label": LABEL,
        "since": rfc3339(since_us),
        "since_us": since_us,
        "covers_all": len(units) == len(judged.units),
        "arms": arms,
    }


def _recent(judged: Judged, since_us: int) -> Units:
    """The judged units that have matured since; they lie in that order."""
    begin = int(np.searchsorted(judged.cohort.matured_at_us[judged.rows], since_us, side="left"))
    return judged.units.take(np.arange(begin, len(judged.units)))


def _mature(units: Units) -> dict[str, Any]:
    """Of the mature units of an arm; rates are None of nothing."""
    mature, traded = len(units), int(units.traded.sum())
    wins, pnl_micro = int(units.won.sum()), exact_sum(units.pnl_micro)
    decisions = exact_sum(units.decisions)
    return {
        "mature": mature,
        "traded": traded,
        "wins": wins,
        "pnl_usd": pnl_micro / MICRO,
        "trades": exact_sum(units.trades),
        "decisions": decisions,
        "trade_rate": share(traded, mature),
        "win_rate": share(wins, traded),
        "pnl_per_unit_usd": share(pnl_micro, mature * MICRO),
        "pnl_per_decision_usd": share(pnl_micro, decisions * MICRO),
        "fallback_rate": share(exact_sum(units.fallbacks), decisions),
    }


def with_edges(shape: dict[str, Any], edges: dict[str, Edge]) -> dict[str, Any]:
    """The same with `edge` and `edge_trades`: exit minus entry price, the mean over trades that say both.

    For what is held to settlement that is the share won minus the price paid: 0 where prices are fair.
    """
    arms = {}
    for arm, row in shape["arms"].items():
        edge = edges.get(arm, Edge(0, 0))
        arms[arm] = row | {"edge": share(edge.gained_micro, edge.trades * MICRO), "edge_trades": edge.trades}
    return {**shape, "arms": arms}


def with_latencies(shape: dict[str, Any], found: dict[str, Latencies]) -> dict[str, Any]:
    """The same with how long decisions took: `latency_p50_ms` and `latency_p99_ms`, rounded up to the edge of
    their bucket; null beyond the last edge, or where no latency is known (`timed` 0). latency: the buckets,
    decisions up to each edge and, at last, beyond.
    """
    of_arm = {arm: found.get(arm, _UNTIMED) for arm in shape["arms"]}
    arms = {arm: row | _latency(of_arm[arm]) for arm, row in shape["arms"].items()}
    counts = {arm: list(its.counts) for arm, its in of_arm.items()}
    edges_ms = [edge_us / 1000 for edge_us in EDGES_US]
    return {**shape, "arms": arms, "latency": {"edges_ms": edges_ms, "counts": counts}}


def _latency(found: Latencies) -> dict[str, Any]:
    edges_us = {f"latency_p{percent}_ms": found.within_us(percent / 100) for percent in (50, 99)}
    in_ms = {name: None if edge_us is None else edge_us / 1000 for name, edge_us in edges_us.items()}
    return {"timed": found.timed, **in_ms}
