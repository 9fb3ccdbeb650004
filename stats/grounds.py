"""What the conditions of a promotion are judged by: days that are compared, and each stage's own effect."""

from collections.abc import Sequence

import numpy as np

from stats.conditions import Condition, day_blocks, stages_agree, weekly_cycles
from stats.day_blocks import day_block_low, day_places
from stats.design import Design, History
from stats.effect import path_of
from stats.metric_effect import pair_of
from stats.scores import Scores, pair_rows, to_door
from stats.stage_pool import agreement
from stats.units import Units

StageEffect = tuple[float, float, float]
"""(effect, standard error, degrees of freedom of the error), at the door."""


def conditions_of(
    design: Design, scores: Scores, units: Units, stages: int, history: History
) -> tuple[Condition, ...]:
    """Of a report. scores: of the design's metric; stages: how many there were."""
    low = days_low(design, scores, history, design.alpha)
    effects = stage_effects(design, scores, units, history) if stages > 1 else []
    return (
        weekly_cycles(compared_days(scores)),
        day_blocks(low, 0.0),
        stages_agree(len(effects), agreement_p(effects)),
    )


def compared_days(scores: Scores) -> int:
    """Whole days with units whose coin could have fallen either way: the newest is not over yet."""
    places = day_places(scores.day[scores.judged])
    return int(places.max()) if len(places) else 0


def days_low(design: Design, scores: Scores, history: History, alpha: float) -> float | None:
    """`day_block_low` of the design's metric, at the door."""
    low = day_block_low(scores, history.prior(design.metric), alpha)
    return None if low is None else low * to_door(design.metric)


def stage_effects(design: Design, scores: Scores, units: Units, history: History) -> list[StageEffect]:
    """Of every stage that is ready by itself. scores: of the units' pair, of the design's metric."""
    stage = units.stage[pair_rows(units, *design.pair)]
    pair, door = pair_of(design, design.metric, scores, history), to_door(design.metric)
    looks = [path_of(scores.take(stage == index), pair)[-1] for index in np.flatnonzero(np.bincount(stage))]
    ready = [look for look in looks if look.has_both and look.ready and look.error > 0.0]
    return [(look.effect * door, look.error * door, look.error_df) for look in ready]


def agreement_p(effects: Sequence[StageEffect]) -> float | None:
    """p of stages with one effect (Welch's); None below two stages."""
    return agreement(*zip(*effects, strict=True)) if len(effects) > 1 else None
