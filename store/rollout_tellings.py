"""How far the lines of each experiment's rollouts are told to the webhook, in their order: one row each.

An attempt is claimed before it is made, by a compare-and-set: of several senders one sends. Who dies between
the receiver's answer and `done` leaves the line to be sent again, under the same id.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, and_, func, or_, select

from store import tables
from store.rollouts import Event, first_event_from
from store.sql import in_transaction, insert_new, table_of

_TELLINGS = table_of(tables.RolloutTelling)
_EVENTS = table_of(tables.RolloutEvent)
ERROR_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Due:
    """A line to be told now. after: the last line done with, so those between are passed over as too old.

    tries: how often it was tried before.
    """

    line: Event
    after: int
    tries: int

    @property
    def passed_over(self) -> int:
        """How many lines stay untold because they are too old."""
        return self.line.seq - 1 - self.after

    @property
    def attempt(self) -> int:
        """1 for the first."""
        return 1 if self.passed_over else self.tries + 1


def due(connection: Connection, now_us: int, since_us: int) -> tuple[Due, ...]:
    """The next line of each experiment whose time has come; lines before since_us are passed over."""
    last = select(
        _EVENTS.c.experiment, func.max(_EVENTS.c.seq).label("seq"), func.max(_EVENTS.c.at_us).label("at_us")
    )
    lines = last.group_by(_EVENTS.c.experiment).subquery()
    known = lines.outerjoin(_TELLINGS, _TELLINGS.c.experiment == lines.c.experiment)
    is_behind = and_(_TELLINGS.c.seq < lines.c.seq, _TELLINGS.c.next_at_us <= now_us)
    is_due = and_(lines.c.at_us >= since_us, or_(_TELLINGS.c.experiment.is_(None), is_behind))
    query = select(lines.c.experiment, _TELLINGS.c.seq, _TELLINGS.c.tries).select_from(known).where(is_due)
    return tuple(_first(connection, connection.execute(query).all(), since_us))


def _first(connection: Connection, rows: Iterable[Any], since_us: int) -> Iterator[Due]:
    for key, seq, tries in rows:
        line = first_event_from(connection, key, (seq or 0) + 1, since_us)
        if line is not None:
            yield Due(line, seq or 0, tries or 0)


def claimed(engine: Engine, found: Due, until_us: int) -> bool:
    """Takes one attempt; until it is over, or that moment, nobody else makes another."""
    return in_transaction(engine, lambda c: _claimed(c, found, until_us))


def _claimed(connection: Connection, found: Due, until_us: int) -> bool:
    key, before = found.line.experiment, found.line.seq - 1
    taken = {"seq": before, "tries": found.attempt, "next_at_us": until_us}
    fresh = {"experiment": key, "seq": 0, "tries": 0, "next_at_us": 0, "given_up": 0, "error": ""}
    connection.execute(insert_new(connection, _TELLINGS), fresh)
    mine = and_(
        _TELLINGS.c.experiment == key, _TELLINGS.c.seq == found.after, _TELLINGS.c.tries == found.tries
    )
    return connection.execute(_TELLINGS.update().where(mine).values(taken)).rowcount > 0


def done(engine: Engine, line: Event) -> None:
    """The line is told."""
    _note(engine, line, {"seq": line.seq, "tries": 0, "next_at_us": 0, "error": ""})


def failed(engine: Engine, line: Event, next_at_us: int, error: str) -> None:
    """The attempt failed; the next one is at a moment."""
    _note(engine, line, {"next_at_us": next_at_us, "error": error[:ERROR_CHARACTERS]})


def given_up(engine: Engine, line: Event, error: str) -> None:
    """The line is left untold, and the next one's turn has come."""
    counted = {"given_up": _TELLINGS.c.given_up + 1, "error": error[:ERROR_CHARACTERS]}
    _note(engine, line, {"seq": line.seq, "tries": 0, "next_at_us": 0, **counted})


def _note(engine: Engine, line: Event, values: dict[str, object]) -> None:
    """Nothing where somebody else has brought the row further."""
    mine = and_(_TELLINGS.c.experiment == line.experiment, _TELLINGS.c.seq == line.seq - 1)
    in_transaction(engine, lambda c: c.execute(_TELLINGS.update().where(mine).values(values)))


@dataclass(frozen=True, slots=True)
class Told:
    """seq: the last line done with. tries, error: of the line after it. given_up: lines nobody took."""

    seq: int
    tries: int
    given_up: int
    error: str


def told(connection: Connection, key: str) -> Told | None:
    """How far an experiment's lines are told; None where none ever was tried."""
    columns = (_TELLINGS.c.seq, _TELLINGS.c.tries, _TELLINGS.c.given_up, _TELLINGS.c.error)
    row = connection.execute(select(*columns).where(_TELLINGS.c.experiment == key)).one_or_none()
    return None if row is None else Told(*row)
