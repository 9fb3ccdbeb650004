"""The pair's units grouped once, so that many questions about them cost little more than one.

A cell is a run of units of one day with one propensity, of one arm. Within a cell weights are equal, so its
count, sum and sum of squares say all that the moments of the pair need (`stats.moments`), and each further
question is two passes over the units instead of twenty. The looks are those of `stats.sequence`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from stats.centre import daily_centre
from stats.design import Design
from stats.moments import Moments, group_sums, merge
from stats.scores import Scores
from stats.sequence import Look

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Panel:
    """rows: positions of the pair's units with a usable propensity; day, e, treated, cell: of each of them.

    cell_day (0, 1, ...), cell_e, cell_treated, cell_units: of each cell. unlogged: pair units left out.
    """

    rows: Ints
    day: Ints
    e: Floats
    treated: Bools
    cell: Ints
    cell_day: Ints
    cell_e: Floats
    cell_treated: Bools
    cell_units: Floats
    unlogged: int

    @property
    def days(self) -> int:
        return int(self.cell_day[-1]) + 1 if len(self.cell_day) else 0

    @property
    def judged(self) -> Bools:
        """Units whose coin could have fallen either way."""
        return (self.e > 0.0) & (self.e < 1.0)


def panel_of(design: Design, arm: Ints, e: Floats, day: Ints) -> Panel:
    """arm: index into the arms; e: the treatment's share within the pair, or nan; day: never falling."""
    treatment, control = design.pair
    treated = arm == treatment
    pair = treated | (arm == control)
    rows = np.flatnonzero(np.where(treated, e > 0.0, pair & (e < 1.0)))
    own_day, own_e, own = day[rows], e[rows], treated[rows]
    new_day = np.diff(own_day, prepend=own_day[:1]) != 0
    run = np.cumsum(new_day | (np.diff(own_e, prepend=own_e[:1]) != 0.0), dtype=np.int64)
    begins = np.flatnonzero(np.diff(run, prepend=-1))
    cell = 2 * run + own
    return Panel(
        rows=rows,
        day=own_day,
        e=own_e,
        treated=own,
        cell=cell,
        cell_day=np.repeat(np.cumsum(new_day, dtype=np.int64)[begins], 2),
        cell_e=np.repeat(own_e[begins], 2),
        cell_treated=np.tile(np.array([False, True]), len(begins)),
        cell_units=np.bincount(cell, minlength=2 * len(begins)).astype(np.float64),
        unlogged=int(np.count_nonzero(pair) - len(rows)),
    )


def panel_looks(panel: Panel, outcome: Floats, prior: float, prior_units: float, decay: float) -> list[Look]:
    """One look per day with units, as `sequence.looks` with one trial a unit. outcome: of the panel's rows,
    in [0, 1]; `third` is left at 0, for it is about money.
    """
    if len(panel.rows) == 0:
        return []
    cells = len(panel.cell_units)
    sums, squares = group_sums(panel.cell, outcome, cells), group_sums(panel.cell, outcome**2, cells)
    brought, units = (group_sums(panel.cell_day, column, panel.days) for column in (sums, panel.cell_units))
    return list(_running(panel, sums, squares, daily_centre(brought, units, prior, prior_units, decay)))


def _running(panel: Panel, sums: Floats, squares: Floats, centres: Floats) -> Iterator[Look]:
    at = np.flatnonzero((panel.cell_e > 0.0) & (panel.cell_e < 1.0) & (panel.cell_units > 0.0))
    day, e, treated, units = (
        panel.cell_day[at],
        panel.cell_e[at],
        panel.cell_treated[at],
        panel.cell_units[at],
    )
    mean = sums[at] / units
    within = np.maximum(squares[at] - units * mean**2, 0.0)
    weight = np.where(treated, 1.0 - e, e)
    per_arm = _moments(2 * day + treated, 2 * panel.days, weight, units, mean - centres[day], within)
    shares = group_sums(day, e * (1.0 - e) * units, panel.days)
    yield from map(
        Look,
        accumulate(per_arm[1::2], merge),
        accumulate(per_arm[0::2], merge),
        np.cumsum(shares).tolist(),
        np.cumsum(shares * centres).tolist(),
        [0.0] * panel.days,
    )


def _moments(
    group: Ints, groups: int, weight: Floats, units: Floats, mean: Floats, within: Floats
) -> list[Moments]:
    """Moments of each group, from cells of equal weight: Chan's merge of many at once."""
    count, once, twice = (group_sums(group, weight**power * units, groups) for power in (0, 1, 2))
    ratio = _divide(group_sums(group, weight * units * mean, groups), once)
    pivot = _divide(group_sums(group, weight**2 * units * mean, groups), twice)
    spread = group_sums(group, weight**2 * (within + units * (mean - pivot[group]) ** 2), groups)
    columns = zip(count, once, ratio, twice, pivot, spread, strict=True)
    return [Moments(int(k), float(d), float(r), float(w), float(c), float(m)) for k, d, r, w, c, m in columns]


def _divide(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0.0)


def panel_scores(panel: Panel, outcome: Floats) -> Scores:
    """The same units one by one."""
    ones = np.ones(len(panel.rows))
    return Scores(
        day=panel.day,
        treated=panel.treated,
        traded=ones > 0.0,
        e=panel.e,
        trials=ones,
        sums=outcome,
        reference=0.0,
        unlogged=panel.unlogged,
    )
