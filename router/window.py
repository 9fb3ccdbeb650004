"""The last days of a report as a table: it describes, and proves nothing."""

from typing import Any

import numpy as np

from router.cohort import Bools, Cohort, units_of
from router.splits import rfc3339
from stats.arm_report import MICRO, share
from stats.exact import exact_sum
from stats.units import Stage, Units
from store.records import Experiment
from store.trade_edges import Edge
from store.unit_columns import UnitColumns

LABEL = "description, not evidence"


def window(
    experiment: Experiment,
    columns: UnitColumns,
    cohort: Cohort,
    judged: Bools,
    stages: list[Stage],
    since_us: int,
) -> dict[str, Any]:
    """Units that came to an end since then: matured, or were found missing; and all that are pending.

    judged: mature units of the judged fill. `edge` is added by `with_edges`.
    """
    recent = judged & (cohort.matured_at_us >= since_us)
    closes_us = columns.started_at_us + (experiment.unit_duration_s + experiment.attribution_s) * 1_000_000
    lost = cohort.missing & (closes_us >= since_us)
    units = units_of(experiment, columns, cohort, recent, stages)
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
        "covers_all": len(units) == int(judged.sum()),
        "arms": arms,
    }


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
