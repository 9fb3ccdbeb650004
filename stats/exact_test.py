"""Exact tests of two win rates, and of one: no normal approximation, for small counts.

One-sided, Boschloo's is never weaker than Fisher's (Boschloo 1970). Its cost grows fast, and from a few
hundred units on the score test says the same: above 260 units these refuse.
"""

import math

import numpy as np

from stats.comparison import Comparison, refused
from stats.errors import UnitsError
from stats.two_by_two import TwoByTwo, unreadable

MOST_UNITS = 260


def boschloo(table: TwoByTwo) -> Comparison:
    """Unconditional p, Fisher's p as its statistic (two-sided: twice the smaller one-sided)."""
    blocked = _blocked(table)
    if blocked is not None:
        return blocked
    from scipy.stats import boschloo_exact

    found = boschloo_exact(_cells(table))
    return Comparison(estimate=table.difference, statistic=float(found.statistic), p=float(found.pvalue))


def barnard(table: TwoByTwo) -> Comparison:
    """Unconditional p, the pooled z as its statistic (Barnard 1945)."""
    return _barnard(table, pooled=True)


def barnard_unpooled(table: TwoByTwo) -> Comparison:
    """Unconditional p, Wald's z as its statistic."""
    return _barnard(table, pooled=False)


def fisher(table: TwoByTwo) -> Comparison:
    """p given the total of wins (Fisher 1935); quick at any size. Kept beside the others, which it never
    beats.
    """
    blocked = unreadable(table)
    if blocked is not None:
        return blocked
    from scipy.stats import fisher_exact

    return Comparison(estimate=table.difference, p=float(fisher_exact(_cells(table)).pvalue))


def fisher_greater(table: TwoByTwo) -> Comparison:
    """One-sided p against "the treatment is not better"."""
    blocked = unreadable(table)
    if blocked is not None:
        return blocked
    from scipy.stats import fisher_exact

    found = fisher_exact(_cells(table), alternative="greater")
    return Comparison(estimate=table.difference, p=float(found.pvalue))


def odds_ratio(table: TwoByTwo) -> float | None:
    """wins_1 losses_0 / (losses_1 wins_0); None where that divides by 0."""
    below = (table.trials_1 - table.wins_1) * table.wins_0
    return table.wins_1 * (table.trials_0 - table.wins_0) / below if below else None


def conditional_odds_ratio(table: TwoByTwo) -> float | None:
    """The likeliest odds ratio given the total of wins, Fisher's; None where it is 0/0 or infinite."""
    from scipy.stats.contingency import odds_ratio as likeliest

    blocked = unreadable(table)
    if blocked is not None:
        return None
    found = float(likeliest(_cells(table), kind="conditional").statistic)
    return found if math.isfinite(found) else None


def binomial_p(wins: int, trials: int, share: float) -> float | None:
    """Exact two-sided p of "each of the trials is a win with probability `share`"; None without trials."""
    if not (0 <= wins <= trials and 0.0 <= share <= 1.0):
        raise UnitsError(
            f"{wins} wins in {trials} trials at share {share!r}: give 0 <= wins <= trials, a share"
        )
    if trials == 0:
        return None
    from scipy.stats import binomtest

    return min(1.0, float(binomtest(wins, trials, share).pvalue))


def _barnard(table: TwoByTwo, *, pooled: bool) -> Comparison:
    blocked = _blocked(table)
    if blocked is not None:
        return blocked
    if table.pooled in (0.0, 1.0):
        return Comparison(estimate=0.0, statistic=0.0, p=1.0)
    from scipy.stats import barnard_exact

    found = barnard_exact(_cells(table), pooled=pooled)
    statistic = float(found.statistic)
    return Comparison(
        estimate=table.difference,
        statistic=statistic if math.isfinite(statistic) else None,
        p=float(found.pvalue),
    )


def _blocked(table: TwoByTwo) -> Comparison | None:
    blocked = unreadable(table)
    if blocked is None and table.units > MOST_UNITS:
        reason = f"more than {MOST_UNITS} units: read the score test, which is as good there"
        return refused(reason, table.difference)
    return blocked


def _cells(table: TwoByTwo) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Rows: wins, losses; columns: treatment, control."""
    wins = (table.wins_1, table.wins_0)
    losses = (table.trials_1 - table.wins_1, table.trials_0 - table.wins_0)
    return np.array([wins, losses], dtype=np.int64)
