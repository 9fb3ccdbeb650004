"""What a bot writes down before it sends and after it was answered: JSON lines, flushed each time.

["ask", id, unit, bot, started]            a decision is about to be sent, perhaps with its start
["told", id, {answer}, waited_s]           it was answered
["say", kind, key, pnl_micro]              an outcome is about to be sent
["taken", kind, key, pnl_micro, status]    it was accepted, or known already
["no", code, waited_s]                     a request that was given up
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

OutcomeKey = tuple[str, str]
"""("trade", decision id), or ("market", unit and bot in JSON)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A decision as it was sent."""

    unit: str
    bot: str
    started: bool


@dataclass(frozen=True, slots=True)
class Told:
    """One answer to a decision."""

    arm: str
    action: str
    binding: str
    stale: bool


@dataclass(slots=True)
class Said:
    """One outcome's key. sent: every content, in order. first: those sent before any was taken.

    taken: contents that the service took; the content is the amount in micro-USD, unlike for every content.
    """

    sent: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Diaries:
    """All that the bots know."""

    asked: dict[str, Asked] = field(default_factory=dict)
    told: dict[str, list[Told]] = field(default_factory=dict)
    said: dict[OutcomeKey, Said] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    worst_wait_s: float = 0.0


class Diary:
    """One bot's own."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, *entry: Any) -> None:
        """One line, in the file before this returns."""
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        """No more lines."""
        self._file.close()


def read_diaries(folder: Path) -> Diaries:
    """All diaries of a folder."""
    found = Diaries()
    for path in sorted(folder.glob("*.diary")):
        for line in path.read_text(encoding="utf-8").splitlines():
            _note(found, json.loads(line))
    return found


def diaries_of(lines: Iterable[list[Any]]) -> Diaries:
    """Diaries from entries."""
    found = Diaries()
    for entry in lines:
        _note(found, entry)
    return found


def _note(found: Diaries, entry: list[Any]) -> None:
    match entry:
        case ["ask", decision_id, unit, bot, started]:
            found.asked[decision_id] = Asked(unit, bot, started)
        case ["told", decision_id, answer, waited_s]:
            found.told.setdefault(decision_id, []).append(Told(**answer))
            found.worst_wait_s = max(found.worst_wait_s, waited_s)
        case ["say", kind, key, pnl_micro]:
            said = found.said.setdefault((kind, key), Said())
            said.sent.append(pnl_micro)
            if not said.taken:
                said.first.append(pnl_micro)
        case ["taken", kind, key, pnl_micro, _status]:
            found.said[kind, key].taken.append(pnl_micro)
        case ["no", code, waited_s]:
            found.refused[code] = found.refused.get(code, 0) + 1
            found.worst_wait_s = max(found.worst_wait_s, waited_s)
        case _:
            raise ValueError(f"no entry of a diary: {entry}")


def answers(diaries: Diaries) -> Iterator[tuple[str, Told]]:
    """Every answer with its decision id."""
    for decision_id, told in diaries.told.items():
        yield from ((decision_id, one) for one in told)
