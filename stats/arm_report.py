"""One arm's row of the report: counts, raw rates with unit-level intervals, money. Describes; never
decides.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.exact import exact_sum
from stats.interval import Interval, t_interval, wilson
from stats.units import ArmCounts, Units

MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted:
    """Rates of the overlap-weighted comparison (only the compared pair has them)."""

    win_rate: float | None = None
    profit_rate: float | None = None
    pnl_per_unit_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReport:
    """win_rate: units with a profit / units with a fill. profit_rate: units with a profit / mature units.
    zeros: units with a fill that came out at exactly 0. trade_win_rate is per trade: secondary, trades of a
    unit are not independent. decisions, fallbacks and unserved count every assigned unit, trades and money
    the mature ones. unserved: units of which a decision was refused; they stay in all other counts.
    """

    units: int
    mature: int
    pending: int
    missing: int
    excluded: int
    contaminated: int
    unserved: int
    traded: int
    decisions: int
    trades: int
    wins: int
    zeros: int
    win_rate: float | None
    win_rate_adjusted: float | None
    win_rate_low: float | None
    win_rate_high: float | None
    profit_rate: float | None
    profit_rate_adjusted: float | None
    profit_rate_low: float | None
    profit_rate_high: float | None
    trade_rate: float | None
    pnl_per_unit_usd: float | None
    pnl_per_unit_adjusted_usd: float | None
    pnl_low_usd: float | None
    pnl_high_usd: float | None
    pnl_usd: float
    fee_usd: float
    stake_usd: float
    pnl_per_staked_usd: float | None
    fallback_rate: float | None
    trade_win_rate: float | None


def arm_report(units: Units, counts: ArmCounts, adjusted: Adjusted, alpha: float) -> ArmReport:
    """`units`: this arm's rows only."""
    mature, traded = len(units), int(np.count_nonzero(units.traded))
    wins, profits = int(np.count_nonzero(units.won & units.traded)), int(np.count_nonzero(units.won))
    trades, trade_wins = exact_sum(units.trades), exact_sum(units.trade_wins)
    pnl, stake = exact_sum(units.pnl_micro), exact_sum(units.stake_micro)
    wins_low, wins_high = _bounds(wilson(wins, traded, alpha))
    profit_low, profit_high = _bounds(wilson(profits, mature, alpha))
    pnl_low, pnl_high = _bounds(_mean_pnl(units.pnl_micro, pnl, alpha))
    return ArmReport(
        units=counts.units,
        mature=mature,
        pending=counts.pending,
        missing=counts.missing,
        excluded=counts.excluded,
        contaminated=counts.contaminated,
        unserved=counts.unserved,
        traded=traded,
        decisions=counts.decisions,
        trades=trades,
        wins=wins,
        zeros=int(np.count_nonzero(units.traded & (units.pnl_micro == 0))),
        win_rate=share(wins, traded),
        win_rate_adjusted=adjusted.win_rate,
        win_rate_low=wins_low,
        win_rate_high=wins_high,
        profit_rate=share(profits, mature),
        profit_rate_adjusted=adjusted.profit_rate,
        profit_rate_low=profit_low,
        profit_rate_high=profit_high,
        trade_rate=share(traded, mature),
        pnl_per_unit_usd=share(pnl, mature * MICRO),
        pnl_per_unit_adjusted_usd=adjusted.pnl_per_unit_usd,
        pnl_low_usd=pnl_low,
        pnl_high_usd=pnl_high,
        pnl_usd=pnl / MICRO,
        fee_usd=exact_sum(units.fee_micro) / MICRO,
        stake_usd=stake / MICRO,
        pnl_per_staked_usd=share(pnl, stake),
        fallback_rate=share(counts.fallbacks, counts.decisions),
        trade_win_rate=share(trade_wins, trades),
    )


def share(part: int, whole: int) -> float | None:
    """part / whole, correctly rounded from the integers; None of nothing."""
    return part / whole if whole else None


def _mean_pnl(pnl_micro: npt.NDArray[np.int64], total: int, alpha: float) -> Interval | None:
    count = len(pnl_micro)
    if count == 0:
        return None
    found = t_interval(total / count, (pnl_micro - total // count).astype(np.float64), alpha)
    return None if found is None else Interval(found.low / MICRO, found.high / MICRO)


def _bounds(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)
