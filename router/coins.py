"""Which coin a unit has, as its experiment says: its own, or that of its block."""

import re

from router.assignment import Assigned, assign
from router.errors import BadUnit
from router.snapshot import View
from router.starts import read_unit
from router.switchback import assign_block
from store.records import Experiment


def assigned_of(view: View, unit: str, start_us: int) -> Assigned:
    """The arm of a unit that started then: the same in every process."""
    experiment = view.experiment
    if experiment.assignment == "unit":
        return assign(view.gate, view.history, unit, start_us)
    family = family_of(experiment, view.pattern, unit)
    return assign_block(view.history, family, start_us, experiment.block_s)


def family_of(experiment: Experiment, pattern: re.Pattern[str] | None, unit: str) -> str:
    """The part of a block's coin that its name gives; empty where one block is everybody's."""
    if experiment.block_by == "all":
        return ""
    named = None if pattern is None else read_unit(pattern, unit)
    if named is None or named.family is None:
        rule = f"must match unit_pattern, whose family has a coin a block, but {unit!r} does not"
        raise BadUnit("unit", rule, 'name it so, or create the experiment with block_by = "all"')
    return named.family
