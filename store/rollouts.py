"""Rollouts and the lines of their histories in SQL. Append-only, and never more than one writer a line.

Decides nothing. A line and the split that it moves are one transaction: who loses either compare-and-set,
that of the line's number or that of the split's version, has written nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import IntegrityError

from store import tables
from store.audit import record_change
from store.errors import RolloutMoved, SplitMoved
from store.experiments import add_version, begin_split, newest_version
from store.records import Split
from store.sql import in_transaction, table_of

_ROLLOUTS = table_of(tables.Rollout)
_EVENTS = table_of(tables.RolloutEvent)


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout and its plan, as TOML."""

    experiment: str
    number: int
    treatment: str
    plan: str
    plan_digest: str
    base_version: int
    since_us: int


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line. evidence: canonical JSON, or empty."""

    experiment: str
    seq: int
    rollout: int
    at_us: int
    kind: str
    stage: int
    share: float
    split_version: int
    actor: str
    reason: str = ""
    action: str = ""
    cause: str = ""
    evidence_digest: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """What is to be written together. split: the version that the line makes; begun: the rollout that it
    starts. unmoved: the version that the split must be at where the line counts on it and moves nothing.
    """

    event: Event
    split: Split | None = None
    begun: Rollout | None = None
    unmoved: int | None = None


def append(engine: Engine, key: str, seq: int, made: Callable[[], Line]) -> Line:
    """Writes line `seq` of an experiment, made and dated only when nobody else's work can delay its commit.

    Raises RolloutMoved where that line is there, or the one before it is not; SplitMoved where the split is
    not the one that its new version follows. Then nothing was written.
    """
    try:
        return in_transaction(engine, lambda c: _append(c, key, seq, made))
    except IntegrityError as error:
        raise RolloutMoved(key, seq) from error


def _append(connection: Connection, key: str, seq: int, made: Callable[[], Line]) -> Line:
    begin_split(connection)
    newest = select(func.max(_EVENTS.c.seq)).where(_EVENTS.c.experiment == key)
    if (connection.execute(newest).scalar() or 0) != seq - 1:
        raise RolloutMoved(key, seq)
    line = made()
    if line.begun is not None:
        connection.execute(_ROLLOUTS.insert(), msgspec.structs.asdict(line.begun))
    if line.unmoved is not None and newest_version(connection, key) != line.unmoved:
        raise SplitMoved(key, line.unmoved)
    if line.split is not None:
        split = line.split
        add_version(connection, key, split.version, lambda: split)
    event = line.event
    connection.execute(_EVENTS.insert(), msgspec.structs.asdict(event))
    record_change(connection, event.at_us, event.actor, f"rollout.{event.kind}", key, _detail(event))
    return line


def _detail(event: Event) -> str:
    names = ("rollout", "seq", "stage", "share", "split_version", "cause", "reason", "evidence_digest")
    return msgspec.json.encode({name: getattr(event, name) for name in names}).decode()


def newest(connection: Connection, key: str) -> Rollout | None:
    """The last rollout of an experiment, over or not."""
    query = (
        select(_ROLLOUTS).where(_ROLLOUTS.c.experiment == key).order_by(_ROLLOUTS.c.number.desc()).limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Rollout(**_fields(row))


def every(connection: Connection, key: str) -> tuple[Rollout, ...]:
    """All of them, the first one first."""
    query = select(_ROLLOUTS).where(_ROLLOUTS.c.experiment == key).order_by(_ROLLOUTS.c.number)
    return tuple(Rollout(**_fields(row)) for row in connection.execute(query))


def events(connection: Connection, key: str, number: int | None = None) -> tuple[Event, ...]:
    """The lines of an experiment, or of one of its rollouts, in their order."""
    query = select(_EVENTS).where(_EVENTS.c.experiment == key).order_by(_EVENTS.c.seq)
    own = query if number is None else query.where(_EVENTS.c.rollout == number)
    return tuple(Event(**_fields(row)) for row in connection.execute(own))


def _fields(row: Any) -> dict[str, Any]:
    return dict(row._mapping)  # noqa: SLF001 - its public name


def first_event_from(connection: Connection, key: str, seq: int, since_us: int) -> Event | None:
    """The first line of an experiment from a number and a moment on; None where there is none."""
    later = (_EVENTS.c.experiment == key) & (_EVENTS.c.seq >= seq) & (_EVENTS.c.at_us >= since_us)
    row = connection.execute(select(_EVENTS).where(later).order_by(_EVENTS.c.seq).limit(1)).one_or_none()
    return None if row is None else Event(**_fields(row))


def open_ones(connection: Connection) -> tuple[str, ...]:
    """The experiments whose newest rollout is not over, by key."""
    newest = select(_ROLLOUTS.c.experiment, func.max(_ROLLOUTS.c.number)).group_by(_ROLLOUTS.c.experiment)
    is_end = _EVENTS.c.kind.in_(("rolled_back", "aborted"))
    ends = select(_EVENTS.c.experiment, _EVENTS.c.rollout).where(is_end)
    ended = {(key, number) for key, number in connection.execute(ends)}
    return tuple(sorted(key for key, number in connection.execute(newest) if (key, number) not in ended))
