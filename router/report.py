"""Builds the report of an experiment from unit totals: one function behind HTTP and CLI. Knows no FastAPI."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine

from router.assignment import Split
from router.cohort import Bools, Cohort, cohort_of, counts_of, first_fill, stage_index, units_of
from router.split_log import history_of
from router.splits import rfc3339, split_shape
from stats.exact import exact_sum
from stats.report import Design, report
from stats.shape import as_dict
from stats.units import Stage
from store import experiments, models, records
from store.models import AliasChange
from store.oddities import odd_counts
from store.records import Experiment, Fill
from store.unit_columns import UnitColumns, read_units

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Read:
    """What SQL says. Units are read before splits, so no unit has a version that is not there."""

    experiment: Experiment
    columns: UnitColumns
    split: Split
    stages: list[Stage]
    odd: dict[str, int]
    promotions: list[AliasChange]


def build_report(
    engine: Engine, key: str, days: int, now_us: int, fill: Fill | None = None
) -> dict[str, Any]:
    """The report in its JSON shape (docs/api.md). fill: None judges the kind of the first mature unit."""
    with engine.connect() as connection:
        found = read(connection, key)
    experiment, columns, stages = found.experiment, found.columns, found.stages
    cohort = cohort_of(experiment, columns, now_us)
    judged_fill = fill or first_fill(columns, cohort)
    judged = cohort.mature & (columns.fill == judged_fill)
    units = units_of(experiment, columns, cohort, judged, stages)
    counts = counts_of(experiment, columns, cohort)
    whole = as_dict(report(_design(experiment, stages), units, counts, stages))
    return {
        "experiment": key,
        "days": days,
        "as_of": rfc3339(now_us),
        "fill": judged_fill,
        "split": split_shape(found.split),
        **whole,
        "window": _window(found, cohort, judged, now_us - days * _DAY_US),
        "excluded": _excluded(columns, cohort, judged) | found.odd,
        "warnings": [*whole["warnings"], *_warnings(found, cohort, judged_fill)],
    }


def read(connection: Connection, key: str) -> Read:
    """Unit totals and splits; never the decisions."""
    experiment = experiments.get(connection, key)
    columns = read_units(connection, key)
    stored = experiments.splits(connection, key)
    starts = experiments.stage_starts(connection, key)
    stages = _stages(experiment, columns, stored, starts)
    split = history_of(experiment, stored)[-1]
    odd = odd_counts(connection, key)
    return Read(experiment, columns, split, stages, odd, models.alias_history(connection))


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
            "pnl_usd": exact_sum(own.pnl_micro) / 1e6,
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
    counts["beyond_range"] = int(cohort.beyond.sum())
    counts["other_fill"] = int((cohort.mature & ~judged).sum())
    counts["mixed_fill"] = int((columns.fill == "mixed").sum())
    counts["contaminated"] = int(columns.contaminated.sum())
    counts["start_conflicts"] = int((columns.start_conflicts > 0).sum())
    counts["late"] = int(cohort.late.sum())
    counts["reused"] = int(cohort.reused.sum())
    counts["unserved"] = int((columns.unserved > 0).sum())
    return counts


def _warnings(found: Read, cohort: Cohort, fill: str) -> list[str]:
    columns = found.columns
    counted = [
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
            "units were reported after their attribution window: they stay missing",
        ),
        (
            int(cohort.reused.sum()),
            "units were asked about again after their maturity: give every episode an id of its own",
        ),
        (
            int((columns.fill == "mixed").sum()),
            "units have market outcomes of different fills: they are missing once their window has closed",
        ),
        (
            int(cohort.beyond.sum()),
            "units are left out because their money is no possible amount",
        ),
        (
            found.odd["conflicts"],
            "outcomes contradict an earlier one of the same key: the first counts",
        ),
        (
            found.odd["stranger_outcomes"],
            "market outcomes are of bots that made no decision in the unit: they are not counted",
        ),
    ]
    said = (f"{n:,} {text}" for n, text in counted if n)
    return [*_other_fills(columns, cohort, fill), *said, *_model_changes(found)]


def _other_fills(columns: UnitColumns, cohort: Cohort, fill: str) -> list[str]:
    others = Counter(columns.fill[cohort.mature & (columns.fill != fill)].tolist())
    return [
        f"{n:,} units with {other} fills are left out: this report judges {fill} fills;"
        f" see them with --fill {other} (HTTP: ?fill={other})"
        for other, n in sorted(others.items())
    ]


def _model_changes(found: Read) -> list[str]:
    """Arms that got another model after the first unit was bound: their units are not of one model."""
    if not len(found.columns):
        return []
    first_us, last_us = int(found.columns.first_at_us.min()), found.experiment.archived_at_us
    models_of: dict[str, str] = {}
    changed_us: dict[str, int] = {}
    for promoted in (p for p in found.promotions if p.alias == "champion"):
        other = models_of.get(promoted.arm, promoted.model_id) != promoted.model_id
        models_of[promoted.arm] = promoted.model_id
        if other and promoted.at_us > first_us and (last_us is None or promoted.at_us < last_us):
            changed_us[promoted.arm] = promoted.at_us
    return [
        f"the model of arm {arm} changed at {rfc3339(changed_us[arm])}: both models are pooled;"
        " compare models in experiments of their own"
        for arm in found.experiment.arms
        if arm in changed_us
    ]
