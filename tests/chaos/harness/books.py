"""Compares what the bots wrote down with what SQL holds. Pure: rows in, findings out."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.diary import Diaries, OutcomeKey, answers

TORN = "unfinished or damaged record"
"""The one dead letter that a kill may leave: a record that was never acknowledged."""


class DecisionRow(NamedTuple):
    """A decision in SQL."""

    decision_id: str
    unit: str
    bot: str
    arm: str
    action: str
    binding: str
    stale: bool


class OutcomeRow(NamedTuple):
    """An outcome in SQL, or (holder False) one in the table of conflicts."""

    kind: str
    key: str
    unit: str | None
    pnl_micro: int
    holder: bool


class UnitRow(NamedTuple):
    """A unit's totals in SQL."""

    unit: str
    arm: str
    decisions: int
    contaminated: bool
    unserved: int = 0


class RefusalRow(NamedTuple):
    """A refused decision in SQL, whose unit was bound."""

    unit: str
    arm: str


@dataclass(frozen=True, slots=True)
class SqlBooks:
    """What SQL holds of one run. dead: the reasons of its dead letters."""

    decisions: Sequence[DecisionRow] = ()
    outcomes: Sequence[OutcomeRow] = ()
    units: Sequence[UnitRow] = ()
    dead: Sequence[str] = ()
    refusals: Sequence[RefusalRow] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    """wrong: law -> who breaks it; nobody may. marked: units with two arms whose decisions say why."""

    wrong: dict[str, list[str]] = field(default_factory=dict)
    marked: frozenset[str] = frozenset()
    counts: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """One line a law that is broken, with some examples."""
        lines = [f"{law}: {len(who)}, such as {', '.join(who[:5])}" for law, who in self.wrong.items()]
        return "\n".join(lines) or "nothing is wrong"


def reconcile(diaries: Diaries, sql: SqlBooks) -> Findings:
    """Every law, and who breaks it."""
    marked: set[str] = set()
    laws: dict[str, Callable[[], Iterable[str]]] = {
        "an answered decision is lost": lambda: diaries.told.keys() - {r.decision_id for r in sql.decisions},
        "a decision is there twice": lambda: twice(r.decision_id for r in sql.decisions),
        "a decision was never sent": lambda: invented_decisions(diaries, sql.decisions),
        "one decision id got two answers": lambda: changed_answers(diaries, sql.decisions),
        "a unit has two arms": lambda: two_armed(diaries, sql, marked),
        "a unit's totals are wrong": lambda: wrong_totals(sql),
        "an acknowledged outcome is lost": lambda: lost_outcomes(diaries, sql.outcomes),
        "an outcome is there twice": lambda: twice(f"{r.kind} {r.key}" for r in sql.outcomes if r.holder),
        "an outcome was never sent": lambda: invented_outcomes(diaries, sql.outcomes),
        "the first outcome did not stay": lambda: moved_outcomes(diaries, sql.outcomes),
        "a trade is in the wrong unit": lambda: misplaced_trades(sql),
        "a dead letter is no torn record": lambda: [reason for reason in sql.dead if reason != TORN],
    }
    wrong = {law: found for law, broken in laws.items() if (found := sorted(broken()))}
    started = {asked.unit for asked in diaries.asked.values() if asked.started}
    counts = {**counts_of(diaries, sql), "marked": len(marked), "marked_with_start": len(marked & started)}
    return Findings(wrong, frozenset(marked), counts)


def counts_of(diaries: Diaries, sql: SqlBooks) -> dict[str, int]:
    """The figures of a run."""
    return {
        "decisions_sent": len(diaries.asked),
        "decisions_answered": len(diaries.told),
        "decisions_in_sql": len(sql.decisions),
        "outcomes_sent": len({(key, pnl) for key, said in diaries.said.items() for pnl in said.sent}),
        "outcomes_taken": len({(key, pnl) for key, said in diaries.said.items() for pnl in said.taken}),
        "outcomes_in_sql": sum(r.holder for r in sql.outcomes),
        "conflicts_in_sql": sum(not r.holder for r in sql.outcomes),
        "units": len(sql.units),
        "unserved": sum(r.unserved > 0 for r in sql.units),
        "contaminated": sum(r.contaminated for r in sql.units),
        "torn_records": len(sql.dead),
        "refused": sum(diaries.refused.values()),
    }


def twice(names: Iterable[str]) -> list[str]:
    """Names that come more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def invented_decisions(diaries: Diaries, rows: Iterable[DecisionRow]) -> list[str]:
    """Those that no bot sent, or not with that unit and bot."""
    return [
        row.decision_id
        for row in rows
        if (asked := diaries.asked.get(row.decision_id)) is None
        or (asked.unit, asked.bot) != (row.unit, row.bot)
    ]


def changed_answers(diaries: Diaries, rows: Iterable[DecisionRow]) -> set[str]:
    """Ids whose answers, SQL's row among them, differ in arm or action though none says that it may."""
    said: dict[str, set[tuple[str, str]]] = defaultdict(set)
    unsure: set[str] = set()
    for row in rows:
        said[row.decision_id].add((row.arm, row.action))
        unsure |= {row.decision_id} if row.binding == "local" or row.stale else set()
    for decision_id, told in answers(diaries):
        said[decision_id].add((told.arm, told.action))
        unsure |= {decision_id} if told.binding == "local" or told.stale else set()
    return {decision_id for decision_id, different in said.items() if len(different) > 1} - unsure


def two_armed(diaries: Diaries, sql: SqlBooks, marked: set[str]) -> set[str]:
    """Units with two assigned arms that no decision marks; those that one does are added to `marked`.

    A mark is `binding="local"` (Redis was not there to ask) or `split_stale` (SQL was not).
    """
    arms: dict[str, set[str]] = defaultdict(set)
    marks: set[str] = set()
    for row in sql.decisions:
        arms[row.unit].add(row.arm)
        marks |= {row.unit} if row.binding == "local" or row.stale else set()
    for decision_id, told in answers(diaries):
        unit = diaries.asked[decision_id].unit
        arms[unit].add(told.arm)
        marks |= {unit} if told.binding == "local" or told.stale else set()
    mixed = {unit for unit, its in arms.items() if len(its) > 1}
    marked |= mixed & marks
    return mixed - marks


def wrong_totals(sql: SqlBooks) -> set[str]:
    """Units whose row is missing or does not say what their decisions, answered and refused, say."""
    count = Counter(row.unit for row in sql.decisions)
    refused = Counter(row.unit for row in sql.refusals)
    arms: dict[str, set[str]] = defaultdict(set)
    for row in (*sql.decisions, *sql.refusals):
        arms[row.unit].add(row.arm)
    right = {
        row.unit
        for row in sql.units
        if (row.decisions, row.unserved) == (count[row.unit], refused[row.unit])
        and row.arm in arms[row.unit]
        and row.contaminated == (len(arms[row.unit]) > 1)
    }
    return (arms.keys() | {row.unit for row in sql.units}) - right


def lost_outcomes(diaries: Diaries, rows: Iterable[OutcomeRow]) -> list[str]:
    """Contents that were acknowledged and stand neither among the outcomes nor the conflicts."""
    held = {(row.kind, row.key, row.pnl_micro) for row in rows}
    return [
        f"{key} {pnl}"
        for key, said in diaries.said.items()
        for pnl in set(said.taken)
        if (*key, pnl) not in held
    ]


def invented_outcomes(diaries: Diaries, rows: Iterable[OutcomeRow]) -> list[str]:
    """Contents that nobody sent."""
    return [
        f"{row.kind} {row.key} {row.pnl_micro}"
        for row in rows
        if (said := diaries.said.get((row.kind, row.key))) is None or row.pnl_micro not in said.sent
    ]


def moved_outcomes(diaries: Diaries, rows: Iterable[OutcomeRow]) -> list[str]:
    """Keys held by a content that was sent only after another one had been acknowledged."""
    held: dict[OutcomeKey, int] = {(row.kind, row.key): row.pnl_micro for row in rows if row.holder}
    return [
        f"{key} {held[key]}"
        for key, said in diaries.said.items()
        if said.taken and key in held and held[key] not in said.first
    ]


def misplaced_trades(sql: SqlBooks) -> list[str]:
    """Trades whose decision is there and which are not in its unit."""
    units = {row.decision_id: row.unit for row in sql.decisions}
    return [
        row.key
        for row in sql.outcomes
        if row.kind == "trade" and row.holder and row.unit != units.get(row.key)
    ]
