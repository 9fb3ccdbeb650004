"""The ratio of two win rates, treatment / control, with intervals that respect its scale.

Log interval: Katz, Baptista, Azen, Pike 1978; with 1/2 added: Walter 1975; score: Miettinen, Nurminen 1985.
"""

import math
from dataclasses import dataclass, replace

from stats.comparison import check_alpha
from stats.root import crossing
from stats.special import normal_quantile
from stats.status import Status
from stats.two_by_two import TwoByTwo, unreadable

_FARTHEST = 80.0  # of a logarithm: beyond any ratio of counts


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeRisk:
    """ratio = p1 / p0; high None with status ok: no upper bound exists (the control never won)."""

    status: Status = "ok"
    reason: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


def log_ratio(table: TwoByTwo, alpha: float = 0.05) -> RelativeRisk:
    """Normal on ln(p1/p0); degenerate when an arm has no win."""
    blocked = _blocked(table, alpha)
    if blocked is not None:
        return blocked
    if table.wins_1 == 0 or table.wins_0 == 0:
        return replace(
            _point(table), status="degenerate", reason="an arm has no win: its logarithm is infinite"
        )
    return _log_interval(table, 0.0, alpha)


def adjusted_log_ratio(table: TwoByTwo, alpha: float = 0.05) -> RelativeRisk:
    """`log_ratio` with half a win and half a trial more in each arm; `ratio` is the adjusted one too."""
    blocked = _blocked(table, alpha)
    return _log_interval(table, 0.5, alpha) if blocked is None else blocked


def score_ratio(table: TwoByTwo, alpha: float = 0.05) -> RelativeRisk:
    """All ratios that the score test (variance x N/(N-1)) does not reject; finite wherever a bound exists."""
    blocked = _blocked(table, alpha)
    if blocked is not None:
        return blocked
    if table.wins_1 == table.wins_0 == 0:
        reason = "neither arm has a win: every ratio fits"
        return RelativeRisk(status="degenerate", reason=reason)
    enough, point = normal_quantile(1.0 - alpha / 2.0), _point(table)
    seen = _log(table.wins_1 * table.trials_0) - _log(table.wins_0 * table.trials_1)
    low = _edge(table, enough, -_FARTHEST, seen) if table.wins_1 > 0 else 0.0
    high = _edge(table, -enough, seen, _FARTHEST) if table.wins_0 > 0 else None
    return replace(point, low=low, high=high)


def _log(count: int) -> float:
    return math.log(count) if count > 0 else -_FARTHEST


def _edge(table: TwoByTwo, level: float, low: float, high: float) -> float:
    return math.exp(crossing(lambda log: _score_z(table, math.exp(log)) - level, low, high))


def _score_z(table: TwoByTwo, ratio: float) -> float:
    """z of "p1 is `ratio` x p0", at the restricted estimates, the smaller root of a quadratic."""
    wins, units = table.wins_1 + table.wins_0, table.units
    linear = ratio * (table.trials_1 + table.wins_0) + table.wins_1 + table.trials_0
    square = ratio * units
    rate_0 = 2.0 * wins / (linear + math.sqrt(max(0.0, linear**2 - 4.0 * square * wins)))
    rate_1 = min(1.0, ratio * rate_0)
    variance = rate_1 * (1.0 - rate_1) / table.trials_1 + ratio**2 * rate_0 * (1.0 - rate_0) / table.trials_0
    gap = table.rates[0] - ratio * table.rates[1]
    if variance <= 0.0:
        return 0.0 if gap == 0.0 else math.copysign(math.inf, gap)
    return gap / math.sqrt(variance * units / (units - 1))


def _log_interval(table: TwoByTwo, extra: float, alpha: float) -> RelativeRisk:
    wins_1, wins_0 = table.wins_1 + extra, table.wins_0 + extra
    trials_1, trials_0 = table.trials_1 + extra, table.trials_0 + extra
    error = math.sqrt(max(0.0, 1.0 / wins_1 - 1.0 / trials_1 + 1.0 / wins_0 - 1.0 / trials_0))
    ratio = (wins_1 / trials_1) / (wins_0 / trials_0)
    times = math.exp(normal_quantile(1.0 - alpha / 2.0) * error)
    return RelativeRisk(ratio=ratio, low=ratio / times, high=ratio * times)


def _point(table: TwoByTwo) -> RelativeRisk:
    rate_1, rate_0 = table.rates
    return RelativeRisk(ratio=rate_1 / rate_0 if rate_0 > 0.0 else None)


def _blocked(table: TwoByTwo, alpha: float) -> RelativeRisk | None:
    check_alpha(alpha)
    found = unreadable(table)
    return None if found is None else RelativeRisk(status=found.status, reason=found.reason)
