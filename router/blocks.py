"""Which block of a switchback each unit belongs to, and which blocks are complete. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.cohort import arm_index, stage_index
from router.coins import family_of
from router.errors import BadStartedAt, BadUnit
from router.starts import compile_pattern
from router.switchback import US
from stats.switchback import Blocks
from stats.units import Stage
from store.records import Experiment
from store.unit_columns import UnitColumns

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BlockTable:
    """blocks: of all units, in the order of the columns; ends_us: when each block ends."""

    blocks: Blocks
    ends_us: Ints

    def complete(self, span_us: int, now_us: int) -> NDArray[np.bool_]:
        """Which units are in a block that nothing can be added to: its last possible unit has matured."""
        closed: NDArray[np.bool_] = self.ends_us + span_us <= now_us
        return closed[self.blocks.of]


def block_table(experiment: Experiment, columns: UnitColumns, names: Sequence[str]) -> BlockTable:
    """names: of the same units; not looked at where a block is everybody's."""
    index = (columns.started_at_us // (experiment.block_s * US)).tolist()
    keys = list(zip(_families(experiment, names, len(index)), index, strict=True))
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    of = np.fromiter(map(numbers.__getitem__, keys), dtype=np.int64, count=len(keys))
    before = [numbers.get((family, block - 1), -1) for family, block in numbers]
    ends_us = [(block + 1) * experiment.block_s * US for _, block in numbers]
    return BlockTable(Blocks(of, np.array(before, dtype=np.int64)), np.array(ends_us, dtype=np.int64))


def block_stages(
    experiment: Experiment, columns: UnitColumns, of: Ints, stages: Sequence[Stage]
) -> list[Stage]:
    """The stages with blocks as their counts, for each had one coin; excluded units left out."""
    kept = np.flatnonzero(columns.excluded == None)  # noqa: E711 - element by element
    _, first = np.unique(of[kept], return_index=True)
    rows = kept[first]
    at = stage_index(columns.split_version[rows], [stage.version for stage in stages])
    arm = arm_index(experiment, columns.arm[rows])
    counted = [
        tuple(int(np.count_nonzero((at == place) & (arm == own))) for own in range(len(experiment.arms)))
        for place in range(len(stages))
    ]
    return [
        Stage(stage.version, stage.weights, counts, stage.started_us)
        for stage, counts in zip(stages, counted, strict=True)
    ]


def _families(experiment: Experiment, names: Sequence[str], count: int) -> list[str]:
    if experiment.block_by == "all":
        return [""] * count
    pattern = None if experiment.unit_pattern is None else compile_pattern(experiment.unit_pattern)

    def family(unit: str) -> str:
        try:
            return family_of(experiment, pattern, unit)
        except (BadUnit, BadStartedAt):  # the service answers none; an older definition may have
            return unit

    return [*map(family, names)]
