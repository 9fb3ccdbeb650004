"""The evidence of a bandit's look from what SQL holds: totals of mature units by assigned arm."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from router.bandit import Evidence
from router.cohort import counts_of
from router.question import Question
from router.report_rows import Judged, Read, Rows, rows_of
from stats.bandit import ArmTotals, totals_of
from stats.contamination import contamination_of_all
from stats.regret import Regret, regret
from stats.srm import srm
from stats.units import Units
from store.records import Experiment
from store.word_column import Words


def rows_now(engine: Engine, key: str, now_us: int) -> Rows:
    """Everything since the experiment's start, as SQL holds it now."""
    with engine.connect() as connection:
        return rows_of(connection, Question(key=key), now_us)


def evidence_from(rows: Rows, killed: Sequence[str]) -> Evidence:
    """Of mature units only: what is still open could say which arm reports sooner."""
    found, judged = rows.found, rows.judged
    _, units = open_units(found, judged)
    arms = found.experiment.arms
    return Evidence(
        as_of_us=judged.now_us,
        totals={arm: totals_of(units.take(units.arm == place)) for place, arm in enumerate(arms)},
        killed=tuple(sorted(killed)),
        broken=_broken(found, judged),
    )


def regret_from(rows: Rows) -> Regret:
    """Of the same units."""
    own, units = open_units(rows.found, rows.judged)
    return regret(rows.found.experiment.metric, units, len(rows.found.experiment.arms), own)


def open_units(found: Read, judged: Judged) -> tuple[NDArray[np.float64], Units]:
    """Propensities of their own arms, and the judged units whose coin could have fallen on any arm.

    What came before the bandit, when one arm had all, was another time: it would be compared with now.
    """
    weights = propensities_of(found.experiment, found.columns.weights[judged.rows])
    is_open = (weights > 0.0).all(axis=1) & (judged.units.arm >= 0)
    units = judged.units.take(is_open)
    return weights[is_open][np.arange(len(units)), units.arm], units


def propensities_of(experiment: Experiment, weights: Words) -> NDArray[np.float64]:
    """Shape (units, arms): the logged shares at binding, 0 where none was logged."""
    said = [msgspec.json.decode(text or "{}") for text in weights.words]
    table = np.array([[words.get(arm, 0.0) for arm in experiment.arms] for words in said], dtype=np.float64)
    return table.reshape(len(said), len(experiment.arms))[weights.at]


def totals_shape(totals: ArmTotals) -> dict[str, float]:
    """As a line keeps it: the shares can be computed from it again."""
    names = ("units", "traded", "won", "pnl_micro", "squares")
    return {name: getattr(totals, name) for name in names}


def _broken(found: Read, judged: Judged) -> str:
    imbalance = srm(found.stages)
    if imbalance.alarm:
        return f"units did not fall on the arms as the split says ({imbalance.rule})"
    counts = counts_of(found.experiment, found.columns, judged.cohort)
    return contamination_of_all(counts) or ""
