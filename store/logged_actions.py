"""Reads answered decisions unit by unit with what each of their trades brought: a log for other policies.

A scan of decisions, streamed: one unit is in memory at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import ColumnElement, Connection, Select, and_, select

from store import tables
from store.records import ACTIONS, Action
from store.sql import table_of

_DECISIONS = table_of(tables.Decision)
_OUTCOMES = table_of(tables.Outcome)
_STREAMED_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class LoggedAction:
    """One decision. propensity: of the action where it was answered, after the coin for the arm.

    pnl_micro, won: of the trade that it opened, None where it opened none, or none of the wanted fill.
    """

    decision_id: str
    unit: str
    bot: str
    served_arm: str
    received_at_us: int
    action: Action
    probs: tuple[float, float, float]
    propensity: float
    model: str
    schema_hash: str
    state: bytes
    history_digest: bytes
    pnl_micro: int | None
    won: bool | None

    @property
    def possible(self) -> list[float]:
        """How likely each action was once the arm was asked. An answer by argmax has propensity 1: nothing
        else could come. A draw is among shares of the probabilities' sum.
        """
        if self.propensity == 1.0:
            return [float(name == self.action) for name in ACTIONS]
        total = sum(self.probs)
        return [prob / total for prob in self.probs]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Decisions of an experiment from `since_us` on. fill: of the trades that count."""

    experiment: str
    fill: str
    since_us: int = 0


def units_in(connection: Connection, wanted: Wanted) -> Iterator[tuple[str, list[LoggedAction]]]:
    """Units, each with its decisions: bot by bot, and of a bot in the order they came."""
    rows = connection.execute(_query(wanted), execution_options={"yield_per": _STREAMED_ROWS})
    for unit, group in groupby(rows, key=lambda row: row.unit):
        yield unit, [_action(row) for row in group]


def _query(wanted: Wanted) -> "Select[tuple[object, ...]]":
    d, o = _DECISIONS.c, _OUTCOMES.c
    names = (n for n in LoggedAction.__dataclass_fields__ if n in d and n not in {"probs", "propensity"})
    return (
        select(*(d[n] for n in names), d.prob_hold, d.prob_buy, d.prob_sell, d.action_propensity)
        .add_columns(o.pnl_micro, o.won)
        .select_from(_DECISIONS.outerjoin(_OUTCOMES, _opened(wanted.fill)))
        .where(d.experiment == wanted.experiment, d.received_at_us >= wanted.since_us)
        .order_by(d.unit, d.bot, d.received_at_us, d.journal_id, d.position)
    )


def _opened(fill: str) -> ColumnElement[bool]:
    d, o = _DECISIONS.c, _OUTCOMES.c
    return and_(o.experiment == d.experiment, o.kind == "trade", o.key == d.decision_id, o.fill == fill)


def _action(row: object) -> LoggedAction:
    fields = dict(row._mapping)  # type: ignore[attr-defined]  # noqa: SLF001 - SQLAlchemy's public name
    probs = tuple(fields.pop(name) for name in ("prob_hold", "prob_buy", "prob_sell"))
    return LoggedAction(probs=probs, propensity=fields.pop("action_propensity"), **fields)
