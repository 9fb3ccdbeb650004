"""One start binds a unit in all processes, and nobody waits where it does not matter which."""

import asyncio
import socket
import time
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from router import splits
from router.ambiguity import differs, in_force_within, kept_s, matters
from router.assignment import BUCKETS, Gate, arm_salt, assign, bucket, gate_salt, in_force
from router.binding import Binder
from router.snapshot import Snapshot, View
from router.splits import Change
from router.starts import Tolerance, compile_pattern
from store import keys
from store.bindings import TIMEOUT_S, MemoryFirstSight, RedisFirstSight
from store.records import Experiment

S = 1_000_000
LEAD_US = 2 * S
BEGAN_US = 1_767_225_600 * S
ARMS = ("base", "transformer", "other")
MOVED, STAYS = "moved-0", "stays-0"
PATTERN = r"(?P<family>.+)-(?P<start>[0-9]+)"


def named(key="main", lifetime_s=60, unit_duration_s=10, attribution_s=5):
    return Experiment(
        key=key, arms=ARMS, control="base", salt=arm_salt(key), gate_salt=gate_salt(key),
        created_at_us=BEGAN_US, lifetime_s=lifetime_s, unit_duration_s=unit_duration_s,
        attribution_s=attribution_s,
    )  # fmt: skip


def begun(key="main"):
    return (splits.first(key, ARMS, "base", Change(actor="t", reason="t", now_us=BEGAN_US, lead_us=0)),)


def changed(history, share, now_us, arm="transformer", lead_us=0):
    change = Change(actor="t", reason="t", now_us=now_us, lead_us=lead_us)
    return (*history, splits.next_split(history, splits.set_share(history, arm, share, "base"), change))


def view_of(history, pattern=None, gate_share=1.0, **durations):
    experiment = named(history[0].experiment, **durations)
    gate = Gate(control="base", salt=experiment.gate_salt, open_millionths=round(gate_share * BUCKETS))
    compiled = compile_pattern(pattern) if pattern else None
    return View(experiment, history, gate, compiled, Tolerance(lifetime_s=experiment.lifetime_s))


def snapshot_of(view, at_us):
    return Snapshot({view.experiment.key: view}, {}, at_us)


def a_unit(treated, share=0.5, key="main", name="u"):
    """A unit that moves to the treatment at that share, or stays with the control."""
    found = (f"{name}{n}" for n in range(1000))
    return next(u for u in found if (bucket(arm_salt(key), u) < share * BUCKETS) is treated)


def at_once(coroutine):
    """What a coroutine that never waits returns."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("the decision waited")


def bound(binder, view, unit, sent_us, now_us):
    return at_once(binder.bind(view, snapshot_of(view, now_us), unit, sent_us, now_us))


def facts(found):
    return found.assigned.arm, found.assigned.split_version, found.started_at_us, found.binding


@pytest.fixture
def across():
    """A change to a half 10 s ago; starts before and after it; one unit that it moved, one not."""
    now_us = BEGAN_US + 1000 * S
    view = view_of(changed(begun(), "0.5", now_us - 10 * S))
    return SimpleNamespace(
        view=view, old=view_of(begun()), now_us=now_us, before_us=now_us - 20 * S, after_us=now_us - 5 * S,
        moved=a_unit(treated=True), stays=a_unit(treated=False),
    )  # fmt: skip


def test_the_first_start_binds_in_every_process_and_its_facts_are_recorded(across):
    shared = MemoryFirstSight()
    for unit in (across.moved, across.stays):
        first = bound(Binder(shared, LEAD_US), across.view, unit, across.before_us, across.now_us)
        assert facts(first) == ("base", 1, across.before_us, "started_at")
    late = bound(Binder(shared, LEAD_US), across.view, across.moved, across.after_us, across.now_us)
    assert facts(late) == ("base", 1, across.before_us, "redis")
    assert late.sent_us == across.after_us
    assert late.assigned.weights == across.view.history[0].weights


def test_a_start_told_before_the_change_binds_after_it(across):
    """The first process had no doubt and did not wait; the second one has, and asks."""
    shared = MemoryFirstSight()
    early = bound(Binder(shared, LEAD_US), across.old, across.moved, across.before_us, across.before_us)
    late = bound(Binder(shared, LEAD_US), across.view, across.moved, across.after_us, across.now_us)
    assert facts(early) == ("base", 1, across.before_us, "started_at")
    assert facts(late) == ("base", 1, across.before_us, "redis")


def test_a_first_sight_and_a_start_bind_each_other(across):
    seen, told = MemoryFirstSight(), MemoryFirstSight()
    one = bound(Binder(seen, LEAD_US), across.old, across.moved, None, across.before_us)
    two = bound(Binder(seen, LEAD_US), across.view, across.moved, across.after_us, across.now_us)
    assert (facts(one), facts(two)) == (("base", 1, across.before_us, "redis"),) * 2
    three = bound(Binder(told, LEAD_US), across.old, across.moved, across.before_us, across.before_us)
    four = bound(Binder(told, LEAD_US), across.view, across.moved, None, across.now_us)
    assert facts(three) == ("base", 1, across.before_us, "started_at")
    assert facts(four) == ("base", 1, across.before_us, "redis")


def test_a_start_in_the_name_is_one_start_among_others(across):
    """A bot that sends another start than the name says can be first."""
    view, shared = view_of(across.view.history, PATTERN), MemoryFirstSight()
    start_s = across.after_us // S
    unit = next(
        f"m{n}-{start_s}" for n in range(1000) if bucket(arm_salt("main"), f"m{n}-{start_s}") < BUCKETS // 2
    )
    bound(Binder(shared, LEAD_US), view, unit, across.before_us, across.now_us)
    assert facts(bound(Binder(shared, LEAD_US), view, unit, None, across.now_us))[:3] == (
        "base", 1, across.before_us,
    )  # fmt: skip
    alone = bound(Binder(MemoryFirstSight(), LEAD_US), view, unit, None, across.now_us)
    assert facts(alone) == ("transformer", 2, across.after_us, "pattern")


def test_a_later_start_neither_moves_a_unit_nor_is_checked(across):
    binder = Binder(MemoryFirstSight(), LEAD_US)
    first = bound(binder, across.view, across.moved, across.after_us, across.now_us)
    later = bound(binder, across.view, across.moved, 0, across.now_us)
    assert facts(later) == facts(first) == ("transformer", 2, across.after_us, "started_at")
    assert later.sent_us == 0


def test_in_the_ordinary_case_redis_is_told_and_not_waited_for(across, tmp_path):
    """Not with an unchanged split, not for a unit that no change moved, and not for an ineligible one."""
    path = tmp_path / "redis.sock"

    async def course():
        away = RedisFirstSight(f"unix://{path}")
        binder, old_change = Binder(away, LEAD_US), changed(begun(), "0.5", across.now_us - 200 * S)
        closed = view_of(across.view.history, gate_share=0.0)
        for view, unit in (
            (across.old, across.moved), (across.view, across.stays), (closed, "u-closed"),
            (view_of(old_change), a_unit(treated=True, name="v")),
        ):  # fmt: skip
            assert bound(binder, view, unit, across.after_us, across.now_us).binding == "started_at"
        assert len(away._untold) == 4
        with pytest.raises(AssertionError, match="waited"):
            bound(binder, across.view, a_unit(treated=True, name="w"), across.after_us, across.now_us)
        await away.close()

    with socket.socket(socket.AF_UNIX) as listener:  # who asks there waits: it never answers
        listener.bind(str(path))
        listener.listen()
        asyncio.run(course())


@pytest.mark.parametrize("how", ["gone", "hanging"])
def test_without_redis_the_sent_start_binds_within_the_time_out_and_says_so(across, tmp_path, how):
    path = tmp_path / "redis.sock"

    async def course():
        away = RedisFirstSight(f"unix://{path}")
        binder, snapshot = Binder(away, LEAD_US), snapshot_of(across.view, across.now_us)
        took_s = []
        for sent_us in (across.after_us, across.before_us):
            began_s = time.perf_counter()
            found = await binder.bind(across.view, snapshot, across.moved, sent_us, across.now_us)
            took_s.append(time.perf_counter() - began_s)
            assert facts(found) == ("transformer", 2, across.after_us, "local")
        assert len(away._untold) == 1
        await away.close()
        return took_s

    with socket.socket(socket.AF_UNIX) as listener:
        if how == "hanging":
            listener.bind(str(path))
            listener.listen()
        first_s, second_s = asyncio.run(course())
    assert first_s < TIMEOUT_S + 0.1
    assert second_s < TIMEOUT_S / 2


def test_what_was_bound_without_redis_is_asked_again_and_the_first_process_wins(across):
    """Both decided alone; once Redis is back they agree, and the unit is asked about no more."""
    shared = MemoryFirstSight()
    away = Away(shared)
    alone, other = Binder(away, LEAD_US), Binder(shared, LEAD_US)
    assert (
        bound(alone, across.view, across.moved, across.after_us, across.now_us).assigned.arm == "transformer"
    )
    bound(other, across.view, across.moved, across.before_us, across.now_us)
    away.is_back = True
    again = bound(alone, across.view, across.moved, across.after_us, across.now_us)
    assert facts(again) == ("base", 1, across.before_us, "redis")
    away.is_back = False
    asked = away.questions
    assert facts(bound(alone, across.view, across.moved, across.after_us, across.now_us)) == facts(again)
    assert away.questions == asked


class Forgetful(MemoryFirstSight):
    """A place that forgot everything. is_whole: somebody vouches that every start is back."""

    def __init__(self):
        super().__init__()
        self.is_whole = False

    async def first_seen(self, *question):
        seen = await super().first_seen(*question)
        return replace(seen, is_sure=self.is_whole)


def test_what_a_place_says_that_forgot_something_is_asked_again_until_all_is_back(across):
    """The unit's first start came to another process before the loss; this one asks again and again."""
    shared, unit = Forgetful(), across.moved
    binder = Binder(shared, LEAD_US)
    for _ in range(2):
        early = bound(binder, across.view, unit, across.after_us, across.now_us)
        assert facts(early) == ("transformer", 2, across.after_us, "started_at")
    shared._seen["main", unit], shared.is_whole = across.before_us, True
    for _ in range(2):
        late = bound(binder, across.view, unit, across.after_us, across.now_us)
        assert facts(late) == ("base", 1, across.before_us, "redis")


def test_a_first_sight_that_nobody_can_be_sure_of_is_marked_in_every_process(across):
    shared = Forgetful()
    one, two = Binder(shared, LEAD_US), Binder(shared, LEAD_US)
    for binder, now_us in ((one, across.before_us), (two, across.now_us), (one, across.now_us)):
        found = bound(binder, across.view, across.moved, None, now_us)
        assert facts(found) == ("base", 1, across.before_us, "local")
    shared.is_whole = True
    for binder in (one, two):
        found = bound(binder, across.view, across.moved, None, across.now_us)
        assert facts(found) == ("base", 1, across.before_us, "redis")


class Away(MemoryFirstSight):
    """A place that can be cut off from this process."""

    def __init__(self, place):
        super().__init__()
        self.place, self.is_back, self.questions = place, False, 0

    async def first_seen(self, *question):
        self.questions += 1
        return await self.place.first_seen(*question) if self.is_back else None

    def tell(self, *told):
        if self.is_back:
            self.place.tell(*told)


def test_a_unit_that_was_bound_without_a_start_and_without_redis_is_not_moved_by_one(across):
    binder = Binder(Away(MemoryFirstSight()), LEAD_US)
    first = bound(binder, across.old, across.moved, None, across.before_us)
    later = bound(binder, across.view, across.moved, across.after_us, across.now_us)
    assert facts(first) == facts(later) == ("base", 1, across.before_us, "local")


def test_a_start_binds_for_as_long_as_redis_keeps_it(across):
    """Longer than a start may lie back: a unit may be met a second time long after the change."""
    shared, seen_us = MemoryFirstSight(), BEGAN_US + 200 * S
    start_us = seen_us - 61 * S
    view = view_of(changed(begun(), "0.5", start_us + S))
    first = bound(Binder(shared, LEAD_US), view, across.moved, start_us, seen_us)
    later_us = seen_us + kept_s(view) * S
    later = bound(Binder(shared, LEAD_US), view, across.moved, later_us, later_us)
    assert facts(later)[:3] == facts(first)[:3] == ("base", 1, start_us)


@pytest.mark.parametrize("vouched", [True, False])
def test_real_servers_give_all_processes_one_start(across, server, redis_token, vouched):
    """Two starts at one moment, to two processes and twice to each; then a process that was restarted."""
    unit = a_unit(treated=True, key=redis_token)
    view = view_of(changed(begun(redis_token), "0.5", across.now_us - 10 * S))
    snapshot = snapshot_of(view, across.now_us)
    with redis.Redis.from_url(server) as client:
        if vouched:
            client.set(keys.vouched(redis_token), client.info("server")["run_id"], px=60_000)

    async def ask(sight, binder, sent_us):
        return (await binder.bind(view, snapshot, unit, sent_us, across.now_us)).assigned.arm

    async def course():
        sights = [RedisFirstSight(server) for _ in range(3)]
        binders = [Binder(sight, LEAD_US) for sight in sights]
        sent = (across.before_us, across.after_us)
        if not vouched:
            await ask(sights[0], binders[0], sent[0])
        pairs = list(zip(sights[:2], binders[:2], strict=True)) * 2
        both = await asyncio.gather(*(ask(s, b, sent[n % 2]) for n, (s, b) in enumerate(pairs)))
        late = [await ask(sights[2], binders[2], sent_us) for sent_us in reversed(sent)]
        for sight in sights:
            await sight.close()
        return {*both, *late}

    assert len(asyncio.run(course())) == 1


@pytest.fixture(params=["valkey", "redis"])
def server(request):
    return request.getfixturevalue(f"{request.param}_url")


def test_two_requests_of_one_process_agree_without_redis(across, tmp_path):
    path = tmp_path / "redis.sock"

    async def course():
        away = RedisFirstSight(f"unix://{path}")
        binder, snapshot = Binder(away, LEAD_US), snapshot_of(across.view, across.now_us)
        sent = [across.before_us, across.after_us, None] * 3
        found = await asyncio.gather(
            *(binder.bind(across.view, snapshot, across.moved, sent_us, across.now_us) for sent_us in sent)
        )
        await away.close()
        return {one.assigned.arm for one in found}

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert len(asyncio.run(course())) == 1


def test_memory_is_bounded(across, monkeypatch):
    monkeypatch.setattr("router.binding._REMEMBERED_UNITS", 10)
    binder = Binder(MemoryFirstSight(), LEAD_US)
    for n in range(50):
        bound(binder, across.view, f"u{n}", across.after_us, across.now_us)
    assert len(binder._starts) == 10


def test_the_test_of_doubt_is_cheap(across):
    """It stands on the way of each first sight: some microseconds, after many changes too."""
    history = begun()
    for n in range(200):
        history = changed(history, ("0.1", "0.2")[n % 2], BEGAN_US + n * 10 * S)
    quiet, busy = view_of(history), view_of(changed(history, "0.5", BEGAN_US + 3000 * S))
    for view, now_us, limit_us in ((quiet, BEGAN_US + 9999 * S, 20), (busy, BEGAN_US + 3001 * S, 100)):
        assert min(took_us(view, now_us) for _ in range(10)) < limit_us


def took_us(view, now_us, units=200):
    began_s = time.perf_counter()
    for n in range(units):
        matters(view, f"u{n}", now_us)
    return (time.perf_counter() - began_s) / units * 1e6


shares = st.sampled_from(["0", "0.1", "0.5", "0.9", "1"])


@st.composite
def timed_histories(draw, within_s=120, lead_us=LEAD_US):
    """Splits of three arms, changed at up to four times, each in force a lead later."""
    history, moments = begun(), draw(st.lists(st.integers(0, within_s * 1000), max_size=4).map(sorted))
    for moment_ms in moments:
        arm, share = draw(st.sampled_from(ARMS[1:])), draw(shares)
        room = 1 - sum(w for a, w in history[-1].weights.items() if a not in {arm, "base"})
        wanted = min(Decimal(share), Decimal(str(round(room, 6))))
        history = changed(history, wanted, BEGAN_US + moment_ms * 1000, arm, lead_us)
    return history


instants = st.integers(-30_000, 150_000).map(lambda ms: BEGAN_US + ms * 1000)


@given(timed_histories(), instants, st.integers(0, 60_000), st.lists(st.floats(0, 1), max_size=20))
def test_the_versions_of_a_span_are_those_in_force_at_some_time_of_it(history, from_us, span_ms, inside):
    to_us = from_us + span_ms * 1000
    versions = in_force_within(history, from_us, to_us)
    edges = [s.effective_at_us for s in history if from_us <= s.effective_at_us <= to_us]
    moments = [from_us, to_us, *edges, *(from_us + round(share * (to_us - from_us)) for share in inside)]
    assert {in_force(history, at_us).version for at_us in moments} <= {s.version for s in versions}
    seen = {in_force(history, at_us).version for at_us in (from_us, to_us, *edges)}
    overtaken = {s.version for s in versions} - seen
    assert all(history[v - 1].effective_at_us == history[v].effective_at_us for v in overtaken)


@given(
    timed_histories(),
    instants,
    st.text(min_size=1, max_size=4),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_without_doubt_every_start_gives_one_arm(history, now_us, unit, place, gate_share):
    view = view_of(history, gate_share=gate_share)
    reach_us = (kept_s(view) + 60 + 2) * S
    start_us = now_us - reach_us + round(place * (reach_us + 2 * S))
    if not matters(view, unit, now_us):
        arm = assign(view.gate, history, unit, now_us).arm
        assert assign(view.gate, history, unit, start_us).arm == arm
    if gate_share == 0:
        assert not differs(view.gate, history, unit)


class Late(MemoryFirstSight):
    """A shared place that hears of what it is told after a while; what it is asked it answers at once."""

    def __init__(self):
        super().__init__()
        self.now_us, self.delay_us, self.told = 0, 0, []

    def tell(self, experiment, unit, start_us, ttl_s):
        self.told.append((self.now_us + self.delay_us, experiment, unit, start_us, ttl_s))

    def arrive(self, now_us):
        self.now_us = now_us
        for told in sorted(self.told):
            if told[0] <= now_us:
                super().tell(*told[1:])
        self.told = [told for told in self.told if told[0] > now_us]


SIGHTS = st.tuples(
    st.integers(0, 75_000),  # when, in ms
    st.integers(0, 2),  # in which process
    st.sampled_from(["u1", "u2"]),
    st.sampled_from([None, 0.0, 1.0]) | st.floats(0.0, 1.0),  # the start sent: its place in what is accepted
    st.integers(0, 450),  # told how much later, in ms
    st.integers(0, 500),  # how old the history is that the process knows, in ms
    st.booleans(),  # whether the process was started anew
)


@settings(max_examples=200)
@given(timed_histories(within_s=80), st.lists(SIGHTS, min_size=2, max_size=8), st.integers(0, 40_000))
def test_no_two_processes_give_a_unit_two_arms(history, events, after_ms):
    """Each knows the splits that were committed until its last poll, up to 0.5 s ago; some are restarted."""
    shared, arms = Late(), {}
    binders = {process: Binder(shared, LEAD_US) for process in range(3)}
    for at_ms, process, unit, place, delay_ms, poll_ms, restarts in sorted(events, key=lambda e: e[0]):
        now_us = BEGAN_US + (after_ms + at_ms) * 1000
        shared.arrive(now_us)
        shared.delay_us = delay_ms * 1000
        if restarts:
            binders[process] = Binder(shared, LEAD_US)
        known = tuple(s for s in history if s.created_at_us <= now_us - poll_ms * 1000) or history[:1]
        sent_us = None if place is None else now_us - 61 * S + round(place * 62 * S)
        arms.setdefault(unit, set()).add(
            bound(binders[process], view_of(known), unit, sent_us, now_us).assigned.arm
        )
    assert all(len(found) == 1 for found in arms.values()), arms


def test_a_start_ahead_of_time_does_not_overtake_what_redis_is_being_told():
    """A change is near: one start lies before it, the next, sent 0.3 s later by a fast clock, after it."""
    change_us = BEGAN_US + 500 * S
    view, shared = view_of(changed(begun(), "0.5", change_us - LEAD_US, lead_us=LEAD_US)), Late()
    one_us, two_us, unit = change_us - 1_200_000, change_us - 900_000, a_unit(treated=True)
    shared.arrive(one_us)
    shared.delay_us = 450_000
    first = bound(Binder(shared, LEAD_US), view, unit, one_us, one_us)
    shared.arrive(two_us)
    second = bound(Binder(shared, LEAD_US), view, unit, two_us + S, two_us)
    assert first.assigned.arm == second.assigned.arm == "base"


def test_redis_keeps_a_start_until_outcomes_are_in():
    view = replace(view_of(begun()), experiment=named(lifetime_s=100, unit_duration_s=30, attribution_s=7))
    assert kept_s(view) == 137
