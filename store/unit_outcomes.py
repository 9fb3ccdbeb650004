"""What outcomes say of a unit, derived from the outcome rows whenever one of them changes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, and_, case, func, select

from store import tables
from store.bulk import Row, set_columns
from store.lookup import EXPERIMENT, Lookup
from store.plain_units import settle
from store.sql import table_of
from store.unit_bots import Rule, Seat, counted, rule_of

_UNITS = table_of(tables.Unit)
_BOTS = table_of(tables.UnitBot)
_OUTCOMES = table_of(tables.Outcome)
_MONEY = ("pnl_micro", "fee_micro", "stake_micro")
_NO_REPORTS = {
    **dict.fromkeys(("reported", "market_trades", *_MONEY), 0),
    **dict.fromkeys(("won", "fill", "settled_at_us")),
}


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
    said_won: int


@dataclass(frozen=True, slots=True)
class _Said:
    """All outcomes of a unit, of whatever bot."""

    reports: list[_Report] = field(default_factory=list)
    trades: list[_Trades] = field(default_factory=list)


def refresh(connection: Connection, experiment: str, units: set[str]) -> None:
    """Sets the outcome columns of these units; those that no decision has opened yet are passed over."""
    if not units:
        return
    rule = rule_of(connection, experiment)
    left = settle(connection, experiment, units, rule) if connection.dialect.name == "postgresql" else units
    opened = _opened(connection, experiment, sorted(left))
    set_columns(connection, _UNITS, outcome_columns(connection, experiment, opened, rule))


def outcome_columns(
    connection: Connection, experiment: str, opened: Mapping[str, Opened], rule: Rule
) -> list[Row]:
    """The columns of these units that outcomes settle."""
    said = _said(connection, experiment, sorted(opened))
    return [_columns(experiment, unit, its, said[unit], rule) for unit, its in opened.items()]


def _columns(experiment: str, unit: str, opened: Opened, said: _Said, rule: Rule) -> Row:
    bots = _counted(opened, said.reports, rule.span_us)
    reports = [report for report in said.reports if report.bot in bots]
    row = {"experiment": experiment, "unit": unit, "bots": len(bots), **_market_totals(reports, said.trades)}
    fill, trades = row["fill"], [t for t in said.trades if t.bot in bots]
    if fill not in {None, "mixed"}:
        trades = [t for t in trades if t.fill == fill]
    row["trades"] = sum([t.rows for t in trades])
    row["trade_wins"] = sum([t.said_won if rule.by_word else t.wins for t in trades])
    return row


def _counted(opened: Opened, reports: Sequence[_Report], span: int | None) -> frozenset[str]:
    closes_us = None if span is None else opened.started_at_us + span
    last_us = max(opened.bots.values(), default=0)
    if (closes_us is None or last_us <= closes_us) and all(last_us <= r.received_at_us for r in reports):
        return frozenset(opened.bots)  # nobody came after anything that closes a door
    said = {report.bot: (report.received_at_us, report.fill) for report in reports}
    seats = (Seat(bot, at_us, *said.get(bot, (None, None))) for bot, at_us in opened.bots.items())
    return counted(seats, closes_us)


def _market_totals(reports: Sequence[_Report], trades: Sequence[_Trades]) -> Row:
    """Sums over the market outcomes of the bots that count.

    fill: "mixed" where they do not agree. market_trades: trades as they say; one that does not say counts 1
    where anything says it traded.
    """
    if not reports:
        return dict(_NO_REPORTS)
    _, fills, won, pnl, fee, stake, _, received_at_us = zip(*reports, strict=True)
    return {
        "reported": len(reports),
        "market_trades": sum([_trades_of(report, trades) for report in reports]),
        "pnl_micro": sum(pnl),
        "fee_micro": sum(fee),
        "stake_micro": sum(stake),
        "won": min((bool(said) for said in won if said is not None), default=None),
        "fill": fills[0] if len(set(fills)) == 1 else "mixed",
        "settled_at_us": max(received_at_us),
    }


def _trades_of(report: _Report, trades: Sequence[_Trades]) -> int:
    if report.trades is not None:
        return report.trades
    moved_money = report.stake_micro > 0 or report.pnl_micro != 0 or report.fee_micro != 0
    return int(moved_money or any(t.bot == report.bot and t.fill == report.fill for t in trades))


def _starts() -> Lookup:
    """The starts of units and of their bots."""
    b, u = _BOTS.c, _UNITS.c
    same = and_(u.experiment == b.experiment, u.unit == b.unit)
    starts = select(b.unit, b.bot, b.first_at_us, u.started_at_us).select_from(_BOTS.join(_UNITS, same))
    return Lookup(starts.where(b.experiment == EXPERIMENT), b.unit)


def _groups() -> Lookup:
    """Outcomes by kind, bot and fill. There is one market outcome of a bot: its maximum is what it says."""
    o = _OUTCOMES.c
    facts = {
        "rows": func.count(),
        "wins": func.sum(case((o.pnl_micro > 0, 1), else_=0)),
        "said_won": func.sum(case((o.won, 1), else_=0)),
        "won": func.max(case((o.won, 1), (~o.won, 0))),
        **{name: func.max(o[name]) for name in (*_MONEY, "trades", "received_at_us")},
    }
    groups = (o.unit, o.kind, o.bot, o.fill)
    query = select(*groups, *(fact.label(name) for name, fact in facts.items()))
    return Lookup(query.where(o.experiment == EXPERIMENT).group_by(*groups), o.unit)


_STARTS, _GROUPS = _starts(), _groups()


def _opened(connection: Connection, experiment: str, units: Sequence[str]) -> dict[str, Opened]:
    """What is stored of these units' starts and bots."""
    opened: dict[str, Opened] = {}
    for unit, bot, first_at_us, started_at_us in _STARTS.rows(connection, experiment, units):
        if unit not in opened:
            opened[unit] = Opened(started_at_us, {})
        opened[unit].bots[bot] = first_at_us
    return opened


def _said(connection: Connection, experiment: str, units: Sequence[str]) -> dict[str, _Said]:
    """The outcomes of these units."""
    said = defaultdict[str, _Said](_Said)
    for unit, kind, bot, fill, *rest in _GROUPS.rows(connection, experiment, units):
        if kind == "trade":
            said[unit].trades.append(_Trades._make((bot, fill, *rest[:3])))
        else:
            said[unit].reports.append(_Report._make((bot, fill, *rest[3:])))
    return said
