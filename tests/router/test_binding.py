"""The first start binds a unit in every process, and costs a wait only where another one could matter."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.binding import Binder, is_open
from router.snapshot import Snapshot, view_of
from store.bindings import MemoryFirstSight
from store.records import Experiment, Split

LIFETIME_S = 3_600
NOW_US = 1_000_000_000_000
BUCKETS = 1_000_000
STARTS = st.integers(0, LIFETIME_S).map(lambda s: NOW_US - s * 1_000_000)


class Counting:
    """A first sight that counts who asks it."""

    def __init__(self, inner):
        self.inner, self.asked = inner, 0

    async def first_seen_us(self, experiment, unit, now_us, ttl_s):
        self.asked += 1
        return await self.inner.first_seen_us(experiment, unit, now_us, ttl_s)


class Silent:
    """A Redis that is away."""

    async def first_seen_us(self, experiment, unit, now_us, ttl_s):
        del experiment, unit, now_us, ttl_s


def view(*changes):
    """Versions (effective at, share of the transformer in millionths)."""
    experiment = Experiment(
        key="main", arms=("base", "transformer"), control="base", salt="s", gate_salt="g",
        created_at_us=1, lifetime_s=LIFETIME_S,
    )  # fmt: skip
    history = tuple(
        Split(
            experiment="main", version=number, salt="s", effective_at_us=at_us, created_at_us=at_us,
            actor="me", reason="test", ranges=tuple(r for r in (
                ("base", 0, BUCKETS - treated), ("transformer", BUCKETS - treated, BUCKETS)) if r[1] < r[2]),
        )
        for number, (at_us, treated) in enumerate(changes, 1)
    )  # fmt: skip
    return view_of(experiment, history)


def bound(binder, seen, unit, sent_us, now_us=NOW_US):
    return binder.bind(seen, Snapshot({"main": seen}, {}, now_us), unit, sent_us, now_us)


HISTORIES = st.lists(st.tuples(STARTS, st.integers(0, BUCKETS)), max_size=5).map(
    lambda changes: view((1, 0), *sorted(changes))
)


@given(history=HISTORIES, starts=st.lists(STARTS, min_size=2, max_size=6), units=st.integers(1, 9))
def test_no_two_processes_give_a_unit_two_arms(history, starts, units):
    async def arms_of(unit, shared):
        found = set()
        for start_us in starts:
            process = Binder(shared, 2_000_000)
            found.add((await bound(process, history, unit, start_us)).assigned.arm)
            await process.told()
        return found

    async def scenario():
        shared = MemoryFirstSight()
        for number in range(units):
            assert len(await arms_of(f"u{number}", shared)) == 1

    asyncio.run(scenario())


def test_a_start_from_before_the_change_binds_also_whom_a_process_meets_after_it():
    """The first process saw no change coming and did not wait; the second one asks and learns."""
    before = view((1, 0))
    after = view((1, 0), (NOW_US + 5_000_000, BUCKETS))
    later_us = NOW_US + 10_000_000

    async def scenario():
        shared = Counting(MemoryFirstSight())
        one, two = Binder(shared, 0), Binder(shared, 0)
        first = await bound(one, before, "u", NOW_US)
        await one.told()
        second = await bound(two, after, "u", later_us, later_us)
        return first, second

    first, second = asyncio.run(scenario())
    assert (first.assigned.arm, first.binding) == ("base", "started_at")
    assert (second.assigned.arm, second.binding) == ("base", "redis")
    assert (second.started_at_us, second.sent_us) == (NOW_US, later_us)


def test_two_askers_at_once_of_a_unit_that_redis_cannot_settle_get_one_arm():
    seen = view((1, 0), (NOW_US - 5_000_000, BUCKETS))

    async def scenario():
        binder = Binder(Silent(), 0)
        starts = (NOW_US, NOW_US - 10_000_000)
        return await asyncio.gather(*(bound(binder, seen, "u", start) for start in starts))

    one, two = asyncio.run(scenario())
    assert (one.assigned.arm, one.started_at_us) == (two.assigned.arm, two.started_at_us)
    assert one.binding == two.binding == "started_at"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([(1, 0)], False),
        ([(1, 0), (NOW_US - 1, 0)], False),
        ([(1, 0), (NOW_US - 1, BUCKETS)], True),
        ([(1, 0), (NOW_US - 3 * LIFETIME_S * 1_000_000, BUCKETS)], False),
        ([(1, 0), (NOW_US + 60_000_000, BUCKETS)], False),
    ],
    ids=["no change", "same arms", "just changed", "changed long ago", "changes later"],
)
def test_only_a_change_that_could_matter_is_waited_for(changes, expected):
    assert is_open(view(*changes), "u", NOW_US) is expected


def test_a_redis_that_never_answers_keeps_nobody_waiting_where_nothing_changed():
    class Hanging:
        async def first_seen_us(self, experiment, unit, now_us, ttl_s):
            del experiment, unit, now_us, ttl_s
            await asyncio.Event().wait()

    async def scenario():
        binder = Binder(Hanging(), 0)
        for number in range(3_000):
            await asyncio.wait_for(bound(binder, view((1, 0)), f"u{number}", NOW_US), 1)
        return len(asyncio.all_tasks()) - 1

    assert asyncio.run(scenario()) == 1_000
