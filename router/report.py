"""Builds the report of an experiment from unit totals: one function behind HTTP and CLI. Knows no FastAPI."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine

from router.assignment import Split
from router.cohort import Bools, Cohort, cohort_of, counts_of, fill_of, stage_index, units_of
from router.split_log import history_of
from router.splits import rfc3339, split_shape
from stats.report import Design, report
from stats.shape import as_dict
from stats.units import Stage
from store import experiments, records
from store.records import Experiment
from store.unit_columns import UnitColumns, dead_letters, parked_outcomes, read_units

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Read:
    """What SQL says. Units are read before splits, so no unit has a version that is not there."""

    experiment: Experiment
    columns: UnitColumns
    split: Split
    stages: list[Stage]
    lost: dict[str, int]


def build_report(engine: Engine, key: str, days: int, now_us: int) -> dict[str, Any]:
    """The report in its JSON shape (docs/api.md)."""
    with engine.connect() as connection:
        found = read(connection, key)
    experiment, columns, stages = found.experiment, found.columns, found.stages
    cohort = cohort_of(experiment, columns, now_us)
    fill = fill_of(columns, cohort)
    judged = cohort.mature & (columns.fill == fill)
    units = units_of(experiment, columns, cohort, judged, stages)
    counts = counts_of(experiment, columns, cohort)
    whole = as_dict(report(_design(experiment, stages), units, counts, stages))
    return {
        "experiment": key,
        "days": days,
        "as_of": rfc3339(now_us),
        "fill": fill,
        "split": split_shape(found.split),
        **whole,
        "window": _window(found, cohort, judged, now_us - days * _DAY_US),
        "excluded": _excluded(columns, cohort, judged) | found.lost,
        "warnings": [*whole["warnings"], *_warnings(columns, cohort, fill)],
    }


def read(connection: Connection, key: str) -> Read:
    """Unit totals and splits; never the decisions."""
    experiment = experiments.get(connection, key)
    columns = read_units(connection, key)
    stored = experiments.splits(connection, key)
    starts = experiments.stage_starts(connection, key)
    lost = {
        "parked_outcomes": parked_outcomes(connection, key),
        "dead_letters": dead_letters(connection, key),
    }
    stages = _stages(experiment, columns, stored, starts)
    return Read(experiment, columns, history_of(experiment, stored)[-1], stages, lost)


def _stages(
    experiment: Experiment,
    columns: UnitColumns,
    stored: Sequence[records.Split],
    starts: Sequence[tuple[int, int]],
) -> list[Stage]:
    """The stages with the units that were assigned in each, mature or not, excluded ones left out."""
    by_version = {split.version: experiments.weights(split) for split in stored}
    counted = columns.excluded == None  # noqa: E711 - element by element
    index = stage_index(columns, [version for version, _ in starts])
    stages = []
    for i, (version, started_us) in enumerate(starts):
        arms = Counter(columns.arm[counted & (index == i)].tolist())
        weights = tuple(by_version[version].get(arm, 0.0) for arm in experiment.arms)
        stages.append(Stage(version, weights, tuple(arms[a] for a in experiment.arms), started_us))
    return stages


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


def _window(found: Read, cohort: Cohort, judged: Bools, since_us: int) -> dict[str, Any]:
    """Descriptive counts of the units that matured since then: a window, not evidence."""
    experiment, recent = found.experiment, judged & (cohort.matured_at_us >= since_us)
    units = units_of(experiment, found.columns, cohort, recent, found.stages)
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
    covers_all = len(units) == int(judged.sum())
    return {
        "label": "window, not evidence",
        "since": rfc3339(since_us),
        "since_us": since_us,
        "covers_all": covers_all,
        "arms": arms,
    }


def _excluded(columns: UnitColumns, cohort: Cohort, judged: Bools) -> dict[str, int]:
    """Units that are left out, by reason, and oddities that are counted though nothing is left out."""
    reasons = Counter(columns.excluded[cohort.excluded].tolist())
    counts = {reason: reasons[reason] for reason in ("forced", "killed", "ineligible")}
    counts["other_fill"] = int((cohort.mature & ~judged).sum())
    counts["contaminated"] = int(columns.contaminated.sum())
    counts["start_conflicts"] = int((columns.start_conflicts > 0).sum())
    counts["late"] = int(cohort.late.sum())
    counts["reused"] = int(cohort.reused.sum())
    return counts


def _warnings(columns: UnitColumns, cohort: Cohort, fill: str) -> list[str]:
    others = sorted(set(columns.fill[cohort.mature].tolist()) - {fill})
    odd = [
        (
            len(others),
            f"units with {', '.join(others)} fills are left out: this report judges {fill} fills only",
        ),
        (
            int(np.count_nonzero(columns.contaminated)),
            "units were assigned to two arms: look for bots with changing started_at",
        ),
        (
            int(columns.stale.sum()),
            "decisions were made while the split could not be confirmed",
        ),
        (
            int(cohort.late.sum()),
            "units were reported after their attribution window and count since then",
        ),
        (
            int(cohort.reused.sum()),
            "units were asked about again after their maturity: give every episode an id of its own",
        ),
    ]
    fills, *counted = odd
    return [*([fills[1]] if fills[0] else []), *(f"{n:,} {text}" for n, text in counted if n)]
