"""What each stage of the split says by itself: raw, read beside the combined effect, never instead."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stats.boundary import e_from_log
from stats.design import Design
from stats.moments import group_sums
from stats.scores import metric_columns, to_door
from stats.srm import chi_square_p, log_e
from stats.units import Stage, Units


@dataclass(frozen=True, slots=True)
class StageReport:
    """estimate: raw treatment - control of the design's metric among its mature units (USD for pnl)."""

    version: int
    started_us: int
    weights: dict[str, float]
    counts: dict[str, int]
    mature: dict[str, int]
    estimate: float | None
    srm_p: float | None
    srm_e_value: float


def stage_reports(design: Design, units: Units, stages: Sequence[Stage]) -> tuple[StageReport, ...]:
    """One row per stage, in the order given."""
    arms, cells = len(design.arms), len(design.arms) * len(stages)
    _, trials, sums = metric_columns(units, design.metric)
    cell = units.stage * arms + units.arm
    mature = np.bincount(cell, minlength=cells).reshape(-1, arms).tolist()
    trials_by = group_sums(cell, trials, cells).reshape(-1, arms).tolist()
    sums_by = group_sums(cell, sums, cells).reshape(-1, arms).tolist()
    return tuple(
        StageReport(
            version=stage.version,
            started_us=stage.started_us,
            weights=dict(zip(design.arms, stage.weights, strict=True)),
            counts=dict(zip(design.arms, stage.counts, strict=True)),
            mature=dict(zip(design.arms, mature[index], strict=True)),
            estimate=_gap(sums_by[index], trials_by[index], design),
            srm_p=chi_square_p(stage.counts, stage.weights),
            srm_e_value=e_from_log(log_e(stage.counts, stage.weights)),
        )
        for index, stage in enumerate(stages)
    )


def _gap(sums: Sequence[float], trials: Sequence[float], design: Design) -> float | None:
    treated, control = design.pair
    if trials[treated] == 0.0 or trials[control] == 0.0:
        return None
    return (sums[treated] / trials[treated] - sums[control] / trials[control]) * to_door(design.metric)
