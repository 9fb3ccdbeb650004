"""Counts, sums and second moments of units by stratum: one SQL text for SQLite, PostgreSQL, DuckDB, polars,
over the unit totals of the database or over those of an export.

A stratum is an arm, the shares and the version of the split, a fill, and a day. Counts and sums of money are
integers; second moments are taken about the stratum's own ratio, from whole offsets to its least PnL, so that
no common offset costs digits. Strata merge by Chan (`stats.moments.merge`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from store.records import Experiment

DAY_US = 86_400_000_000
LARGEST_MICRO = 2**61
"""Beyond, a unit's money is no possible amount (stats.units has the same bound)."""
_KEYS = ("arm", "weights", "split_version", "fill", "day_us")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Units of one arm, split, fill ("" before any outcome) and day of maturity (day_us: its beginning).

    Every unit is in exactly one of mature, pending, missing and excluded. contaminated, decisions, fallbacks
    (answered by another arm; fallback_units: units with any), stale, unserved (units with any): of all units.
    The rest is of mature ones: traded: with a trade; wins: won and traded; money in whole micro-USD;
    capped_pnl_micro: of PnL within +-the cap, or the same as pnl_micro without one. trades_squared,
    trades_times_wins: sums over units.

    pnl_spread: sum (PnL - mean)^2, micro-USD squared; trade_spread: sum (trade wins - pivot * trades)^2 with
    pivot = trades_times_wins / trades_squared.

    Sums stay below 2^63: $9.2e12 a stratum, where one outcome may be $1e7. Beyond, SQLite and PostgreSQL
    refuse, DuckDB widens, polars wraps.
    """

    arm: str
    weights: str
    split_version: int
    fill: str
    day_us: int
    units: int
    mature: int
    pending: int
    missing: int
    excluded: int
    contaminated: int
    decisions: int
    fallbacks: int
    fallback_units: int
    stale: int
    unserved: int
    traded: int
    wins: int
    trades: int
    trade_wins: int
    trades_squared: int
    trades_times_wins: int
    pnl_micro: int
    capped_pnl_micro: int
    fee_micro: int
    stake_micro: int
    pnl_spread: float
    trade_spread: float


def unit_moments(
    connection: Connection, experiment: Experiment, now_us: int, cap_micro: int | None = None
) -> list[Stratum]:
    """All strata of an experiment as they are at now_us, in the order of their keys. cap_micro: > 0."""
    query = text(moments_sql(experiment, now_us, "unit", cap_micro).replace(":", r"\:"))
    return sorted((stratum_of(row) for row in connection.execute(query).mappings()), key=_place)


def stratum_of(row: Mapping[Any, Any]) -> Stratum:
    """A row of the query, whose numbers may be of the engine's own types."""
    return msgspec.convert(
        {f.name: _plain(row[f.name], f.type) for f in fields(Stratum)}, Stratum, strict=False
    )


def _plain(value: object, kind: object) -> object:
    if kind is str:
        return value
    return int(str(value)) if kind is int else float(str(value))


def _place(stratum: Stratum) -> tuple[str, str, int, str, int]:
    return stratum.arm, stratum.weights, stratum.split_version, stratum.fill, stratum.day_us


def moments_sql(experiment: Experiment, now_us: int, units: str, cap_micro: int | None = None) -> str:
    """The query. units: the table of unit totals, in the words of the engine that will run it."""
    cap = LARGEST_MICRO if cap_micro is None else cap_micro
    keys, same = ", ".join(_KEYS), " AND ".join(f"j.{key} = b.{key}" for key in _KEYS)
    said = "won" if experiment.win == "reported" else "pnl_micro > 0"
    span_us = (experiment.unit_duration_s + experiment.attribution_s) * 1_000_000
    beyond = " OR ".join(
        f"{name} > {LARGEST_MICRO} OR {name} < -{LARGEST_MICRO}"
        for name in ("pnl_micro", "stake_micro", "fee_micro")
    )
    return f"""
WITH closing AS (
    SELECT *, started_at_us + {span_us} AS closes_us,
        CASE WHEN reported >= bots AND bots > 0 AND fill <> 'mixed' THEN 1 ELSE 0 END AS complete
    FROM {units} WHERE experiment = {_quoted(experiment.key)}
), stated AS (
    SELECT *, CASE
            WHEN excluded IS NOT NULL OR stake_micro < 0 OR {beyond} THEN 'excluded'
            WHEN complete = 1 AND fill = 'replay' THEN 'mature'
            WHEN complete = 1 AND closes_us <= {now_us} AND settled_at_us <= closes_us THEN 'mature'
            WHEN closes_us <= {now_us} THEN 'missing'
            ELSE 'pending' END AS state
    FROM closing
), timed AS (
    SELECT *, CASE WHEN state = 'mature' AND fill = 'replay' THEN settled_at_us ELSE closes_us END AS at_us
    FROM stated
), judged AS (
    SELECT arm, weights, split_version, COALESCE(fill, '') AS fill, at_us - at_us % {DAY_US} AS day_us, state,
        contaminated, decisions, fallbacks, stale, unserved, CAST(trades AS BIGINT) AS trades, trade_wins,
        pnl_micro, fee_micro, stake_micro, CASE WHEN pnl_micro > {cap} THEN {cap}
            WHEN pnl_micro < -{cap} THEN -{cap} ELSE pnl_micro END AS capped_micro,
        CASE WHEN market_trades > 0 THEN 1 ELSE 0 END AS traded,
        CASE WHEN market_trades > 0 AND {said} THEN 1 ELSE 0 END AS win
    FROM timed
), based AS (
    SELECT {keys}, COUNT(*) AS units,
        {_counted("mature")}, {_counted("pending")}, {_counted("missing")}, {_counted("excluded")},
        SUM(CASE WHEN contaminated THEN 1 ELSE 0 END) AS contaminated,
        SUM(decisions) AS decisions, SUM(fallbacks) AS fallbacks, SUM(stale) AS stale,
        SUM(CASE WHEN fallbacks > 0 THEN 1 ELSE 0 END) AS fallback_units,
        SUM(CASE WHEN unserved > 0 THEN 1 ELSE 0 END) AS unserved,
        {_summed("traded", "traded")}, {_summed("win", "wins")}, {_summed("trades", "trades")},
        {_summed("trade_wins", "trade_wins")}, {_summed("trades * trades", "trades_squared")},
        {_summed("trades * trade_wins", "trades_times_wins")}, {_summed("pnl_micro", "pnl_micro")},
        {_summed("capped_micro", "capped_pnl_micro")}, {_summed("fee_micro", "fee_micro")},
        {_summed("stake_micro", "stake_micro")},
        COALESCE(MIN(CASE WHEN state = 'mature' THEN pnl_micro END), 0) AS least_micro
    FROM judged GROUP BY {keys}
), centred AS (
    SELECT *, CASE WHEN mature > 0
            THEN CAST(pnl_micro - least_micro * mature AS DOUBLE PRECISION) / mature
            ELSE 0.0 END AS mean_over,
        CASE WHEN trades_squared > 0
            THEN CAST(trades_times_wins AS DOUBLE PRECISION) / trades_squared ELSE 0.0 END AS pivot
    FROM based
), gaps AS (
    SELECT {", ".join(f"j.{key} AS {key}" for key in _KEYS)},
        CAST(j.pnl_micro - b.least_micro AS DOUBLE PRECISION) - b.mean_over AS pnl_gap,
        j.trade_wins - b.pivot * j.trades AS trade_gap
    FROM judged j JOIN centred b ON {same} WHERE j.state = 'mature'
), spread AS (
    SELECT {keys}, SUM(pnl_gap * pnl_gap) AS pnl_spread, SUM(trade_gap * trade_gap) AS trade_spread
    FROM gaps GROUP BY {keys}
)
SELECT {", ".join(f"b.{f.name} AS {f.name}" for f in fields(Stratum)[:-2])},
    COALESCE(j.pnl_spread, 0.0) AS pnl_spread, COALESCE(j.trade_spread, 0.0) AS trade_spread
FROM centred b LEFT JOIN spread j ON {same}
""".strip()  # noqa: S608 - the key is quoted; all else is ours, or a whole number


def _counted(state: str) -> str:
    return f"SUM(CASE WHEN state = '{state}' THEN 1 ELSE 0 END) AS {state}"


def _summed(value: str, name: str) -> str:
    """Of mature units."""
    return f"SUM(CASE WHEN state = 'mature' THEN {value} ELSE 0 END) AS {name}"


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "''") + "'"
