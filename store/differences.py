"""Where stored totals are not what they must be: a difference a column, or a row that is not there. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from store.bulk import Row
from store.expected import Book

ABSENT, PRESENT = "absent", "present"


@dataclass(frozen=True, slots=True)
class Difference:
    """key: what tells the row apart in its table. column "row": it is missing, or should not be there."""

    experiment: str
    table: str
    key: tuple[str, ...]
    column: str
    stored: Any
    derived: Any


def between(experiment: str, stored: Book, derived: Book) -> Iterator[Difference]:
    """All differences of a span, those of units before those of their bots."""
    for unit in sorted({*stored.units, *derived.units}):
        found = columns(stored.units.get(unit), derived.units.get(unit))
        yield from (Difference(experiment, "unit", (unit,), *column) for column in found)
    for key in sorted({*stored.bots, *derived.bots}):
        found = columns(_bot_row(stored.bots, key), _bot_row(derived.bots, key))
        yield from (Difference(experiment, "unitbot", key, *column) for column in found)


def _bot_row(bots: Mapping[tuple[str, str], int], key: tuple[str, str]) -> Row | None:
    return {"first_at_us": bots[key]} if key in bots else None


def columns(stored: Row | None, derived: Row | None) -> Iterator[tuple[str, Any, Any]]:
    """What differs in a row: column, as it stands, as it must be."""
    if stored is None or derived is None:
        yield "row", ABSENT if stored is None else PRESENT, ABSENT if derived is None else PRESENT
        return
    yield from ((n, stored[n], derived[n]) for n in stored if stored[n] != derived[n])
