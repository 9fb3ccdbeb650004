"""Builds the report of an experiment from unit totals: the same function behind HTTP and CLI. Knows no FastAPI."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from router import change
from router.assignment import propensity
from router.splits import split_shape
from stats.report import Design, report
from stats.shape import as_dict
from stats.units import ArmCounts, Stage, Units
from store import experiments
from store.records import Experiment
from store.unit_columns import UnitColumns, dead_letters, parked_outcomes, read_units

_DAY_US = 86_400_000_000
_FILLS = ("live", "paper", "replay")


@dataclass(frozen=True, slots=True)
class Cohort:
    """How far each unit is. Masks over UnitColumns; the first three never overlap and never hold an excluded unit."""

    mature: NDArray[np.bool_]
    pending: NDArray[np.bool_]
    missing: NDArray[np.bool_]
    excluded: NDArray[np.bool_]
    matured_at_us: NDArray[np.int64]


def cohort_of(experiment: Experiment, columns: UnitColumns, now_us: int) -> Cohort:
    """A replayed unit matures when all its bots have reported, any other when its attribution window has closed.

    The window runs from the unit's start, the same for both arms, so that an arm which holds losers longer
    does not look better early (statistics 4.4).
    """
    span_us = (experiment.unit_duration_s + experiment.attribution_s) * 1_000_000
    closes_us = columns.started_at_us + span_us
    is_replay = columns.fill == "replay"
    reported = (columns.reported >= columns.bots) & (columns.bots > 0)
    closed = closes_us <= now_us
    excluded = columns.excluded != None  # noqa: E711 - element by element
    mature = reported & (is_replay | closed) & ~excluded
    missing = closed & ~reported & ~excluded
    settled_us = np.maximum(columns.settled_at_us, np.where(is_replay, 0, closes_us))
    return Cohort(mature, ~mature & ~missing & ~excluded, missing, excluded, settled_us)


def build_report(engine: Engine, key: str, days: int, now_us: int) -> dict[str, Any]:
    """The report in its JSON shape (docs/api.md)."""
    with engine.connect() as connection:
        experiment = experiments.get(connection, key)
        columns = read_units(connection, key)
        stages = _stages(connection, experiment, columns)
        lost = {
            "parked_outcomes": parked_outcomes(connection, key),
            "dead_letters": dead_letters(connection, key),
        }
    history = change.history(engine, key)
    cohort = cohort_of(experiment, columns, now_us)
    fill, fills = _fill_of(columns, cohort)
    judged = cohort.mature & (columns.fill == fill)
    design = _design(experiment, stages)
    whole = as_dict(
        report(
            design,
            units_of(experiment, columns, cohort, judged, stages),
            counts_of(experiment, columns, cohort),
            stages,
        )
    )
    return {
        "experiment": key,
        "days": days,
        "as_of_us": now_us,
        "fill": fill,
        "split": split_shape(history[-1]),
        **whole,
        "window": _window(experiment, columns, cohort, judged, stages, now_us - days * _DAY_US),
        "excluded": _excluded(columns, cohort) | lost,
        "warnings": [*whole["warnings"], *_warnings(columns, fill, fills)],
    }


def _design(experiment: Experiment, stages: Sequence[Stage]) -> Design:
    return Design(
        arms=experiment.arms,
        control=experiment.control,
        treatment=experiment.treatment,
        metric=experiment.metric,
        alpha=experiment.alpha,
        started_us=stages[0].started_us,
        unit_name=experiment.unit_kind,
        attribution_s=experiment.attribution_s,
    )


def _stages(connection: Connection, experiment: Experiment, columns: UnitColumns) -> list[Stage]:
    """The stages with the units that were assigned in each, mature or not, excluded ones left out."""
    history = experiments.splits(connection, experiment.key)
    by_version = {s.version: experiments.weights(s) for s in history}
    starts = experiments.stage_starts(connection, experiment.key)
    counted = columns.excluded == None  # noqa: E711
    index = stage_index(columns, [version for version, _ in starts])
    stages = []
    for i, (version, started_us) in enumerate(starts):
        arms = Counter(columns.arm[counted & (index == i)].tolist())
        weights = tuple(by_version[version].get(arm, 0.0) for arm in experiment.arms)
        stages.append(Stage(version, weights, tuple(arms[a] for a in experiment.arms), started_us))
    return stages


def stage_index(columns: UnitColumns, versions: Sequence[int]) -> NDArray[np.int64]:
    """Which stage each unit was bound in: the last that opened at or before its split version."""
    return np.searchsorted(np.array(versions), columns.split_version, side="right").astype(np.int64) - 1


def units_of(
    experiment: Experiment,
    columns: UnitColumns,
    cohort: Cohort,
    rows: NDArray[np.bool_],
    stages: Sequence[Stage],
) -> Units:
    """The picked units in maturity order."""
    picked = np.flatnonzero(rows)
    picked = picked[np.argsort(cohort.matured_at_us[picked], kind="stable")]
    arm_index = {arm: i for i, arm in enumerate(experiment.arms)}
    traded = (columns.market_trades + columns.trades + columns.stake_micro) > 0
    won = columns.won == 1 if experiment.win == "reported" else columns.pnl_micro > 0
    taken = {n: getattr(columns, n)[picked] for n in _TAKEN}
    return Units(
        arm=np.array([arm_index[a] for a in columns.arm[picked]], dtype=np.int64),
        stage=stage_index(columns, [s.version for s in stages])[picked],
        e=_propensities(experiment, columns.weights[picked]),
        day=cohort.matured_at_us[picked] // _DAY_US,
        traded=traded[picked],
        won=(won & traded)[picked],
        **taken,
    )


_TAKEN = ("pnl_micro", "stake_micro", "fee_micro", "decisions", "fallbacks", "trades", "trade_wins")


def _propensities(experiment: Experiment, weights: NDArray[np.object_]) -> NDArray[np.float64]:
    """e of the pair, nan where neither arm had a share. Few distinct texts, each decoded once."""
    by_text = {}
    for text in set(weights.tolist()):
        e = propensity(msgspec.json.decode(text), experiment.control, experiment.treatment)
        by_text[text] = np.nan if e is None else e
    return np.array([by_text[text] for text in weights], dtype=np.float64)


def counts_of(experiment: Experiment, columns: UnitColumns, cohort: Cohort) -> dict[str, ArmCounts]:
    """Per assigned arm, whatever the fill."""
    counts = {}
    for arm in experiment.arms:
        own = columns.arm == arm
        counts[arm] = ArmCounts(
            units=int(own.sum()),
            pending=int((own & cohort.pending).sum()),
            missing=int((own & cohort.missing).sum()),
            excluded=int((own & cohort.excluded).sum()),
            contaminated=int(columns.contaminated[own].sum()),
            decisions=int(columns.decisions[own].sum()),
            fallbacks=int(columns.fallbacks[own].sum()),
        )
    return counts


def _fill_of(columns: UnitColumns, cohort: Cohort) -> tuple[str, list[str]]:
    """The kind of fill that is judged: live before paper before replay; never pooled."""
    present = set(columns.fill[cohort.mature].tolist())
    return next((f for f in _FILLS if f in present), "live"), sorted(present)


def _window(
    experiment: Experiment,
    columns: UnitColumns,
    cohort: Cohort,
    judged: NDArray[np.bool_],
    stages: Sequence[Stage],
    since_us: int,
) -> dict[str, Any]:
    """Descriptive counts of the units that matured since then: a window, not evidence."""
    units = units_of(experiment, columns, cohort, judged & (cohort.matured_at_us >= since_us), stages)
    arms = {}
    for i, arm in enumerate(experiment.arms):
        own = units.take(units.arm == i)
        arms[arm] = {
            "mature": len(own),
            "traded": int(own.traded.sum()),
            "wins": int(own.won.sum()),
            "pnl_usd": int(own.pnl_micro.sum()) / 1e6,
            "trades": int(own.trades.sum()),
            "decisions": int(own.decisions.sum()),
        }
    return {
        "label": "window, not evidence",
        "since_us": since_us,
        "covers_all": len(units) == int(judged.sum()),
        "arms": arms,
    }


def _excluded(columns: UnitColumns, cohort: Cohort) -> dict[str, int]:
    reasons = Counter(columns.excluded[cohort.excluded].tolist())
    counts = {reason: reasons[reason] for reason in ("forced", "killed", "ineligible")}
    counts["contaminated"] = int(columns.contaminated.sum())
    counts["start_conflicts"] = int((columns.start_conflicts > 0).sum())
    return counts


def _warnings(columns: UnitColumns, fill: str, fills: Sequence[str]) -> list[str]:
    warnings = []
    if len(fills) > 1:
        others = ", ".join(f for f in fills if f != fill)
        warnings.append(f"units with {others} fills are left out: this report judges {fill} fills only")
    if columns.contaminated.any():
        warnings.append(
            f"{int(columns.contaminated.sum())} units were assigned to two arms: look for bots with changing started_at"
        )
    if columns.stale.any():
        warnings.append(
            f"{int(columns.stale.sum())} decisions were made while the split could not be confirmed"
        )
    return warnings
