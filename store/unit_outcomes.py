"""What outcomes say of a unit, derived from the outcome rows whenever one of them changes."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, and_, case, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

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
        fills = {unit: row["fill"] for unit, row in market.items()}
        trade = _trade_totals(connection, experiment, chunk, fills)
        rows = [_row(experiment, unit, market.get(unit, {}), trade.get(unit, {})) for unit in chunk]
        set_columns(connection, _UNITS, rows)


def _row(experiment: str, unit: str, market: Row, trade: Row) -> Row:
    return {
        "experiment": experiment,
        "unit": unit,
        **{name: int(market.get(name) or 0) for name in _SUMS},
        "trades": int(trade.get("trades") or 0),
        "trade_wins": int(trade.get("trade_wins") or 0),
        "won": None if market.get("won") is None else bool(market["won"]),
        "fill": market.get("fill"),
        "settled_at_us": market.get("settled_at_us"),
    }


def _market_totals(connection: Connection, experiment: str, units: Sequence[str]) -> list[Row]:
    """Only bots that decided in the unit count. fill: "mixed" where their outcomes do not agree.

    market_trades: trades as the outcomes say; one that does not say counts 1 where anything says it traded.
    """
    o = _OUTCOMES.c
    deciding = and_(_BOTS.c.experiment == o.experiment, _BOTS.c.unit == o.unit, _BOTS.c.bot == o.bot)
    query = (
        select(
            o.unit,
            func.count().label("reported"),
            func.sum(case((o.trades.is_not(None), o.trades), (_seems_traded(), 1), else_=0)).label(
                "market_trades"
            ),
            func.sum(o.pnl_micro).label("pnl_micro"),
            func.sum(o.fee_micro).label("fee_micro"),
            func.sum(o.stake_micro).label("stake_micro"),
            func.min(case((o.won.is_(None), None), (o.won, 1), else_=0)).label("won"),
            case((func.min(o.fill) == func.max(o.fill), func.min(o.fill)), else_="mixed").label("fill"),
            func.max(o.received_at_us).label("settled_at_us"),
        )
        .select_from(_OUTCOMES.join(_BOTS, deciding))
        .where(o.experiment == experiment, o.kind == "market", o.unit.in_(units))
        .group_by(o.unit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def _seems_traded() -> ColumnElement[bool]:
    o, trade = _OUTCOMES.c, _OUTCOMES.alias("trade").c
    same = and_(trade.experiment == o.experiment, trade.unit == o.unit, trade.bot == o.bot)
    rows = select(trade.key).where(same, trade.kind == "trade", trade.fill == o.fill).exists()
    return or_(o.stake_micro > 0, o.pnl_micro != 0, o.fee_micro != 0, rows)


def _trade_totals(
    connection: Connection, experiment: str, units: Sequence[str], fills: Mapping[str, str]
) -> dict[str, Row]:
    """Trades of each unit, those of another fill than the unit's left out where it has one."""
    o = _OUTCOMES.c
    query = (
        select(
            o.unit,
            o.fill,
            func.count().label("trades"),
            func.sum(case((o.pnl_micro > 0, 1), else_=0)).label("trade_wins"),
        )
        .where(o.experiment == experiment, o.kind == "trade", o.unit.in_(units))
        .group_by(o.unit, o.fill)
    )
    totals: dict[str, Row] = {}
    for row in connection.execute(query).mappings():
        if fills.get(row["unit"], "mixed") in {"mixed", row["fill"]}:
            total = totals.setdefault(row["unit"], {"trades": 0, "trade_wins": 0})
            total["trades"] += row["trades"]
            total["trade_wins"] += row["trade_wins"]
    return totals
