"""Two win rates compared by their counts, one look, independent trials.

`pooled_z` tests, `newcombe` gives the interval: finite and inside [-1, 1] at no wins and at all wins, where
Wald's formula has width 0.
"""

import math
from dataclasses import replace

from stats.comparison import Comparison, by_normal, check_alpha
from stats.interval import wilson
from stats.special import normal_sf
from stats.two_by_two import TwoByTwo, unreadable

NO_DIFFERENCE = Comparison(estimate=0.0, statistic=0.0, p=1.0)


def pooled_z(table: TwoByTwo) -> Comparison:
    """z with the variance under "no difference" (Pearson 1900); p only, its interval would be another
    test's.

    All or no wins in both arms is 0/0: z = 0, p = 1, as the exact tests say.
    """
    blocked = unreadable(table)
    if blocked is not None:
        return blocked
    if table.pooled in (0.0, 1.0):
        return NO_DIFFERENCE
    error = math.sqrt(table.pooled * (1.0 - table.pooled) * (1.0 / table.trials_1 + 1.0 / table.trials_0))
    z = table.difference / error
    return Comparison(
        estimate=table.difference, error=error, statistic=z, p=min(1.0, 2.0 * normal_sf(abs(z)))
    )


def yates_z(table: TwoByTwo) -> Comparison:
    """`pooled_z` drawn towards 0 by half a trial an arm (Yates 1934): careful with few trials, where the
    exact tests are better.
    """
    found = pooled_z(table)
    if found.error is None or found.statistic is None:
        return found
    drawn = 0.5 / table.trials_1 + 0.5 / table.trials_0
    z = math.copysign(max(0.0, abs(table.difference) - drawn) / found.error, found.statistic)
    return replace(found, statistic=z, p=min(1.0, 2.0 * normal_sf(abs(z))))


def likelihood_ratio(table: TwoByTwo) -> Comparison:
    """Wilks' G (1938) as a signed root: what the pooled z approximates."""
    found = pooled_z(table)
    if found.error is None:
        return found
    cells = [
        (count, trials * share)
        for wins, trials in ((table.wins_1, table.trials_1), (table.wins_0, table.trials_0))
        for count, share in ((wins, table.pooled), (trials - wins, 1.0 - table.pooled))
    ]
    half = math.fsum(count * math.log(count / expected) for count, expected in cells if count)
    z = math.copysign(math.sqrt(max(0.0, 2.0 * half)), table.difference)
    return Comparison(estimate=table.difference, statistic=z, p=min(1.0, 2.0 * normal_sf(abs(z))))


def unpooled_z(table: TwoByTwo, alpha: float = 0.05, margin: float = 0.0) -> Comparison:
    """Wald's z of difference + margin. Degenerate when each arm is all wins or none: read `newcombe`."""
    blocked = unreadable(table)
    if blocked is not None:
        return blocked
    return _wald(table.rates, (table.trials_1, table.trials_0), alpha, margin)


def agresti_caffo(table: TwoByTwo, alpha: float = 0.05, margin: float = 0.0) -> Comparison:
    """Wald's on one win and one loss more in each arm (Agresti and Caffo 2000); statistic of difference +
    margin.

    `estimate` and the interval are the shrunken ones; an end may pass 1 or -1.
    """
    blocked = unreadable(table)
    if blocked is not None:
        return blocked
    trials = (table.trials_1 + 2, table.trials_0 + 2)
    return _wald(((table.wins_1 + 1) / trials[0], (table.wins_0 + 1) / trials[1]), trials, alpha, margin)


def newcombe(table: TwoByTwo, alpha: float = 0.05) -> Comparison:
    """Two Wilson intervals squared and added (Newcombe 1998, method 10); an interval without a p."""
    blocked = unreadable(table)
    if blocked is not None:
        return blocked
    check_alpha(alpha)
    treated = wilson(table.wins_1, table.trials_1, alpha)
    control = wilson(table.wins_0, table.trials_0, alpha)
    if treated is None or control is None:
        return Comparison(estimate=table.difference)
    rate_1, rate_0 = table.rates
    below = math.hypot(rate_1 - treated.low, control.high - rate_0)
    above = math.hypot(treated.high - rate_1, rate_0 - control.low)
    return Comparison(
        estimate=table.difference,
        low=max(-1.0, table.difference - below),
        high=min(1.0, table.difference + above),
    )


def _wald(rates: tuple[float, float], trials: tuple[int, int], alpha: float, margin: float) -> Comparison:
    variance = sum(rate * (1.0 - rate) / count for rate, count in zip(rates, trials, strict=True))
    found = by_normal(rates[0] - rates[1], math.sqrt(variance), alpha)
    if margin == 0.0 or found.error is None:
        return found
    z = (rates[0] - rates[1] + margin) / found.error
    return replace(found, statistic=z, p=min(1.0, 2.0 * normal_sf(abs(z))))
