"""Binds a unit to its start, and by it to an arm for life."""

import asyncio
from dataclasses import dataclass

from router.assignment import Assigned, assign, is_stale
from router.errors import BadStartedAt, BadUnit
from router.known import Known
from router.problems import Problem, invalid
from router.snapshot import Snapshot, View
from router.starts import Start, resolve_started_at
from store.bindings import FirstSight
from store.records import Binding

_REMEMBERED_UNITS = 200_000
_UNTOLD_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Bound:
    """A unit with its arm. started_at_us: what binds; sent_us: what the bot said, if anything."""

    assigned: Assigned
    binding: Binding
    started_at_us: int
    sent_us: int | None
    stale: bool


Held = tuple[int, Binding]


class Binder:
    """Remembers what bound each unit: the first value stays, in this process and, by Redis, in the others.

    Waits for Redis only for a unit without a start, and for one that another start could give another arm.
    """

    def __init__(self, first_sight: FirstSight, lead_us: int) -> None:
        self._first_sight = first_sight
        self._lead_us = lead_us
        self._starts: Known[tuple[str, str], Held] = Known(_REMEMBERED_UNITS)
        self._untold: set[asyncio.Task[int | None]] = set()

    async def bind(
        self, view: View, snapshot: Snapshot, unit: str, sent_us: int | None, now_us: int
    ) -> Bound:
        """The arm of a unit. Same unit, same start, same history: the same arm in every process."""
        key = (view.experiment.key, unit)
        held = self._starts.get(key)
        if held is None or held[1] == "local":
            found = await self._found(view, unit, sent_us, held, now_us)
            held = self._first(key, found)
        start_us, binding = held
        stale = is_stale(start_us, snapshot.confirmed_at_us, self._lead_us)
        return Bound(assign(view.gate, view.history, unit, start_us), binding, start_us, sent_us, stale)

    def _first(self, key: tuple[str, str], found: Held) -> Held:
        """Somebody may have bound the unit during the wait: the first value stays."""
        held = self._starts.get(key)
        if held is not None and held[1] != "local":
            return held
        self._starts.put(key, found)
        return found

    async def _found(
        self, view: View, unit: str, sent_us: int | None, local: Held | None, now_us: int
    ) -> Held:
        start = self._given(view, unit, sent_us, now_us)
        if start is None:
            return await self._seen(view, unit, local, now_us)
        if is_open(view, unit, now_us):
            return await self._agreed(view, unit, start)
        self._tell(view, unit, start.started_at_us)
        return (start.started_at_us, start.binding)

    def _given(self, view: View, unit: str, sent_us: int | None, now_us: int) -> Start | None:
        try:
            return resolve_started_at(sent_us, unit, view.pattern, now_us, view.tolerance)
        except (BadStartedAt, BadUnit) as error:
            raise problem_of(error) from error

    async def _seen(self, view: View, unit: str, local: Held | None, now_us: int) -> Held:
        """First sight by any process; while Redis is away by this one, which tells Redis afterwards."""
        here_us = now_us if local is None else local[0]
        seen_us = await self._first_seen_us(view, unit, here_us)
        return (here_us, "local") if seen_us is None else (seen_us, "redis")

    async def _agreed(self, view: View, unit: str, start: Start) -> Held:
        """The start that any process bound first; while Redis is away the one at hand."""
        seen_us = await self._first_seen_us(view, unit, start.started_at_us)
        if seen_us is None or seen_us == start.started_at_us:
            return (start.started_at_us, start.binding)
        return (seen_us, "redis")

    def _tell(self, view: View, unit: str, start_us: int) -> None:
        """Notes the start in Redis without waiting. Beyond a bound nothing is noted: decisions come first."""
        if len(self._untold) >= _UNTOLD_MAX:
            return
        task = asyncio.get_running_loop().create_task(self._first_seen_us(view, unit, start_us))
        self._untold.add(task)
        task.add_done_callback(self._untold.discard)

    async def told(self) -> None:
        """Waits until everything is noted."""
        await asyncio.gather(*self._untold)

    async def _first_seen_us(self, view: View, unit: str, start_us: int) -> int | None:
        experiment = view.experiment
        ttl_s = experiment.lifetime_s + experiment.unit_duration_s + experiment.attribution_s
        return await self._first_sight.first_seen_us(experiment.key, unit, start_us, ttl_s)


def is_open(view: View, unit: str, now_us: int) -> bool:
    """Whether two starts that could be accepted now, or when the unit was first seen, give two arms."""
    tolerance = view.tolerance
    latest_us = now_us + round(tolerance.skew_s * 1e6)
    earliest_us = now_us - 2 * round((tolerance.lifetime_s + tolerance.skew_s) * 1e6)
    if view.history[-1].effective_at_us <= earliest_us:
        return False
    changes = [s.effective_at_us for s in view.history if earliest_us < s.effective_at_us <= latest_us]
    return len({assign(view.gate, view.history, unit, at).arm for at in (earliest_us, *changes)}) > 1


def problem_of(error: BadStartedAt | BadUnit) -> Problem:
    """A broken rule of assignment as a problem."""
    return invalid(error.field.split()[0], f"{error.rule}: {error.remedy}")
