"""What outcomes say of a unit, derived from the outcome rows whenever one of them changes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, and_, case, func, select

from store import tables
from store.bulk import Row, set_columns
from store.lookup import found
from store.sql import table_of
from store.unit_bots import Seat, counted, span_us

_UNITS = table_of(tables.Unit)
_BOTS = table_of(tables.UnitBot)
_OUTCOMES = table_of(tables.Outcome)
_MONEY = ("pnl_micro", "fee_micro", "stake_micro")


@dataclass(frozen=True, slots=True)
class Opened:
    """What decisions say of a unit: when it started, and when each bot first decided in it (microseconds)."""

    started_at_us: int
    bots: dict[str, int]


class _Report(NamedTuple):
    """A market outcome."""

    bot: str
    fill: str
    won: int | None
    pnl_micro: int
    fee_micro: int
    stake_micro: int
    trades: int | None
    received_at_us: int


class _Trades(NamedTuple):
    """The trades of a bot with one kind of fill."""

    bot: str
    fill: str
    rows: int
    wins: int


@dataclass(frozen=True, slots=True)
class _Said:
    """All outcomes of a unit, of whatever bot."""

    reports: list[_Report] = field(default_factory=list)
    trades: list[_Trades] = field(default_factory=list)


def refresh(connection: Connection, experiment: str, units: set[str]) -> None:
    """Sets the outcome columns of these units; those that no decision has opened yet are passed over."""
    span = span_us(connection, experiment)
    opened = _opened(connection, experiment, sorted(units))
    set_columns(connection, _UNITS, outcome_columns(connection, experiment, opened, span))


def outcome_columns(
    connection: Connection, experiment: str, opened: Mapping[str, Opened], span: int | None
) -> list[Row]:
    """The columns of these units that outcomes settle. span: from a unit's start to its maturity."""
    said = _said(connection, experiment, sorted(opened))
    return [_columns(experiment, unit, its, said[unit], span) for unit, its in opened.items()]


def _columns(experiment: str, unit: str, opened: Opened, said: _Said, span: int | None) -> Row:
    bots = _counted(opened, said.reports, span)
    reports = [report for report in said.reports if report.bot in bots]
    row = {"experiment": experiment, "unit": unit, "bots": len(bots), **_market_totals(reports, said.trades)}
    trades = [t for t in said.trades if t.bot in bots and row["fill"] in {None, "mixed", t.fill}]
    row["trades"] = sum(t.rows for t in trades)
    row["trade_wins"] = sum(t.wins for t in trades)
    return row


def _counted(opened: Opened, reports: Sequence[_Report], span: int | None) -> frozenset[str]:
    if len(opened.bots) == 1:
        return frozenset(opened.bots)
    said = {report.bot: (report.received_at_us, report.fill) for report in reports}
    seats = (Seat(bot, at_us, *said.get(bot, (None, None))) for bot, at_us in opened.bots.items())
    return counted(seats, None if span is None else opened.started_at_us + span)


def _market_totals(reports: Sequence[_Report], trades: Sequence[_Trades]) -> Row:
    """Sums over the market outcomes of the bots that count.

    fill: "mixed" where they do not agree. market_trades: trades as they say; one that does not say counts 1
    where anything says it traded.
    """
    fills = {report.fill for report in reports}
    won = [bool(report.won) for report in reports if report.won is not None]
    return {
        "reported": len(reports),
        "market_trades": sum(_trades_of(report, trades) for report in reports),
        "pnl_micro": sum(report.pnl_micro for report in reports),
        "fee_micro": sum(report.fee_micro for report in reports),
        "stake_micro": sum(report.stake_micro for report in reports),
        "won": all(won) if won else None,
        "fill": "mixed" if len(fills) > 1 else next(iter(fills), None),
        "settled_at_us": max((report.received_at_us for report in reports), default=None),
    }


def _trades_of(report: _Report, trades: Sequence[_Trades]) -> int:
    if report.trades is not None:
        return report.trades
    moved_money = report.stake_micro > 0 or report.pnl_micro != 0 or report.fee_micro != 0
    return int(moved_money or any(t.bot == report.bot and t.fill == report.fill for t in trades))


def _opened(connection: Connection, experiment: str, units: Sequence[str]) -> dict[str, Opened]:
    """What is stored of these units' starts and bots."""
    b, u = _BOTS.c, _UNITS.c
    same = and_(u.experiment == b.experiment, u.unit == b.unit)
    query = (
        select(b.unit, b.bot, b.first_at_us, u.started_at_us)
        .select_from(_BOTS.join(_UNITS, same))
        .where(b.experiment == experiment)
    )
    opened: dict[str, Opened] = {}
    for unit, bot, first_at_us, started_at_us in found(connection, query, b.unit, units):
        if unit not in opened:
            opened[unit] = Opened(started_at_us, {})
        opened[unit].bots[bot] = first_at_us
    return opened


def _said(connection: Connection, experiment: str, units: Sequence[str]) -> dict[str, _Said]:
    """The outcomes of these units. There is one market outcome of a bot: its maximum is what it says."""
    o, said = _OUTCOMES.c, defaultdict[str, _Said](_Said)
    facts = {
        "wins": func.sum(case((o.pnl_micro > 0, 1), else_=0)),
        "won": func.max(case((o.won, 1), (~o.won, 0))),
        **{name: func.max(o[name]) for name in (*_MONEY, "trades", "received_at_us")},
    }
    groups = (o.unit, o.kind, o.bot, o.fill)
    query = select(*groups, func.count(), *(fact.label(name) for name, fact in facts.items()))
    own = query.where(o.experiment == experiment).group_by(*groups)
    for unit, kind, bot, fill, *rest in found(connection, own, o.unit, units):
        if kind == "trade":
            said[unit].trades.append(_Trades(bot, fill, *rest[:2]))
        else:
            said[unit].reports.append(_Report(bot, fill, *rest[2:]))
    return said
