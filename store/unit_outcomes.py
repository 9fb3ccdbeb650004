"""What outcomes say of a unit, derived from the outcome rows whenever one of them changes."""

from collections.abc import Sequence

from sqlalchemy import Connection, and_, case, func, select

from store import tables
from store.bulk import Row, chunks, set_columns
from store.sql import table_of

_UNITS = table_of(tables.Unit)
_BOTS = table_of(tables.UnitBot)
_OUTCOMES = table_of(tables.Outcome)
_SUMS = ("reported", "market_trades", "pnl_micro", "fee_micro", "stake_micro")


def refresh(connection: Connection, experiment: str, units: set[str]) -> None:
    """Sets the outcome columns of these units; those that no decision has opened yet are passed over."""
    for chunk in chunks(sorted(units)):
        market = {row["unit"]: row for row in _market_totals(connection, experiment, chunk)}
        trade = {row["unit"]: row for row in _trade_totals(connection, experiment, chunk)}
        rows = [_row(experiment, unit, market.get(unit, {}), trade.get(unit, {})) for unit in chunk]
        set_columns(connection, _UNITS, rows)


def _row(experiment: str, unit: str, market: Row, trade: Row) -> Row:
    fills = {f for part in (market, trade) for f in (part.get("low_fill"), part.get("high_fill")) if f}
    return {
        "experiment": experiment,
        "unit": unit,
        **{name: int(market.get(name) or 0) for name in _SUMS},
        "trades": int(trade.get("trades") or 0),
        "trade_wins": int(trade.get("trade_wins") or 0),
        "won": None if market.get("won") is None else bool(market["won"]),
        "fill": next(iter(fills)) if len(fills) == 1 else ("mixed" if fills else None),
        "settled_at_us": market.get("settled_at_us"),
    }


def _market_totals(connection: Connection, experiment: str, units: Sequence[str]) -> list[Row]:
    """reported counts bots that decided in the unit; money is that of every market outcome of the unit."""
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
