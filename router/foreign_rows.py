"""Rows of somebody else's log, checked: each alone, and against those before it."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from router.assignment import BUCKETS
from router.foreign_cells import NAME_MAX, BadRow, Cells, TimeUnit, Wanted
from router.slicing import beginning
from store.errors import BadForeignLog
from store.foreign_log import ForeignRow, Place
from store.records import Action

_RUN = "@"
"""Parts a market from a unit in it (docs/assignment.md): what stands before it is the slice."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One row, checked. won, pnl_micro: None where the log says nothing.

    unit: with its market, where the log has a column for it; bare_unit: without. is_named: it has an id of
    its own. sent_start_us: its unit's start, where the log has a column for it. has_time: not only --at's.
    has_outcome: it says how it ended, in money where the log has a column for money.
    """

    place: Place
    decision_id: str
    is_named: bool
    unit: str
    bare_unit: str
    market: str | None
    arm: str
    bot: str
    action: Action
    sent_start_us: int | None
    at_us: int
    has_time: bool
    settled_us: int
    weights: tuple[float, ...]
    has_outcome: bool
    won: bool | None
    pnl_micro: int | None
    stake_micro: int
    fee_micro: int

    @property
    def start_us(self) -> int:
        """When the unit started, as far as this row knows."""
        return self.at_us if self.sent_start_us is None else self.sent_start_us


@dataclass(frozen=True, slots=True)
class Gathered:
    """rows: in the order of their times. bad: what was left out, and what it broke."""

    rows: list[Read]
    bad: list[str]


def all_of(rows: Iterable[ForeignRow], terms: Terms, now_us: int) -> Gathered:
    """Reads and checks all rows; BadForeignLog at the first bad one."""
    good = list[Read]()
    for found in _checked(rows, terms, now_us):
        if isinstance(found, BadRow):
            raise BadForeignLog(f"{found}. Mend it, or leave such rows out: --skip-bad") from found
        good.append(found)
    return _ordered(good, [])


def good_of(rows: Iterable[ForeignRow], terms: Terms, now_us: int) -> Gathered:
    """The same, less the bad ones."""
    good, bad = list[Read](), list[str]()
    for found in _checked(rows, terms, now_us):
        if isinstance(found, BadRow):
            bad.append(str(found))
        else:
            good.append(found)
    return _ordered(good, bad)


def _ordered(rows: list[Read], bad: list[str]) -> Gathered:
    if not rows:
        first = f"; the first that broke a rule: {bad[0]}" if bad else ""
        raise BadForeignLog(f"no row is left to import: give a log with rows{first}")
    return Gathered(sorted(rows, key=_turn), bad)


def _turn(row: Read) -> tuple[int, int, bytes, int]:
    """Units of one moment in an order that neither the log's rows nor their names' alphabet decide."""
    return row.start_us, row.at_us, blake2b(row.unit.encode(), digest_size=8).digest(), row.place.number


def _checked(rows: Iterable[ForeignRow], terms: Terms, now_us: int) -> Iterator[Read | BadRow]:
    """Every row, or the rule it breaks: not raised, so that who may leave it out can go on."""
    book = _Book()
    for row in rows:
        try:
            read = read_row(row, terms, now_us)
            book.add(read)
        except BadRow as error:
            yield error
        else:
            yield read


@dataclass(frozen=True, slots=True)
class _Book:
    """What the rows so far said that a later one must not contradict."""

    ids: dict[str, Place] = field(default_factory=dict)
    starts: dict[str, Read] = field(default_factory=dict)
    markets: dict[str, Read] = field(default_factory=dict)

    def add(self, row: Read) -> None:
        """Notes what the log has columns for; BadRow where it contradicts."""
        same_id = self.ids.get(row.decision_id)
        if same_id is not None:
            raise BadRow(
                f"{row.place}: decision id {row.decision_id!r} is that of {same_id}: give each its own"
            )
        start = self.starts.get(row.unit, row)
        if start.sent_start_us != row.sent_start_us:
            raise BadRow(f"{row.place}: unit {row.unit!r} started at another time in {start.place}: give one")
        market = self.markets.get(row.bare_unit, row)
        if market.market != row.market:
            raise BadRow(
                f"{row.place}: unit {row.bare_unit!r} is of market {market.market!r} in {market.place}: map"
                " what was assigned in each market anew, or no market"
            )
        if row.is_named:
            self.ids[row.decision_id] = row.place
        if row.sent_start_us is not None:
            self.starts[row.unit] = start
        if row.market is not None:
            self.markets[row.bare_unit] = market


def read_row(row: ForeignRow, terms: Terms, now_us: int) -> Read:
    """One row; BadRow where it breaks a rule."""
    if row.fault is not None:
        raise BadRow(f"{row.place}: {row.fault}")
    cell = Cells(row.place, row.values, terms.columns, terms.time_unit, now_us)
    market, bare = _market(cell), cell.name("unit")
    sent_start_us, at_us, has_time = _times(cell, terms)
    settled_us = cell.instant("settled_at") or at_us
    if settled_us < at_us:
        raise cell.bad("settled_at", "is before the decision: check the column and its time zone")
    won, pnl_micro = cell.truth("won"), cell.money("pnl_usd")
    return Read(
        place=row.place,
        decision_id=cell.name("decision_id") if "decision_id" in terms.columns else f"row-{row.place.number}",
        is_named="decision_id" in terms.columns,
        unit=_unit(cell, market, bare),
        bare_unit=bare,
        market=market,
        arm=_arm(cell, terms),
        bot=cell.name("bot") if "bot" in terms.columns else "log",
        action=cell.action(),
        sent_start_us=sent_start_us,
        at_us=at_us,
        has_time=has_time,
        settled_us=settled_us,
        weights=_weights(cell, terms),
        has_outcome=(won if "pnl_usd" not in terms.columns else pnl_micro) is not None,
        won=won,
        pnl_micro=pnl_micro,
        stake_micro=cell.stake(),
        fee_micro=cell.money("fee_usd") or 0,
    )


def _arm(cell: Cells, terms: Terms) -> str:
    word = cell.name("arm")
    if word not in terms.arms:
        raise cell.bad("arm", f"{word!r} is no arm; named are {', '.join(terms.arms)}: name it --treatment")
    return terms.arms[word]


def _market(cell: Cells) -> str | None:
    if "market" not in cell.columns:
        return None
    market = cell.name("market")
    if beginning(market + _RUN) != market:
        raise cell.bad("market", f"{market!r} has an @, six digits or a sign at its end: name it otherwise")
    return market


def _unit(cell: Cells, market: str | None, bare: str) -> str:
    unit = bare if market is None else market + _RUN + bare
    if len(unit) > NAME_MAX:
        raise cell.bad("unit", f"is longer than {NAME_MAX} characters with its market: shorten it")
    return unit


def _times(cell: Cells, terms: Terms) -> tuple[int | None, int, bool]:
    """The unit's start where there is a column for it, the decision's time, and whether the row told that."""
    start_us, logged_us = cell.instant("started_at"), cell.instant("decided_at")
    if "started_at" in cell.columns and start_us is None:
        raise cell.bad("started_at", "is empty: give the start of its unit in every row")
    found_us = start_us if "decided_at" not in cell.columns else logged_us
    at_us = terms.at_us if found_us is None else found_us
    if at_us is None:
        raise cell.bad("decided_at", "is empty: give a time, or --at for all rows without one")
    if start_us is not None and at_us < start_us:
        raise cell.bad("decided_at", "is before its unit's start: check both columns and their time zones")
    return start_us, at_us, found_us is not None


def _weights(cell: Cells, terms: Terms) -> tuple[float, ...]:
    """The share of every arm when the row's unit was assigned, exact to a millionth."""
    if terms.shares is not None:
        return tuple(terms.shares[name] for name in terms.names)
    share = cell.share()
    exact = round(share * BUCKETS) / BUCKETS
    if not math.isclose(exact, share, abs_tol=1e-9):
        raise cell.bad("propensity", f"{share} is no multiple of 0.000001: round it to six places")
    return round(1.0 - exact, 6), exact
