"""Carries the journals of one data directory to the Redis stream, again and again until SQL holds them.

It never deletes what SQL does not hold, and needs no memory of its own: where it starts, or where Redis lost
entries, it goes on from SQL's mark.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from store import journal
from store.ingest import Shipment
from store.stream import DEPTH, ShipmentStream, id_order

SHIPMENT_BYTES = 256 << 10


@dataclass(slots=True)
class Route:
    """One journal on its way: shipped up to `position`; `in_flight` are (entry id, stop) not yet in SQL."""

    folder: Path
    position: int | None = None
    in_flight: list[tuple[str, int]] = field(default_factory=list)

    @property
    def journal_id(self) -> str:
        """The journal's id."""
        return self.folder.name


class Shipper:
    """The journals of one experiment in one data directory. One call of `step` is one round; it never sleeps."""

    def __init__(
        self, folder: Path, stream: ShipmentStream, marks: Callable[[list[str]], dict[str, int]]
    ) -> None:
        self._folder = folder
        self._stream = stream
        self._marks = marks
        self._routes: dict[str, Route] = {}

    def ship(self) -> int:
        """Ships what is new; returns how many bytes went out."""
        shipped = 0
        self._find_journals()
        room = DEPTH - self._stream.depth()
        for route in self._routes.values():
            while room > 0 and (sent := self._ship_one(route)):
                shipped += sent
                room -= 1
        return shipped

    def settle(self) -> None:
        """Compares with SQL: sends again what Redis lost, deletes the segments that SQL holds."""
        if not self._routes:
            return
        marks = self._marks(list(self._routes))
        first = self._stream.first_id()
        again = self._marks(list(self._routes))
        for route in list(self._routes.values()):
            self._settle_one(route, marks[route.journal_id], again[route.journal_id], first)

    def _find_journals(self) -> None:
        found = {path.name: path for path in self._folder.iterdir()} if self._folder.is_dir() else {}
        new = [name for name in found if name not in self._routes]
        if new:
            marks = self._marks(new)
            self._routes |= {name: Route(found[name], marks[name]) for name in new}

    def _ship_one(self, route: Route) -> int:
        start = route.position or 0
        data = journal.read_from(route.folder, start, SHIPMENT_BYTES)
        if not data:
            return 0
        entry_id = self._stream.add(Shipment(route.journal_id, start, data))
        route.position = start + len(data)
        route.in_flight.append((entry_id, route.position))
        return len(data)

    def _settle_one(self, route: Route, mark: int, mark_after: int, first: str | None) -> None:
        route.in_flight = [(i, stop) for i, stop in route.in_flight if stop > mark_after]
        if route.in_flight and mark == mark_after and _is_gone(route.in_flight[0][0], first):
            route.position, route.in_flight = mark, []
        if (route.position or 0) < mark_after:
            route.position = mark_after
        owned = journal.is_owned(route.folder)
        journal.drop_segments(route.folder, mark_after, keep_last=owned)
        if not owned and not journal.segment_starts(route.folder):
            shutil.rmtree(route.folder, ignore_errors=True)
            del self._routes[route.journal_id]


def _is_gone(entry_id: str, first: str | None) -> bool:
    """Whether the stream no longer holds an entry: all that it holds came later, or it is empty."""
    return first is None or id_order(first) > id_order(entry_id)


def lag_bytes(root: Path, marks: Callable[[list[str]], dict[str, int]]) -> int:
    """How many journaled bytes are not in SQL yet."""
    folders = [path for path in root.glob("*/*") if path.is_dir()]
    if not folders:
        return 0
    known = marks([folder.name for folder in folders])
    return sum(max(0, journal.end_of(f) - known[f.name]) for f in folders)
