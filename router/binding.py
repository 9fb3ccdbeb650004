"""Binds a unit to its start, and by it to an arm for life."""

from dataclasses import dataclass

import msgspec

from router.ambiguity import kept_s, matters
from router.assignment import Assigned, History, is_stale
from router.coins import assigned_of
from router.errors import BadStartedAt, BadUnit
from router.known import Known
from router.problems import Problem, invalid
from router.snapshot import Snapshot, View
from router.starts import resolve_started_at
from store.bindings import FirstSight, Seen
from store.records import Binding

_REMEMBERED_UNITS = 200_000
_REMEMBERED_COINS = 20_000
_SENT: tuple[Binding, ...] = ("started_at", "pattern")


class Bound(msgspec.Struct, frozen=True):
    """A unit with its arm. started_at_us: what binds; sent_us: what the bot said, if anything."""

    assigned: Assigned
    binding: Binding
    started_at_us: int
    sent_us: int | None
    stale: bool


@dataclass(frozen=True, slots=True)
class _Held:
    """What binds a unit in this process. settled: no other process' start could give it another arm."""

    start_us: int
    binding: Binding
    settled: bool


@dataclass(frozen=True, slots=True)
class _Coin:
    """A settled unit's assignment, for as long as the history is this very object."""

    history: History
    start_us: int
    assigned: Assigned


class Binder:
    """Remembers what bound each unit: the first value stays, in this process and, by Redis, in the others.

    Redis is told of every start. It is waited for only where it matters who was first: without a start, or
    where the split changed under the unit (see router/ambiguity.py).
    """

    def __init__(self, first_sight: FirstSight, lead_us: int) -> None:
        self._first_sight = first_sight
        self._lead_us = lead_us
        self._starts: Known[tuple[str, str], _Held] = Known(_REMEMBERED_UNITS)
        self._coins: Known[tuple[str, str], _Coin] = Known(_REMEMBERED_COINS)

    async def bind(
        self, view: View, snapshot: Snapshot, unit: str, sent_us: int | None, now_us: int
    ) -> Bound:
        """The arm of a unit. Same unit, same start, same history: the same arm in every process."""
        key = (view.experiment.key, unit)
        held = self._settled(key, view, sent_us, now_us)
        if not held.settled:
            held = await self._first(view, unit, held)
            self._starts.put(key, held)
        return self._bound(key, view, snapshot, held, sent_us)

    def bound_at_once(
        self, view: View, snapshot: Snapshot, unit: str, sent_us: int | None, now_us: int
    ) -> Bound | None:
        """The same where nobody has to be asked for it, else None."""
        key = (view.experiment.key, unit)
        held = self._settled(key, view, sent_us, now_us)
        return self._bound(key, view, snapshot, held, sent_us) if held.settled else None

    def _settled(self, key: tuple[str, str], view: View, sent_us: int | None, now_us: int) -> _Held:
        """What binds the unit, or what does so unless another process was first: `settled` says which."""
        held = self._starts.get(key)
        if held is None:
            held = _proposed(view, key[1], sent_us, now_us)
            if held.settled:
                self._first_sight.tell(*key, held.start_us, kept_s(view))
                self._starts.put(key, held)
        return held

    def _bound(
        self, key: tuple[str, str], view: View, snapshot: Snapshot, held: _Held, sent_us: int | None
    ) -> Bound:
        stale = is_stale(held.start_us, snapshot.confirmed_at_us, self._lead_us)
        return Bound(self._assigned(key, view, held.start_us), held.binding, held.start_us, sent_us, stale)

    def _assigned(self, key: tuple[str, str], view: View, start_us: int) -> Assigned:
        """As `assign` says; remembered, for a unit is asked about on every tick."""
        coin = self._coins.get(key)
        if coin is None or coin.history is not view.history or coin.start_us != start_us:
            coin = _Coin(view.history, start_us, _assigned_of(view, key[1], start_us))
            self._coins.put(key, coin)
        return coin.assigned

    async def _first(self, view: View, unit: str, mine: _Held) -> _Held:
        """What bound the unit first in any process; to be asked again where nobody can be sure of it."""
        experiment = view.experiment.key
        seen = await self._first_sight.first_seen(experiment, unit, mine.start_us, kept_s(view))
        meanwhile = self._starts.get((experiment, unit))  # another request may have bound it during the wait
        if meanwhile is not None and (meanwhile.settled or seen is None):
            return meanwhile
        if seen is None:
            self._first_sight.tell(experiment, unit, mine.start_us, kept_s(view))
            return _Held(mine.start_us, "local", settled=False)  # another process may hold another start
        return _agreed(mine, seen)


def _agreed(mine: _Held, seen: Seen) -> _Held:
    """What Redis holds, be it `mine` or another process' start."""
    if seen.start_us == mine.start_us and mine.binding in _SENT:
        return _Held(mine.start_us, mine.binding, settled=seen.is_sure)
    return _Held(seen.start_us, "redis" if seen.is_sure else "local", settled=seen.is_sure)


def _proposed(view: View, unit: str, sent_us: int | None, now_us: int) -> _Held:
    """What binds a unit that is new to this process, unless another process was first."""
    try:
        start = resolve_started_at(sent_us, unit, view.pattern, now_us, view.tolerance)
    except (BadStartedAt, BadUnit) as error:
        raise problem_of(error) from error
    if start is None:
        return _Held(now_us, "local", settled=False)
    return _Held(start.started_at_us, start.binding, settled=not matters(view, unit, now_us))


def _assigned_of(view: View, unit: str, start_us: int) -> Assigned:
    try:
        return assigned_of(view, unit, start_us)
    except (BadStartedAt, BadUnit) as error:
        raise problem_of(error) from error


def problem_of(error: BadStartedAt | BadUnit) -> Problem:
    """A broken rule of assignment as a problem."""
    return invalid(error.field.split()[0], f"{error.rule}: {error.remedy}")
