"""What a reader must know of the units before believing the table, as SQL tells it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.cohort import Cohort
from router.splits import rfc3339
from router.starts import SKEW_S_DEFAULT
from stats.words import many
from store.models import AliasChange
from store.records import Experiment
from store.unit_columns import UnitColumns


def remarks(
    experiment: Experiment,
    columns: UnitColumns,
    cohort: Cohort,
    odd: dict[str, int],
    promotions: Sequence[AliasChange],
) -> list[str]:
    """Oddities by how many, and arms whose model changed."""
    counted = [
        (int(columns.stale.sum()), "decision", "made while the split could not be confirmed"),
        (_count(cohort.late), "unit", "reported after the attribution window: missing for good"),
        (
            _count(cohort.reused),
            "unit",
            "asked about again after maturity: give every episode an id of its own",
        ),
        (
            _count(columns.fill == "mixed"),
            "unit",
            "with market outcomes of different fills: missing once the window has closed",
        ),
        (_count(cohort.beyond), "unit", "left out, for the money is no possible amount"),
        (odd["conflicts"], "outcome", "contradicting an earlier one of the same key: the first counts"),
        (
            odd["stranger_outcomes"],
            "market outcome",
            "not counted, for the bot made no decision in the unit",
        ),
    ]
    said = (f"{many(n, noun)} {text}" for n, noun, text in counted if n)
    return [*said, *_model_changes(experiment, columns, promotions)]


def clocks(columns: UnitColumns, now_us: int) -> list[str]:
    """Times that cannot be, by more than clocks may differ: nothing is left out for them."""
    skew_us = round(SKEW_S_DEFAULT * 1e6)
    early = (columns.reported > 0) & (columns.settled_at_us < columns.started_at_us - skew_us)
    ahead = columns.started_at_us > now_us + skew_us
    counted = [
        (_count(early), "settled before starting: a clock ran backwards, or bots report too early"),
        (_count(ahead), "starting only after now: this machine's clock is behind"),
    ]
    return [f"{many(n, 'unit')} {text}" for n, text in counted if n]


def _count(rows: NDArray[Any]) -> int:
    return int(np.count_nonzero(rows))


def other_fills(columns: UnitColumns, cohort: Cohort, fill: str) -> list[str]:
    """Mature units that the report leaves out, and how to see them."""
    others = Counter(columns.fill[cohort.mature & (columns.fill != fill)].tolist())
    return [
        f"{many(n, 'unit')} with {other} fills left out: this report judges {fill} fills;"
        f" see them with --fill {other} (HTTP: ?fill={other})"
        for other, n in sorted(others.items())
    ]


def _model_changes(
    experiment: Experiment, columns: UnitColumns, promotions: Sequence[AliasChange]
) -> list[str]:
    """Arms that got another model after the first unit was bound: their units are not of one model."""
    if not len(columns):
        return []
    first_us, last_us = int(columns.first_at_us.min()), experiment.archived_at_us
    models_of: dict[str, str] = {}
    changed_us: dict[str, int] = {}
    for promoted in (p for p in promotions if p.alias == "champion"):
        other = models_of.get(promoted.arm, promoted.model_id) != promoted.model_id
        models_of[promoted.arm] = promoted.model_id
        if other and promoted.at_us > first_us and (last_us is None or promoted.at_us < last_us):
            changed_us[promoted.arm] = promoted.at_us
    return [
        f"the model of arm {arm} changed at {rfc3339(changed_us[arm])}: both models are pooled;"
        " compare models in experiments of their own"
        for arm in experiment.arms
        if arm in changed_us
    ]
