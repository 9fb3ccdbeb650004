"""Unit totals: what reports read instead of scanning decisions. Kept in the transaction that stores the records."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, bindparam, case, func, select, update

from store import tables
from store.outcome_rows import chunks
from store.records import Decision
from store.sql import insert_new, table_of
from store.stamped import Stamped

_TABLE = table_of(tables.Unit)
_BOTS = table_of(tables.UnitBot)
_OUTCOMES = table_of(tables.Outcome)
Row = dict[str, Any]


def excluded_of(record: Decision) -> str | None:
    """Why a unit whose first decision this is stays out of the statistics; None where it does not."""
    if not record.eligible:
        return "ineligible"
    if not record.forced:
        return None
    return "killed" if record.reason == "killed" else "forced"


def add_decisions(
    connection: Connection, experiment: str, decisions: Sequence[Stamped[Decision]]
) -> set[str]:
    """Adds decisions that SQL did not know to their units' totals; returns the units that are new."""
    by_unit: dict[str, list[Stamped[Decision]]] = defaultdict(list)
    for stamped in decisions:
        by_unit[stamped.record.unit].append(stamped)
    if not by_unit:
        return set()
    _add_bots(connection, by_unit)
    held = {row["unit"]: row for row in _held(connection, experiment, sorted(by_unit))}
    created = [fresh_row(group) for unit, group in by_unit.items() if unit not in held]
    if created:
        connection.execute(_TABLE.insert(), created)
    changed = [merged(held[unit], fresh_row(group)) for unit, group in by_unit.items() if unit in held]
    for row in changed:
        connection.execute(update(_TABLE).where(_is_unit(row)).values(row))
    _count_bots(connection, experiment, sorted(by_unit))
    return {row["unit"] for row in created}


def fresh_row(group: Sequence[Stamped[Decision]]) -> Row:
    """Totals of the decisions of one unit, as if there were no others."""
    first = min(group, key=lambda s: s.order)
    record = first.record
    records = [s.record for s in group]
    return {
        "experiment": record.experiment,
        "unit": record.unit,
        "arm": record.arm,
        "split_version": record.split_version,
        "weights": msgspec.json.encode(record.weights).decode(),
        "excluded": excluded_of(record),
        "contaminated": any(r.arm != record.arm for r in records),
        "started_at_us": record.started_at_us,
        "start_conflicts": sum(_says_another_start(r, record.started_at_us) for r in records),
        "first_at_us": record.received_at_us,
        "first_journal_id": first.journal_id,
        "first_position": first.position,
        "last_at_us": max(r.received_at_us for r in records),
        "decisions": len(records),
        "fallbacks": sum(r.served_arm != r.arm and not r.forced for r in records),
        "stale": sum(r.split_stale for r in records),
    }


def _says_another_start(record: Decision, bound_us: int) -> bool:
    said = record.sent_started_at_us
    return said is not None and said != bound_us


_FIRST = ("arm", "split_version", "weights", "excluded", "started_at_us")
_PLACE = ("first_at_us", "first_journal_id", "first_position")


def merged(held: Row, more: Row) -> Row:
    """Two totals of one unit as one: what the earliest decision settles comes from the earlier of the two."""
    earlier = min(held, more, key=lambda row: tuple(row[name] for name in _PLACE))
    later = more if earlier is held else held
    row = {name: earlier[name] for name in (*_FIRST, *_PLACE)}
    moved = later["started_at_us"] != earlier["started_at_us"]
    conflicts = later["decisions"] - later["start_conflicts"] if moved else later["start_conflicts"]
    row |= {name: held[name] + more[name] for name in ("decisions", "fallbacks", "stale")}
    row["start_conflicts"] = earlier["start_conflicts"] + conflicts
    row["contaminated"] = bool(held["contaminated"] or more["contaminated"] or held["arm"] != more["arm"])
    row["last_at_us"] = max(held["last_at_us"], more["last_at_us"])
    return {**row, "experiment": held["experiment"], "unit": held["unit"]}


def _is_unit(row: Row) -> Any:
    return and_(_TABLE.c.experiment == row["experiment"], _TABLE.c.unit == row["unit"])


def _held(connection: Connection, experiment: str, units: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for chunk in chunks(units):
        query = select(_TABLE).where(_TABLE.c.experiment == experiment, _TABLE.c.unit.in_(chunk))
        rows += [dict(row) for row in connection.execute(query.with_for_update()).mappings()]
    return rows


def _add_bots(connection: Connection, by_unit: dict[str, list[Stamped[Decision]]]) -> None:
    seen = {(s.record.experiment, unit, s.record.bot) for unit, group in by_unit.items() for s in group}
    rows = [{"experiment": e, "unit": u, "bot": b} for e, u, b in sorted(seen)]
    connection.execute(insert_new(connection, _BOTS), rows)


def _count_bots(connection: Connection, experiment: str, units: Sequence[str]) -> None:
    for chunk in chunks(units):
        query = (
            select(_BOTS.c.unit, func.count().label("bots"))
            .where(_BOTS.c.experiment == experiment, _BOTS.c.unit.in_(chunk))
            .group_by(_BOTS.c.unit)
        )
        _write(connection, experiment, [dict(r) for r in connection.execute(query).mappings()], ("bots",))


def _write(connection: Connection, experiment: str, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Sets the named columns of many units with one statement."""
    if not rows:
        return
    statement = (
        update(_TABLE)
        .where(_TABLE.c.experiment == experiment, _TABLE.c.unit == bindparam("key_unit"))
        .values({name: bindparam(f"new_{name}") for name in names})
    )
    connection.execute(
        statement, [{"key_unit": r["unit"], **{f"new_{n}": r[n] for n in names}} for r in rows]
    )


_OUTCOME_TOTALS = (
    "reported",
    "trades",
    "trade_wins",
    "market_trades",
    "pnl_micro",
    "fee_micro",
    "stake_micro",
    "won",
    "fill",
    "settled_at_us",
)


def refresh_outcomes(connection: Connection, experiment: str, units: set[str]) -> None:
    """Derives anew what outcomes say of these units: a function of the outcome rows, so it can be repeated."""
    for chunk in chunks(sorted(units)):
        market = {row["unit"]: row for row in _market_totals(connection, experiment, chunk)}
        trade = {row["unit"]: row for row in _trade_totals(connection, experiment, chunk)}
        rows = [_outcome_row(unit, market.get(unit, {}), trade.get(unit, {})) for unit in chunk]
        _write(connection, experiment, rows, _OUTCOME_TOTALS)


def _outcome_row(unit: str, market: Row, trade: Row) -> Row:
    row: Row = {name: int(market.get(name) or 0) for name in _OUTCOME_TOTALS}
    row["trades"], row["trade_wins"] = int(trade.get("trades") or 0), int(trade.get("trade_wins") or 0)
    fills = {f for part in (market, trade) for f in (part.get("low_fill"), part.get("high_fill")) if f}
    row["fill"] = next(iter(fills)) if len(fills) == 1 else ("mixed" if fills else None)
    row["won"] = None if market.get("won") is None else bool(market["won"])
    row["settled_at_us"] = market.get("settled_at_us")
    return {**row, "unit": unit}


def _market_totals(connection: Connection, experiment: str, units: Sequence[str]) -> list[Row]:
    o = _OUTCOMES.c
    deciding = and_(_BOTS.c.experiment == o.experiment, _BOTS.c.unit == o.unit, _BOTS.c.bot == o.bot)
    won = case((o.won.is_(None), None), (o.won, 1), else_=0)
    query = (
        select(
            o.unit,
            func.count(_BOTS.c.bot).label("reported"),
            func.sum(func.coalesce(o.trades, 0)).label("market_trades"),
            func.sum(o.pnl_micro).label("pnl_micro"),
            func.sum(o.fee_micro).label("fee_micro"),
            func.sum(o.stake_micro).label("stake_micro"),
            func.min(won).label("won"),
            func.min(o.fill).label("low_fill"),
            func.max(o.fill).label("high_fill"),
            func.max(o.received_at_us).label("settled_at_us"),
        )
        .select_from(_OUTCOMES.outerjoin(_BOTS, deciding))
        .where(o.experiment == experiment, o.kind == "market", o.unit.in_(units))
        .group_by(o.unit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def _trade_totals(connection: Connection, experiment: str, units: Sequence[str]) -> list[Row]:
    o = _OUTCOMES.c
    query = (
        select(
            o.unit,
            func.count().label("trades"),
            func.sum(case((o.pnl_micro > 0, 1), else_=0)).label("trade_wins"),
            func.min(o.fill).label("low_fill"),
            func.max(o.fill).label("high_fill"),
        )
        .where(o.experiment == experiment, o.kind == "trade", o.unit.in_(units))
        .group_by(o.unit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]
