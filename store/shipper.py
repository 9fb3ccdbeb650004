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
    position: int
    in_flight: list[tuple[str, int]] = field(default_factory=list)

    def has_news(self) -> bool:
        """Whether the journal goes on behind what is shipped."""
        return journal.end_of(self.folder) > self.position


class Shipper:
    """The journals of one experiment in one data directory. Neither `ship` nor `settle` ever sleeps."""

    def __init__(
        self, folder: Path, stream: ShipmentStream, marks: Callable[[list[str]], dict[str, int]]
    ) -> None:
        self._folder = folder
        self._stream = stream
        self._marks = marks
        self._routes: dict[str, Route] = {}

    def ship(self) -> int:
        """Ships what is new, each journal in its turn; returns how many bytes went out."""
        shipped = 0
        self._find_journals()
        waiting = [route for route in self._routes.values() if route.has_news()]
        room = DEPTH - self._stream.depth() if waiting else 0
        while waiting and room > 0:
            sent = {route.folder.name: self._ship_one(route) for route in waiting[:room]}
            room -= sum(size > 0 for size in sent.values())
            shipped += sum(sent.values())
            waiting = [route for route in waiting if sent.get(route.folder.name, 1) > 0]
        return shipped

    def has_news(self) -> bool:
        """Whether there is something to ship; asks neither Redis nor SQL."""
        folders = journal.journal_folders(self._folder)
        return any(f.name not in self._routes or self._routes[f.name].has_news() for f in folders)

    def has_in_flight(self) -> bool:
        """Whether something is shipped that SQL is not known to hold."""
        return any(route.in_flight for route in self._routes.values())

    def ends(self) -> dict[str, int]:
        """Where each journal ends now, by its id."""
        return {path.name: journal.end_of(path) for path in journal.journal_folders(self._folder)}

    def settle(self) -> None:
        """Compares with SQL: sends again what Redis lost, deletes the segments that SQL holds."""
        if not self._routes:
            return
        first = self._stream.first_id()
        marks = self._marks(list(self._routes))
        for route in list(self._routes.values()):
            self._settle_one(route, marks[route.folder.name], first)

    def _find_journals(self) -> None:
        new = [p for p in journal.journal_folders(self._folder) if p.name not in self._routes]
        if new:
            marks = self._marks([path.name for path in new])
            self._routes |= {path.name: Route(path, marks[path.name]) for path in new}

    def _ship_one(self, route: Route) -> int:
        missing = journal.next_of(route.folder, route.position) - route.position
        data = journal.read_from(route.folder, route.position + missing, SHIPMENT_BYTES)
        if not data and not missing:
            return 0
        shipment = Shipment(route.folder.name, route.position, data, missing)
        entry_id = self._stream.add(shipment)
        route.position = shipment.stop
        route.in_flight.append((entry_id, route.position))
        return len(data) + missing

    def _settle_one(self, route: Route, mark: int, first: str | None) -> None:
        route.in_flight = [(i, stop) for i, stop in route.in_flight if stop > mark]
        if route.in_flight and _is_gone(route.in_flight[0][0], first):
            route.in_flight = []
        if not route.in_flight:
            route.position = mark
        journal.drop_segments(route.folder, mark)
        if not journal.is_owned(route.folder) and mark >= journal.end_of(route.folder):
            shutil.rmtree(route.folder, ignore_errors=True)
            del self._routes[route.folder.name]


def _is_gone(entry_id: str, first: str | None) -> bool:
    """Whether the stream no longer holds an entry: all that it holds came later, or it is empty."""
    return first is None or id_order(first) > id_order(entry_id)


def lag_bytes(root: Path, marks: Callable[[list[str]], dict[str, int]]) -> int:
    """How many journaled bytes are not in SQL yet."""
    folders = _all_folders(root)
    if not folders:
        return 0
    known = marks([folder.name for folder in folders])
    return sum(max(0, journal.end_of(f) - known[f.name]) for f in folders)


def held_bytes(root: Path) -> int:
    """How many bytes the journals hold: as long as SQL does not answer, all of them may be missing there."""
    return sum(journal.end_of(folder) - journal.start_of(folder) for folder in _all_folders(root))


def _all_folders(root: Path) -> list[Path]:
    experiments = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    return [folder for experiment in experiments for folder in journal.journal_folders(experiment)]
