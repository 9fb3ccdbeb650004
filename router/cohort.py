"""How far each unit is, and the columns and counts that a report is made from. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from router.assignment import propensity
from stats.units import LARGEST_MICRO, ArmCounts, Stage, Units
from store.records import Experiment
from store.unit_columns import UnitColumns
from store.word_column import Words

_DAY_US = 86_400_000_000
_TAKEN = ("pnl_micro", "stake_micro", "fee_micro", "decisions", "fallbacks", "trades", "trade_wins")
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cohort:
    """Masks over UnitColumns: every unit is in exactly one of mature, pending, missing and excluded.

    late: missing because its outcomes were complete only after the attribution window.
    reused: asked about again after its maturity: no new coin, but its decisions are no longer one episode's.
    beyond: excluded because its money is no possible amount.
    """

    mature: Bools
    pending: Bools
    missing: Bools
    excluded: Bools
    late: Bools
    reused: Bools
    beyond: Bools
    matured_at_us: NDArray[np.int64]


def cohort_of(experiment: Experiment, columns: UnitColumns, now_us: int) -> Cohort:
    """A replayed unit matures when all its bots have reported, any other when its attribution has closed.

    The window runs from the unit's start, the same for both arms, so that an arm which holds losers longer
    does not look better early (statistics 4.4). What was not complete when it closed stays missing: if late
    reports counted, the cohort would hang on which arm reports late. So does a unit of mixed fills.
    """
    span_us = (experiment.unit_duration_s + experiment.attribution_s) * 1_000_000
    closes_us = columns.started_at_us + span_us
    is_replay = columns.fill == "replay"
    closed = closes_us <= now_us
    in_time = columns.settled_at_us <= closes_us
    complete = (columns.reported >= columns.bots) & (columns.bots > 0) & (columns.fill != "mixed")
    named = columns.excluded != None  # noqa: E711 - element by element
    beyond = _beyond(columns) & ~named
    excluded = named | beyond | burning(experiment, columns.started_at_us)
    mature = complete & (is_replay | (closed & in_time)) & ~excluded
    missing = closed & ~mature & ~excluded
    late = missing & complete & ~in_time
    settled_us = np.where(is_replay, columns.settled_at_us, closes_us)
    reused = (mature | missing) & (columns.last_at_us > np.where(mature, settled_us, closes_us))
    pending = ~mature & ~missing & ~excluded
    return Cohort(mature, pending, missing, excluded, late, reused, beyond, settled_us)


def burning(experiment: Experiment, started_at_us: NDArray[np.int64]) -> Bools:
    """Units that start in the burn-in of a switchback's block: left out for their time alone."""
    if experiment.assignment == "unit":
        return np.zeros(len(started_at_us), np.bool_)
    is_early: Bools = started_at_us % (experiment.block_s * 1_000_000) < experiment.burn_in_s * 1_000_000
    return is_early


def _beyond(columns: UnitColumns) -> Bools:
    """Sums that statistics refuse; the door lets no outcome in that could make one."""
    beyond: Bools = columns.stake_micro < 0
    for money in (columns.pnl_micro, columns.stake_micro, columns.fee_micro):
        if len(money) and (money.max() > LARGEST_MICRO or money.min() < -LARGEST_MICRO):
            beyond = beyond | (money > LARGEST_MICRO) | (money < -LARGEST_MICRO)
    return beyond


def first_fill(columns: UnitColumns, cohort: Cohort) -> str:
    """The fill of the unit that matured first: one more unit of another fill never changes what is judged."""
    mature = np.flatnonzero(cohort.mature)
    if not len(mature):
        return "live"
    first = mature[np.argmin(cohort.matured_at_us[mature])]
    return str(columns.fill.words[columns.fill.at[first]])


def stage_index(split_version: NDArray[np.int64], versions: Sequence[int]) -> NDArray[np.int64]:
    """Which stage each unit was bound in: the last that opened at or before its split version."""
    return np.searchsorted(np.array(versions), split_version, side="right").astype(np.int64) - 1


def arm_index(experiment: Experiment, arm: Words) -> NDArray[np.int64]:
    """Each unit's place among the arms; -1 of an arm that the experiment does not have."""
    places = {name: place for place, name in enumerate(experiment.arms)}
    return arm.each(lambda name: places.get(name or "", -1), np.int64)


def order_of(cohort: Cohort, rows: Bools) -> NDArray[np.int64]:
    """Positions of the picked units in maturity order."""
    picked = np.flatnonzero(rows)
    return picked[np.argsort(cohort.matured_at_us[picked], kind="stable")]


def units_of(
    experiment: Experiment,
    columns: UnitColumns,
    cohort: Cohort,
    picked: NDArray[np.int64],
    stages: Sequence[Stage],
) -> Units:
    """The picked units, in the order given: that of maturity."""
    taken = {name: getattr(columns, name)[picked] for name in _TAKEN}
    traded = columns.market_trades[picked] > 0
    won = columns.won[picked] == 1 if experiment.win == "reported" else taken["pnl_micro"] > 0
    return Units(
        arm=arm_index(experiment, columns.arm[picked]),
        stage=stage_index(columns.split_version[picked], [s.version for s in stages]),
        e=propensities(experiment, columns.weights[picked]),
        day=cohort.matured_at_us[picked] // _DAY_US,
        traded=traded,
        won=won & traded,
        **taken,
    )


def propensities(experiment: Experiment, weights: Words) -> NDArray[np.float64]:
    """e of the pair, nan where neither arm had a share. Few distinct texts, each decoded once."""

    def share(text: str | None) -> float:
        e = propensity(msgspec.json.decode(text or "{}"), experiment.control, experiment.treatment)
        return np.nan if e is None else e

    return weights.each(share, np.float64)


def counts_of(experiment: Experiment, columns: UnitColumns, cohort: Cohort) -> dict[str, ArmCounts]:
    """Per assigned arm, whatever the fill."""
    counts = {}
    unserved, weight = columns.unserved > 0, _missing_weight(experiment, columns, cohort)
    for arm in experiment.arms:
        own = columns.arm == arm
        counts[arm] = ArmCounts(
            units=int(np.count_nonzero(own)),
            pending=int(np.count_nonzero(own & cohort.pending)),
            missing=int(np.count_nonzero(own & cohort.missing)),
            excluded=int(np.count_nonzero(own & cohort.excluded)),
            contaminated=int(columns.contaminated[own].sum()),
            decisions=int(columns.decisions[own].sum()),
            fallbacks=int(columns.fallbacks[own].sum()),
            unserved=int(np.count_nonzero(own & unserved)),
            missing_weight=float(weight[own[cohort.missing]].sum()),
        )
    return counts


def _missing_weight(experiment: Experiment, columns: UnitColumns, cohort: Cohort) -> NDArray[np.float64]:
    """Of each missing unit; 1 where nobody knows its propensity: none weighs more than that."""
    arm, e = columns.arm[cohort.missing], propensities(experiment, columns.weights[cohort.missing])
    is_treated, is_control = arm == experiment.treatment, arm == experiment.control
    weight = np.where(is_treated, 1.0 - e, np.where(is_control, e, 0.0))
    return np.where(np.isnan(weight), 1.0, weight)
