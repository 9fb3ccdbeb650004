"""The lines of a bandit: audit rows that are written together with the split that they move, or not at all.

Decides nothing. The number of the split's version is the fence: of two that look at the same version, one
loses the compare-and-set and has written nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import IntegrityError

from store import tables
from store.audit import record_change
from store.errors import SplitMoved
from store.experiments import add_version
from store.records import Split
from store.sql import in_transaction, table_of

MOVED, RESUMED = "bandit.move", "bandit.resume"
_AUDIT = table_of(tables.Audit)


@dataclass(frozen=True, slots=True)
class Move:
    """A split, and what it was made on: JSON's types only."""

    split: Split
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One audit row of a bandit. detail: `version` and, of a move, its evidence."""

    at_us: int
    actor: str
    action: str
    detail: dict[str, Any]

    @property
    def version(self) -> int:
        """Of the split that it made, or took over."""
        return int(self.detail["version"])


def append(engine: Engine, key: str, version: int, made: Callable[[], Move]) -> Move:
    """Stores split `version` and its line, made and dated only when nobody else's work can delay them.

    Raises SplitMoved where version - 1 is not the newest. Then nothing was written.
    """
    try:
        return in_transaction(engine, lambda c: _append(c, key, version, made))
    except IntegrityError as error:
        raise SplitMoved(key, version - 1) from error


def _append(connection: Connection, key: str, version: int, made: Callable[[], Move]) -> Move:
    kept: list[Move] = []

    def dated() -> Split:
        kept.append(made())
        return kept[-1].split

    split = add_version(connection, key, version, dated)
    detail = {"version": version} | kept[-1].evidence
    _record(connection, split.created_at_us, split.actor, MOVED, key, detail)
    return kept[-1]


def resume(engine: Engine, key: str, line: Line) -> None:
    """Records that a split which somebody moved by hand is the bandit's from here on."""
    in_transaction(engine, lambda c: _record(c, line.at_us, line.actor, RESUMED, key, line.detail))


def _record(
    connection: Connection, at_us: int, actor: str, action: str, key: str, detail: dict[str, Any]
) -> None:
    record_change(connection, at_us, actor, action, key, msgspec.json.encode(detail).decode())


def last(connection: Connection, key: str) -> Line | None:
    """The newest line of an experiment's bandit."""
    found = lines(connection, key, 1)
    return found[0] if found else None


def lines(connection: Connection, key: str, most: int) -> tuple[Line, ...]:
    """The newest lines, the newest first."""
    query = (
        select(_AUDIT)
        .where(_AUDIT.c.experiment == key, _AUDIT.c.action.in_((MOVED, RESUMED)))
        .order_by(_AUDIT.c.id.desc())
        .limit(most)
    )
    return tuple(
        Line(row.at_us, row.actor, row.action, msgspec.json.decode(row.detail))
        for row in connection.execute(query)
    )
