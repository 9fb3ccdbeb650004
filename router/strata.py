"""Strata of unit totals as moments that merge, and in their JSON shape (docs/moments.md). Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from functools import reduce
from typing import Any

from stats.moments import Moments, merge
from store.unit_moments import Stratum

SCHEMA = "abctl.moments/1"


def _won(stratum: Stratum, units: int) -> Moments:
    """Of units that count and are won or not: all their moments follow from the counts."""
    lost_share = (units - stratum.wins) / units if units else 0.0
    share = stratum.wins / units if units else 0.0
    return Moments(stratum.mature, units, share, units, share, stratum.wins * lost_share)


def _pnl(stratum: Stratum) -> Moments:
    units = stratum.mature
    mean = stratum.pnl_micro / units if units else 0.0
    return Moments(units, units, mean, units, mean, stratum.pnl_spread)


def _trades(stratum: Stratum) -> Moments:
    s = stratum
    ratio = s.trade_wins / s.trades if s.trades else 0.0
    pivot = s.trades_times_wins / s.trades_squared if s.trades_squared else 0.0
    return Moments(s.mature, s.trades, ratio, s.trades_squared, pivot, s.trade_spread)


METRICS: Mapping[str, Callable[[Stratum], Moments]] = {
    "win_rate": lambda s: _won(s, s.traded),
    "profit_rate": lambda s: _won(s, s.mature),
    "pnl_micro": _pnl,
    "trade_win_rate": _trades,
}
"""Trials N and sum S of a unit: (traded, won), (1, won), (1, PnL), (trades, trades won)."""


def moments_of(stratum: Stratum) -> dict[str, Moments]:
    """Of every metric, each unit with weight 1."""
    return {name: made(stratum) for name, made in METRICS.items()}


def merged(strata: Iterable[Stratum]) -> dict[str, Moments]:
    """Of all units of some strata, by Chan."""
    each = [moments_of(stratum) for stratum in strata]
    return {name: reduce(merge, (moments[name] for moments in each), Moments()) for name in METRICS}


def shape_of(experiment: str, now_us: int, strata: Iterable[Stratum]) -> dict[str, Any]:
    """What `abctl db moments --json` prints."""
    rows = [asdict(s) | {"moments": {n: asdict(m) for n, m in moments_of(s).items()}} for s in strata]
    return {"schema": SCHEMA, "experiment": experiment, "as_of_us": now_us, "strata": rows}


def by_split(strata: Iterable[Stratum]) -> dict[tuple[str, int, str], list[Stratum]]:
    """Strata of all days, by arm, version of the split, and fill."""
    groups: dict[tuple[str, int, str], list[Stratum]] = {}
    for stratum in strata:
        groups.setdefault((stratum.arm, stratum.split_version, stratum.fill), []).append(stratum)
    return groups


def total(strata: list[Stratum]) -> Stratum:
    """Counts and sums of strata, at the place of the first; their spreads are in `merged`, not here."""
    numbers = (name for name, value in asdict(strata[0]).items() if isinstance(value, int))
    names = [name for name in numbers if name not in {"split_version", "day_us"}]
    return replace(strata[0], **{name: sum(getattr(s, name) for s in strata) for name in names})
