"""Binds a unit to its start, and by it to an arm for life."""

from dataclasses import dataclass

from router.assignment import Assigned, assign, is_stale
from router.errors import BadStartedAt, BadUnit
from router.known import Known
from router.problems import Problem, invalid
from router.snapshot import Snapshot, View
from router.starts import resolve_started_at
from store.bindings import FirstSight
from store.records import Binding

_REMEMBERED_UNITS = 200_000


@dataclass(frozen=True, slots=True)
class Bound:
    """A unit with its arm. started_at_us: what binds; sent_us: what the bot said, if anything."""

    assigned: Assigned
    binding: Binding
    started_at_us: int
    sent_us: int | None
    stale: bool


class Binder:
    """Remembers what bound each unit: the first value stays. Asks Redis only for units without a start."""

    def __init__(self, first_sight: FirstSight, lead_us: int) -> None:
        self._first_sight = first_sight
        self._lead_us = lead_us
        self._starts: Known[tuple[str, str], tuple[int, Binding]] = Known(_REMEMBERED_UNITS)

    async def bind(
        self, view: View, snapshot: Snapshot, unit: str, sent_us: int | None, now_us: int
    ) -> Bound:
        """The arm of a unit. Same unit, same start, same history: the same arm in every process."""
        key = (view.experiment.key, unit)
        held = self._starts.get(key)
        if held is None or held[1] == "local":
            held = self._given(view, unit, sent_us, now_us) or await self._seen(view, unit, held, now_us)
            self._starts.put(key, held)
        start_us, binding = held
        stale = is_stale(start_us, snapshot.confirmed_at_us, self._lead_us)
        return Bound(assign(view.gate, view.history, unit, start_us), binding, start_us, sent_us, stale)

    def _given(self, view: View, unit: str, sent_us: int | None, now_us: int) -> tuple[int, Binding] | None:
        try:
            start = resolve_started_at(sent_us, unit, view.pattern, now_us, view.tolerance)
        except (BadStartedAt, BadUnit) as error:
            raise problem_of(error) from error
        return None if start is None else (start.started_at_us, start.binding)

    async def _seen(
        self, view: View, unit: str, local: tuple[int, Binding] | None, now_us: int
    ) -> tuple[int, Binding]:
        """First sight by any process; while Redis is away by this one, which tells Redis afterwards."""
        experiment = view.experiment
        here_us = now_us if local is None else local[0]
        ttl_s = experiment.lifetime_s + experiment.unit_duration_s + experiment.attribution_s
        seen_us = await self._first_sight.first_seen_us(experiment.key, unit, here_us, ttl_s)
        return (here_us, "local") if seen_us is None else (seen_us, "redis")


def problem_of(error: BadStartedAt | BadUnit) -> Problem:
    """A broken rule of assignment as a problem."""
    return invalid(error.field.split()[0], f"{error.rule}: {error.remedy}")
