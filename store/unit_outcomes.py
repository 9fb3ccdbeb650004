"""What outcomes say of a unit, derived from the outcome rows whenever one of them changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, case, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from store import tables
from store.bulk import Row, chunks, set_columns
from store.sql import table_of
from store.unit_bots import Seat, counted, span_us

_UNITS = table_of(tables.Unit)
_BOTS = table_of(tables.UnitBot)
_OUTCOMES = table_of(tables.Outcome)
_MONEY = ("pnl_micro", "fee_micro", "stake_micro")

Bots = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Opened:
    """What decisions say of a unit: when it started, and when each bot first decided in it (microseconds)."""

    started_at_us: int
    bots: dict[str, int]


def refresh(connection: Connection, experiment: str, units: set[str]) -> None:
    """Sets the outcome columns of these units; those that no decision has opened yet are passed over."""
    span = span_us(connection, experiment)
    for chunk in chunks(sorted(units)):
        opened = _opened(connection, experiment, chunk)
        set_columns(connection, _UNITS, outcome_columns(connection, experiment, opened, span))


def outcome_columns(
    connection: Connection, experiment: str, opened: Mapping[str, Opened], span: int | None
) -> list[Row]:
    """The columns of these units that outcomes settle. span: from a unit's start to its maturity."""
    rows: list[Row] = []
    for chunk in chunks(sorted(opened)):
        reports = _reports(connection, experiment, chunk)
        bots = {unit: _counted(opened[unit], reports[unit], span) for unit in chunk}
        market = {u: market_totals([r for r in reports[u] if r["bot"] in bots[u]]) for u in chunk}
        trade = _trade_totals(connection, experiment, bots, {u: m["fill"] for u, m in market.items()})
        sizes = {unit: {"bots": len(names)} for unit, names in bots.items()}
        rows += [{"experiment": experiment, "unit": u} | sizes[u] | market[u] | trade[u] for u in chunk]
    return rows


def _counted(unit: Opened, reports: Sequence[Row], span: int | None) -> frozenset[str]:
    said = {row["bot"]: (row["received_at_us"], row["fill"]) for row in reports}
    seats = (Seat(bot, at_us, *said.get(bot, (None, None))) for bot, at_us in unit.bots.items())
    return counted(seats, None if span is None else unit.started_at_us + span)


def market_totals(reports: Sequence[Row]) -> Row:
    """Sums over the market outcomes of the bots that count.

    fill: "mixed" where they do not agree. market_trades: trades as they say; one that does not say counts 1
    where anything says it traded.
    """
    fills = {row["fill"] for row in reports}
    won = [bool(row["won"]) for row in reports if row["won"] is not None]
    return {
        "reported": len(reports),
        "market_trades": sum(_trades_of(row) for row in reports),
        **{name: sum(row[name] for row in reports) for name in _MONEY},
        "won": all(won) if won else None,
        "fill": "mixed" if len(fills) > 1 else next(iter(fills), None),
        "settled_at_us": max((row["received_at_us"] for row in reports), default=None),
    }


def _trades_of(row: Row) -> int:
    said: int | None = row["trades"]
    return int(row["seems_traded"]) if said is None else said


def _opened(connection: Connection, experiment: str, units: Sequence[str]) -> dict[str, Opened]:
    """What is stored of these units' starts and bots."""
    b, u = _BOTS.c, _UNITS.c
    same = and_(u.experiment == b.experiment, u.unit == b.unit)
    query = (
        select(b.unit, b.bot, b.first_at_us, u.started_at_us)
        .select_from(_BOTS.join(_UNITS, same))
        .where(b.experiment == experiment, b.unit.in_(units))
    )
    opened: dict[str, Opened] = {}
    for row in connection.execute(query):
        opened.setdefault(row.unit, Opened(row.started_at_us, {})).bots[row.bot] = row.first_at_us
    return opened


def _reports(connection: Connection, experiment: str, units: Sequence[str]) -> dict[str, list[Row]]:
    """The market outcomes of these units, of whatever bot."""
    o = _OUTCOMES.c
    said = [o[name] for name in ("unit", "bot", *_MONEY, "trades", "won", "fill", "received_at_us")]
    traded = case((_seems_traded(), 1), else_=0).label("seems_traded")
    query = select(*said, traded).where(o.experiment == experiment, o.kind == "market", o.unit.in_(units))
    reports: dict[str, list[Row]] = {unit: [] for unit in units}
    for row in connection.execute(query).mappings():
        reports[row["unit"]].append(dict(row))
    return reports


def _seems_traded() -> ColumnElement[bool]:
    o, trade = _OUTCOMES.c, _OUTCOMES.alias("trade").c
    same = and_(trade.experiment == o.experiment, trade.unit == o.unit, trade.bot == o.bot)
    rows = select(trade.key).where(same, trade.kind == "trade", trade.fill == o.fill).exists()
    return or_(o.stake_micro > 0, o.pnl_micro != 0, o.fee_micro != 0, rows)


def _trade_totals(
    connection: Connection, experiment: str, bots: Bots, fills: Mapping[str, str | None]
) -> dict[str, Row]:
    """Trades of the bots that count, those of another fill than the unit's left out where it has one."""
    o = _OUTCOMES.c
    query = (
        select(
            o.unit,
            o.bot,
            o.fill,
            func.count().label("trades"),
            func.sum(case((o.pnl_micro > 0, 1), else_=0)).label("trade_wins"),
        )
        .where(o.experiment == experiment, o.kind == "trade", o.unit.in_(sorted(bots)))
        .group_by(o.unit, o.bot, o.fill)
    )
    totals: dict[str, Row] = {unit: {"trades": 0, "trade_wins": 0} for unit in bots}
    for row in connection.execute(query).mappings():
        unit, fill = row["unit"], fills[row["unit"]]
        if row["bot"] in bots[unit] and (fill is None or fill in {"mixed", row["fill"]}):
            totals[unit]["trades"] += int(row["trades"])
            totals[unit]["trade_wins"] += int(row["trade_wins"])
    return totals
