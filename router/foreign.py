"""Makes an experiment of somebody else's log: what its rows say as our records, row by row, or why not.

A row is one decision of a unit. Where it says whether it was won, or what it brought, that is its trade; the
unit's market outcome is the sum of its rows. What the log does not say is nowhere made up: such records have
no state, no probabilities of actions and no model, and no screening accepts them.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from router.outcomes import USD_MAX
from router.starts import parse_rfc3339_us
from store.errors import BadForeignLog
from store.records import Decision, Experiment, MarketOutcome, Record, Split, TradeOutcome

Field = Literal[
    "unit", "arm", "won", "pnl_usd", "stake_usd", "fee_usd", "bot", "decided_at", "settled_at", "propensity"
]
Wanted = dict[Field, str]
"""Which column says what."""
TimeUnit = Literal["s", "ms", "us"]
_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
_TRUE, _FALSE = frozenset({"true", "1", "yes", "t"}), frozenset({"false", "0", "no", "f"})
_NULLS = frozenset({"", "nan", "na", "null", "none"})
_NAME_MAX = 256
_VERSIONS_MAX = 1_000
_EARLIEST_US, _LATEST_US = 946_684_800_000_000, 4_102_444_800_000_000
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
BUCKETS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """arms: the log's word for each arm -> our name, the control first. shares: of every arm by our name,
    where the log logs no propensity. at_us: of rows without a time. time_unit: of times that are numbers.
    """

    key: str
    columns: Wanted
    arms: Mapping[str, str]
    shares: Mapping[str, float] | None
    at_us: int | None
    time_unit: TimeUnit | None

    @property
    def names(self) -> tuple[str, ...]:
        """Our arms, the control first."""
        return tuple(self.arms.values())


class BadRow(Exception):
    """One row that breaks a rule."""

    def __init__(self, row: int, column: str, rule: str) -> None:
        super().__init__(f"row {row}, column {column}: {rule}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One row, checked. won, pnl_micro: None where the log says nothing."""

    number: int
    unit: str
    arm: str
    bot: str
    at_us: int
    settled_us: int
    weights: tuple[float, ...]
    won: bool | None
    pnl_micro: int | None
    stake_micro: int
    fee_micro: int

    @property
    def has_outcome(self) -> bool:
        """Whether the row says how it ended."""
        return self.won is not None or self.pnl_micro is not None


@dataclass(frozen=True, slots=True)
class Gathered:
    """rows: in the order of their times. bad: what was left out, and what it broke."""

    rows: list[Read]
    bad: list[str]


def all_of(rows: Iterable[tuple[int, Mapping[str, Any]]], terms: Terms) -> Gathered:
    """Reads and checks all rows; BadForeignLog at the first bad one."""
    try:
        return _ordered([read_row(number, values, terms) for number, values in rows], [])
    except BadRow as error:
        raise BadForeignLog(f"{error}. Mend it, or leave such rows out: --skip-bad") from error


def good_of(rows: Iterable[tuple[int, Mapping[str, Any]]], terms: Terms) -> Gathered:
    """The same, less the bad ones."""
    good, bad = list[Read](), list[str]()
    for number, values in rows:
        try:
            good.append(read_row(number, values, terms))
        except BadRow as error:
            bad.append(str(error))
    return _ordered(good, bad)


def _ordered(rows: list[Read], bad: list[str]) -> Gathered:
    if not rows:
        raise BadForeignLog("no row is left to import: give a log with rows")
    return Gathered(sorted(rows, key=lambda row: (row.at_us, row.number)), bad)


def read_row(number: int, values: Mapping[str, Any], terms: Terms) -> Read:
    """One row; BadRow where it breaks a rule."""
    cell = _Cells(number, values, terms.columns)
    word = cell.name("arm")
    if word not in terms.arms:
        raise cell.bad("arm", f"{word!r} is no arm; named are {', '.join(terms.arms)}")
    at_us = cell.instant("decided_at", terms.time_unit) or terms.at_us
    if at_us is None:
        raise cell.bad("decided_at", "is empty: give a time, or --at for all rows without one")
    settled_us = cell.instant("settled_at", terms.time_unit) or at_us
    if settled_us < at_us:
        raise cell.bad("settled_at", "is before the decision: check the column and its time zone")
    return Read(
        number=number,
        unit=cell.name("unit"),
        arm=terms.arms[word],
        bot=cell.name("bot") if "bot" in terms.columns else "log",
        at_us=at_us,
        settled_us=settled_us,
        weights=_weights(cell, terms),
        won=cell.truth("won"),
        pnl_micro=cell.money("pnl_usd"),
        stake_micro=cell.stake(),
        fee_micro=cell.money("fee_usd") or 0,
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    """A row's cells by what they mean."""

    number: int
    values: Mapping[str, Any]
    columns: Wanted

    def bad(self, name: Field, rule: str) -> BadRow:
        return BadRow(self.number, self.columns.get(name, name), rule)

    def _raw(self, name: Field) -> Any:
        """None where there is no column, or no value."""
        value = self.values.get(self.columns[name]) if name in self.columns else None
        if isinstance(value, float) and math.isnan(value):
            return None
        return None if isinstance(value, str) and value.strip().lower() in _NULLS else value

    def name(self, name: Field) -> str:
        value = self._raw(name)
        text = "" if value is None else str(value).strip()
        if not text or len(text) > _NAME_MAX or not text.isprintable():
            raise self.bad(name, f"must be 1 to {_NAME_MAX} printable characters, not {value!r}")
        return text

    def truth(self, name: Field) -> bool | None:
        value = self._raw(name)
        if value is None or isinstance(value, bool):
            return value
        text = str(value).strip().lower().removesuffix(".0")
        if text not in _TRUE | _FALSE:
            raise self.bad(name, f"{value!r} is neither true nor false: write true, false, 1, 0, yes or no")
        return text in _TRUE

    def money(self, name: Field) -> int | None:
        usd = self._number(name)
        if usd is None:
            return None
        if abs(usd) > USD_MAX:
            raise self.bad(name, f"{usd} is beyond +-{USD_MAX:,.0f} USD: check the unit of the money")
        return round(usd * 1e6)

    def stake(self) -> int:
        stake = self.money("stake_usd") or 0
        if stake < 0:
            raise self.bad("stake_usd", "is negative: a stake is 0 or more")
        return stake

    def _number(self, name: Field) -> float | None:
        value = self._raw(name)
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise self.bad(name, f"{value!r} is no number") from None
        if not math.isfinite(number):
            raise self.bad(name, f"{value!r} is not finite: leave it empty where nothing is known")
        return number

    def share(self) -> float:
        share = self._number("propensity")
        if share is None or not 0.0 <= share <= 1.0:
            raise self.bad("propensity", f"{share} must be a share of the treatment, 0 to 1, in every row")
        return share

    def instant(self, name: Field, unit: TimeUnit | None) -> int | None:
        value = self._raw(name)
        if value is None:
            return None
        us = self._instant_us(name, value, unit)
        if not _EARLIEST_US <= us < _LATEST_US:
            raise self.bad(name, f"{value} is not between 2000 and 2100: check --time-unit")
        return us

    def _instant_us(self, name: Field, value: Any, unit: TimeUnit | None) -> int:
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise self.bad(name, "has no time zone: write the column with one, say UTC")
            return (value - _EPOCH) // _MICROSECOND
        us = parse_rfc3339_us(value) if isinstance(value, str) else None
        if us is not None:
            return us
        number = self._number(name) if _is_number(value) else None
        if number is None:
            raise self.bad(name, f"{value!r} is not RFC 3339 with an offset, as 2026-01-05T09:57:29Z is")
        if unit is None:
            raise self.bad(name, "is a number: say of what since 1970, --time-unit s, ms or us")
        return round(number * _US[unit])


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _weights(cell: _Cells, terms: Terms) -> tuple[float, ...]:
    """The share of every arm when the row's unit was assigned, exact to a millionth."""
    if terms.shares is not None:
        return tuple(terms.shares[name] for name in terms.names)
    share = cell.share()
    exact = round(share * BUCKETS) / BUCKETS
    if not math.isclose(exact, share, abs_tol=1e-9):
        raise cell.bad("propensity", f"{share} is no multiple of 0.000001: round it to six places")
    return round(1.0 - exact, 6), exact


@dataclass(frozen=True, slots=True)
class Foreign:
    """What is stored. without_outcome: units of which the log never says how they ended."""

    splits: tuple[Split, ...]
    records: list[Record]
    units: dict[str, int]
    outcomes: int
    without_outcome: int


def foreign_of(experiment: Experiment, rows: list[Read], actor: str) -> Foreign:
    """rows: in the order of their times. A version of the split for each set of shares, by its first row."""
    firsts: dict[str, Read] = {}
    versions: dict[tuple[float, ...], Split] = {}
    records: list[Record] = []
    for row in rows:
        first = firsts.setdefault(row.unit, row)
        if first.weights not in versions:
            number = len(versions) + 1
            versions[first.weights] = _split(experiment, first.weights, number, row.at_us, actor)
        records.append(_decision(experiment, row, first, versions[first.weights].version))
        if row.has_outcome:
            records.append(_trade(experiment, row))
    if len(versions) > _VERSIONS_MAX:
        raise BadForeignLog(
            f"the log has {len(versions):,} different propensities: at most {_VERSIONS_MAX:,}"
        )
    markets = _markets(experiment, rows)
    return Foreign(
        splits=tuple(versions.values()),
        records=[*records, *markets],
        units=dict(Counter(first.arm for first in firsts.values())),
        outcomes=len(records) - len(rows),
        without_outcome=len(firsts.keys() - {market.unit for market in markets}),
    )


def _split(experiment: Experiment, weights: tuple[float, ...], version: int, at_us: int, actor: str) -> Split:
    ranges, start = list[tuple[str, int, int]](), 0
    for arm, weight in zip(experiment.arms, weights, strict=True):
        stop = start + round(weight * BUCKETS)
        if stop > start:
            ranges.append((arm, start, stop))
        start = stop
    return Split(
        experiment=experiment.key,
        version=version,
        salt=experiment.salt,
        ranges=tuple(ranges),
        effective_at_us=at_us,
        created_at_us=at_us,
        actor=actor,
        reason="imported",
    )


def _decision(experiment: Experiment, row: Read, first: Read, version: int) -> Decision:
    return Decision(
        decision_id=_id_of(row),
        experiment=experiment.key,
        unit=row.unit,
        bot=row.bot,
        arm=row.arm,
        served_arm=row.arm,
        reason="imported",
        binding="started_at",
        split_version=version,
        weights=dict(zip(experiment.arms, first.weights, strict=True)),
        forced=False,
        eligible=True,
        split_stale=False,
        received_at_us=row.at_us,
        started_at_us=first.at_us,
        sent_started_at_us=None,
        as_of_us=None,
        action="hold",
        probs=(0.0, 0.0, 0.0),
        value=0.0,
        model="",
        schema="",
        state=b"",
        history_digest=b"",
        history_used=0,
        latency_us=0,
    )


def _id_of(row: Read) -> str:
    return f"row-{row.number}"


def _trade(experiment: Experiment, row: Read) -> TradeOutcome:
    return TradeOutcome(
        experiment=experiment.key,
        decision_id=_id_of(row),
        pnl_micro=row.pnl_micro or 0,
        fee_micro=row.fee_micro,
        stake_micro=row.stake_micro,
        entry_price=None,
        exit_price=None,
        side=None,
        fill="replay",
        won=row.won,
        closed_at_us=row.settled_us,
        received_at_us=row.settled_us,
    )


def _markets(experiment: Experiment, rows: Iterable[Read]) -> list[MarketOutcome]:
    """One for every unit and bot that says anything, when its last row was settled."""
    groups: dict[tuple[str, str], list[Read]] = {}
    for row in rows:
        if row.has_outcome:
            groups.setdefault((row.unit, row.bot), []).append(row)
    found = [_market(experiment, group) for group in groups.values()]
    return sorted(found, key=lambda market: market.received_at_us)


def _market(experiment: Experiment, group: list[Read]) -> MarketOutcome:
    last_us = max(row.settled_us for row in group)
    return MarketOutcome(
        experiment=experiment.key,
        unit=group[0].unit,
        bot=group[0].bot,
        pnl_micro=sum(row.pnl_micro or 0 for row in group),
        fee_micro=sum(row.fee_micro for row in group),
        stake_micro=sum(row.stake_micro for row in group),
        trades=len(group),
        won=_won(group),
        fill="replay",
        closed_at_us=last_us,
        received_at_us=last_us,
    )


def _won(group: list[Read]) -> bool | None:
    """Of a unit, as all its rows say. By money where the log has it (the experiment's `win`)."""
    said = {row.won for row in group if row.won is not None}
    if len(said) > 1 and all(row.pnl_micro is None for row in group):
        numbers = ", ".join(str(row.number) for row in group[:5])
        raise BadForeignLog(
            f"unit {group[0].unit!r} is won and not won (rows {numbers}): give one row a unit, or map pnl_usd"
        )
    return said.pop() if len(said) == 1 else None


def bytes_of(records: Iterable[Record]) -> Iterable[bytes]:
    """As they would stand in a journal."""
    return map(msgspec.msgpack.Encoder().encode, records)
