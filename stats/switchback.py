"""A switchback judged: a block of time is the unit of the coin, so it is one row of the comparison.

Units of a block share a coin, a market and its news: they are summed, and only blocks are counted (cluster
randomisation; Bojinov, Simchi-Levi and Zhao, Management Science 2023, for designs in time). If the arm of a
block changes nothing about it, its score has mean 0 given all other blocks, whatever the drift and whatever
the dependence between blocks; so the report's bound holds on blocks at any look.

Carry-over: if what the block before did still acts after the burn-in, the effect is not that of a lasting
policy. The coin before is independent of the own one, so the same comparison by the arm of the block *before*
asks it: under no carry-over its score has mean 0 too (the lag-one question of the same paper, section 5). It
says whether to trust the effect, and never which units to use: a choice of the analysis by such a test has no
level of its own (Freeman, Statistics in Medicine 1989, of crossover trials).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stats.contamination import contamination
from stats.design import Design, History
from stats.effect import Effect
from stats.errors import UnitsError
from stats.gates import Evidence, gates
from stats.metric_effect import metric_effect
from stats.moments import group_sums
from stats.report import Report, judged_of, report
from stats.scores import Scores, pair_rows, pair_scores
from stats.srm import srm
from stats.status import METRICS, Metric
from stats.units import ArmCounts, Stage, Units
from stats.verdict import broken, verdict

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Blocks:
    """of: each unit's block, numbered from 0; before: of each block, the number of the block before it in the
    same family, or -1 where it has no unit.
    """

    of: Ints
    before: Ints

    def __post_init__(self) -> None:
        known = len(self.before)
        if len(self.of) and not (self.of.min() >= 0 and self.of.max() < known):
            raise UnitsError(
                f"blocks.of names a block beyond the {known} of blocks.before: number both alike"
            )
        if known and not (self.before.min() >= -1 and self.before.max() < known):
            raise UnitsError(f"blocks.before lies outside -1 to {known - 1}: give numbers of blocks, or -1")


@dataclass(frozen=True, slots=True)
class Blocked:
    """Scores with one row a block, and each row's block. divided: blocks left out for having two arms."""

    scores: Scores
    at: Ints
    divided: int


@dataclass(frozen=True, slots=True)
class Switchback:
    """The report with blocks as rows; carry_over: the effect of the arm of the block before."""

    report: Report
    carry_over: Effect
    blocks: Mapping[str, int]
    divided: int


def blocked(scores: Scores, of: Ints) -> Blocked:
    """of: shape (rows of the scores,). Blocks in the order in which they became complete.

    Trials and sums are divided by the mean units of a block, which ratios do not notice: so a block weighs
    about 1, as the bound's plan and the test of skewness take a row. How many units a block has is the
    market's, and no arm's, doing.
    """
    found, last, at = _by_completion(of)
    count = len(found)
    treated = group_sums(at, scores.treated.astype(np.float64), count)
    units = group_sums(at, np.ones(len(of)), count)
    whole = (treated == 0.0) | (treated == units)
    size = len(of) / max(1, count)
    rows = replace(
        scores,
        day=np.maximum.accumulate(scores.day[last]) if count else scores.day[:0],
        treated=treated > 0.0,
        traded=group_sums(at, scores.traded.astype(np.float64), count) > 0.0,
        e=scores.e[last],
        trials=group_sums(at, scores.trials, count) / size,
        sums=group_sums(at, scores.sums, count) / size,
    )
    return Blocked(rows.take(whole), found[whole], int(count - whole.sum()))


def lagged(own: Blocked, before: Ints) -> Scores:
    """The same outcomes by the arm, and its propensity, of the block before; blocks without one are left
    out.
    """
    place = np.full(len(before) + 1, -1, dtype=np.int64)
    place[own.at] = np.arange(len(own.at))
    earlier = place[before[own.at]] if len(own.at) else own.at
    rows = np.flatnonzero((earlier >= 0) & (before[own.at] >= 0))
    scores = own.scores
    treated, e = scores.treated[earlier[rows]], scores.e[earlier[rows]]
    picked = scores.take(np.isin(np.arange(len(own.at)), rows))
    return replace(picked, treated=treated, e=e)


def switchback(
    design: Design,
    units: Units,
    blocks: Blocks,
    counts: Mapping[str, ArmCounts],
    stages: Sequence[Stage],
    history: History,
) -> Switchback:
    """Judge complete blocks. units: of complete blocks only, burn-in left out, in maturity order. stages:
    with blocks as their counts.
    """
    told = report(design, units, counts, stages, history)
    kept = blocks.of[pair_rows(units, *design.pair)]
    rows: dict[Metric, Blocked] = {
        metric: blocked(pair_scores(units, *design.pair, metric), kept) for metric in METRICS
    }
    scored: dict[Metric, Scores] = {metric: found.scores for metric, found in rows.items()}
    effects = {metric: metric_effect(design, metric, scored[metric], history) for metric in METRICS}
    primary, pnl = (
        judged_of(design, effects[m], told.arms, counts, units, stages) for m in (design.metric, "pnl")
    )
    own = rows[design.metric]
    before = metric_effect(design, design.metric, lagged(own, blocks.before), history)
    fault = (
        broken(primary, pnl, srm(stages), contamination(design, counts))
        or _divided(own)
        or _carried(design, before)
    )
    found = Evidence(
        scored,
        {design.metric: primary.effect, "pnl": pnl.effect},
        {design.metric: primary.missing, "pnl": pnl.missing},
        history,
        primary.share,
        None,
    )
    gated = gates(design, found, fault)
    said = replace(verdict(design, primary, pnl, fault, gated), more_units=None)
    judged = replace(
        told, effect=primary.effect, pnl_effect=pnl.effect, srm=srm(stages), verdict=said, gates=gated
    )
    return Switchback(judged, before, _counted(design, own), own.divided)


def _divided(own: Blocked) -> str | None:
    whole = len(own.at) + own.divided
    if own.divided < 2 or own.divided * 100 <= whole:
        return None
    return f"{own.divided:,} of {whole:,} blocks hold units of both arms: find why their coins differ"


def _carried(design: Design, before: Effect) -> str | None:
    if before.p is None or before.p > design.alpha:
        return None
    return (
        f"the arm of the block before still acts after the burn-in (p = {before.p:.2g}, at any look): the"
        " effect is not that of a lasting policy; begin an experiment with a longer burn_in_s"
    )


def _counted(design: Design, own: Blocked) -> dict[str, int]:
    treated = int(np.count_nonzero(own.scores.treated))
    return {design.treatment: treated, design.control: len(own.at) - treated}


def _by_completion(of: Ints) -> tuple[Ints, Ints, Ints]:
    """(blocks, row of each one's last unit, each row's place among them)."""
    found, from_behind = np.unique(of[::-1], return_index=True)
    last = len(of) - 1 - from_behind
    order = np.argsort(last, kind="stable")
    place = np.empty(len(found), dtype=np.int64)
    place[order] = np.arange(len(found))
    at = place[np.searchsorted(found, of)] if len(of) else of
    return found[order], last[order], at
