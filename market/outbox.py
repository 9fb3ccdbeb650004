"""A bot's outcomes on their way to the service: on disk before they are sent, forgotten only when acknowledged."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from abctl_client.messages import MarketOutcome, TradeOutcome

Outcome = TradeOutcome | MarketOutcome
_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Waiting:
    """An outcome as it is sent, and its number in the outbox."""

    number: int
    outcome: dict[str, Any]


class Outbox:
    """A file of its own. What `put` returned for survives a kill of the bot."""

    def __init__(self, path: Path) -> None:
        self._file = sqlite3.connect(path, isolation_level=None)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=NORMAL")
        self._file.execute("CREATE TABLE IF NOT EXISTS waiting (number INTEGER PRIMARY KEY, outcome BLOB NOT NULL)")
        self._file.execute("CREATE TABLE IF NOT EXISTS refused (number INTEGER PRIMARY KEY, outcome BLOB, why TEXT)")

    def put(self, outcomes: Sequence[Outcome]) -> None:
        """Keeps outcomes until they are acknowledged; all of them or none."""
        self._file.execute("BEGIN IMMEDIATE")
        self._file.executemany("INSERT INTO waiting (outcome) VALUES (?)", [(_ENCODE(o),) for o in outcomes])
        self._file.execute("COMMIT")

    def waiting(self, limit: int = 500) -> list[Waiting]:
        """The oldest outcomes that are not acknowledged."""
        rows = self._file.execute("SELECT number, outcome FROM waiting ORDER BY number LIMIT ?", (limit,))
        return [Waiting(number, _DECODE(outcome)) for number, outcome in rows.fetchall()]

    def acknowledge(self, numbers: list[int]) -> None:
        """Forgets outcomes that the service has."""
        self._file.executemany("DELETE FROM waiting WHERE number = ?", [(n,) for n in numbers])

    def refuse(self, item: Waiting, why: str) -> None:
        """Lays aside an outcome that the service will never take, with the reason."""
        self._file.execute("BEGIN IMMEDIATE")
        self._file.execute(
            "INSERT INTO refused (number, outcome, why) VALUES (?, ?, ?)", (item.number, _ENCODE(item.outcome), why)
        )
        self._file.execute("DELETE FROM waiting WHERE number = ?", (item.number,))
        self._file.execute("COMMIT")

    def refused(self) -> list[tuple[dict[str, Any], str]]:
        """What was laid aside."""
        rows = self._file.execute("SELECT outcome, why FROM refused ORDER BY number").fetchall()
        return [(_DECODE(outcome), why) for outcome, why in rows]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
