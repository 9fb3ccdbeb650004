"""Facts on their way to a service: on disk before they are sent, forgotten only when acknowledged."""

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode
_TABLES = (
    "CREATE TABLE IF NOT EXISTS waiting (number INTEGER PRIMARY KEY AUTOINCREMENT, outcome BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS refused (number INTEGER PRIMARY KEY, outcome BLOB NOT NULL, why TEXT)",
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An outcome as it is sent, and its number in the outbox: never given twice."""

    number: int
    outcome: dict[str, Any]


class Outbox:
    """A file of its own. What `put` returned for survives a kill; one process at a time, one thread."""

    def __init__(self, path: Path) -> None:
        self._file = sqlite3.connect(path, isolation_level=None)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=NORMAL")
        for table in _TABLES:
            self._file.execute(table)

    def put(self, outcomes: Sequence[object]) -> None:
        """Keeps outcomes until they are acknowledged; all of them or none. Each encodes to a JSON object."""
        rows = [(_ENCODE(outcome),) for outcome in outcomes]
        with self._transaction():
            self._file.executemany("INSERT INTO waiting (outcome) VALUES (?)", rows)

    def waiting(self, limit: int = 500) -> list[Waiting]:
        """The oldest outcomes that are not acknowledged."""
        rows = self._file.execute("SELECT number, outcome FROM waiting ORDER BY number LIMIT ?", (limit,))
        return [Waiting(number, _DECODE(outcome)) for number, outcome in rows.fetchall()]

    def acknowledge(self, numbers: Sequence[int]) -> None:
        """Forgets outcomes that the service has."""
        with self._transaction():
            self._file.executemany("DELETE FROM waiting WHERE number = ?", [(n,) for n in numbers])

    def refuse(self, item: Waiting, why: str) -> None:
        """Lays aside an outcome that the service will never take, with the reason."""
        row = (item.number, _ENCODE(item.outcome), why)
        with self._transaction():
            self._file.execute("INSERT OR REPLACE INTO refused (number, outcome, why) VALUES (?, ?, ?)", row)
            self._file.execute("DELETE FROM waiting WHERE number = ?", (item.number,))

    def refused(self) -> list[tuple[dict[str, Any], str]]:
        """What was laid aside."""
        rows = self._file.execute("SELECT outcome, why FROM refused ORDER BY number").fetchall()
        return [(_DECODE(outcome), why) for outcome, why in rows]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    @contextmanager
    def _transaction(self) -> Generator[None]:
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._file.execute("ROLLBACK")
            raise
        self._file.execute("COMMIT")
