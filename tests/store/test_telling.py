"""The first start of a unit, told without waiting: one law for every place that keeps it."""

import asyncio
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from store import keys
from store.bindings import PAUSE_S, TOLD_AT_ONCE, MemoryFirstSight, RedisFirstSight
from store.untold import Untold, UntoldStarts


@pytest.fixture(params=["memory", "valkey", "redis"])
def place(request, redis_token):
    """Opens what two processes have in common; for the experiment redis_token."""
    if request.param == "memory":
        one = MemoryFirstSight()
        return SimpleNamespace(pair=_nothing_to_close(one), experiment=redis_token)
    url = request.getfixturevalue(f"{request.param}_url")
    with redis.Redis.from_url(url) as client:
        client.set(keys.vouched(redis_token), client.info("server")["run_id"], px=60_000)
    return SimpleNamespace(pair=_two(url), experiment=redis_token)


@asynccontextmanager
async def _nothing_to_close(one):
    yield one, one


@asynccontextmanager
async def _two(url):
    pair = RedisFirstSight(url), RedisFirstSight(url)
    try:
        yield pair
    finally:
        for sight in pair:
            await sight.close()


def found(place, *steps):
    """("tell" | "see", process, unit, start) one after the other; what each "see" said."""

    async def course():
        async with place.pair as pair:
            said = []
            for what, process, unit, start_us in steps:
                if what == "see":
                    seen = await pair[process].first_seen(place.experiment, unit, start_us, 60)
                    said.append(seen.start_us)
                else:
                    pair[process].tell(place.experiment, unit, start_us, 60)
                    await pair[process].flush()
            return said

    return asyncio.run(course())


def test_a_start_that_was_told_is_the_first(place):
    assert found(place, ("tell", 0, "u", 10), ("see", 1, "u", 20), ("see", 0, "u", 30)) == [10, 10]


def test_a_start_that_was_seen_stays_whatever_is_told_later(place):
    steps = ("see", 0, "u", 10), ("tell", 1, "u", 5), ("tell", 0, "u", 7), ("see", 1, "u", 20)
    assert found(place, *steps) == [10, 10]


def test_of_two_that_were_told_the_first_stays(place):
    assert found(place, ("tell", 0, "u", 10), ("tell", 1, "u", 5), ("see", 1, "u", 20)) == [10]


def test_units_do_not_know_each_other(place):
    assert found(place, ("tell", 0, "u", 10), ("see", 1, "v", 20), ("see", 1, "u", 30)) == [20, 10]


def test_nothing_is_dropped_while_there_is_room(place):
    async def course():
        async with place.pair as (one, _):
            for n in range(100):
                one.tell(place.experiment, f"u{n}", n, 60)
            await one.flush()
            return one.dropped()

    assert asyncio.run(course()) == 0


def test_telling_is_behind_the_caller_and_expires(server_url, redis_token):
    count = 2 * TOLD_AT_ONCE + 1

    async def course():
        async with _two(server_url) as (one, _):
            for n in range(count):
                one.tell(redis_token, f"u{n}", n, 60)
            assert not list(client.scan_iter(match=f"*{redis_token}*", count=1000))
            await one.flush()

    with redis.Redis.from_url(server_url) as client:
        asyncio.run(course())
        told = [keys.binding(redis_token, f"u{n}") for n in range(count)]
        assert client.mget(told) == [str(n).encode() for n in range(count)]
        assert all(0 < client.ttl(key) <= 60 for key in told)


def test_a_redis_that_is_away_is_told_when_it_is_back(tmp_path, fresh_valkey_url):
    """Meanwhile one try in PAUSE_S; what is told again keeps its first start."""
    server, link, clock_s = fresh_valkey_url[7:].partition("?")[0], tmp_path / "link.sock", [100.0]
    key = keys.binding("main", "u")

    async def course(client):
        sight = RedisFirstSight(f"unix://{link}", lambda: clock_s[0])
        sight.tell("main", "u", 10, 60)
        await sight.flush()
        link.symlink_to(server)
        sight.tell("main", "u", 20, 60)
        await sight.flush()
        assert client.get(key) is None
        clock_s[0] += PAUSE_S
        await sight.flush()
        assert client.get(key) == b"10"
        assert sight.dropped() == 0
        await sight.close()

    with redis.Redis.from_url(fresh_valkey_url) as client:
        asyncio.run(course(client))


def test_a_redis_that_is_full_is_told_when_it_has_room(fresh_valkey_url):
    clock_s, key = [100.0], keys.binding("main", "u")

    async def course(client):
        sight = RedisFirstSight(fresh_valkey_url, lambda: clock_s[0])
        client.config_set("maxmemory", 1)
        try:
            sight.tell("main", "u", 10, 60)
            await sight.flush()
            assert client.get(key) is None
        finally:
            client.config_set("maxmemory", 0)
        clock_s[0] += PAUSE_S
        await sight.flush()
        assert client.get(key) == b"10"
        await sight.close()

    with redis.Redis.from_url(fresh_valkey_url) as client:
        asyncio.run(course(client))


def test_telling_costs_no_time_and_bounded_memory_while_nobody_answers(tmp_path, caplog):
    count = 50_000

    async def course():
        sight = RedisFirstSight(f"unix://{tmp_path / 'nobody.sock'}")
        await sight.flush()
        began_s = time.monotonic()
        for n in range(count):
            sight.tell("main", f"u{n}", n, 60)
        told_s = time.monotonic() - began_s
        await sight.flush()
        await sight.flush()
        dropped, again = sight.dropped(), sight.dropped()
        await sight.close()
        return told_s, dropped, len(sight._untold), again

    told_s, dropped, kept, again = asyncio.run(course())
    assert told_s < count * 100e-6
    assert (dropped + kept, again) == (count, 0)
    assert 0 < kept < count
    assert f"starts of {kept} units" in caplog.text


def start(n, start_us=1):
    return Untold(f"k{n}", start_us, 60)


def test_the_oldest_make_room():
    waiting = UntoldStarts(2)
    for n in range(3):
        waiting.put(start(n))
    assert (waiting.dropped(), waiting.take(9)) == (1, [start(1), start(2)])


def test_what_is_given_back_is_first_again_and_keeps_its_start():
    waiting = UntoldStarts(3)
    waiting.put(start(0))
    waiting.put(start(1))
    taken = waiting.take(2)
    waiting.put(start(2))
    waiting.put(start(1, start_us=9))
    waiting.give_back(taken)
    assert waiting.take(9) == [start(0), start(1), start(2)]


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["put", "take", "give back"]), st.integers(0, 7)), max_size=40),
)
def test_every_start_is_taken_dropped_or_waits(limit, steps):
    waiting, known, taken, dropped = UntoldStarts(limit), set(), [], 0
    for n, (what, at) in enumerate(steps):
        if what == "put":
            key = f"{n}:{at}"
            known.add(key)
            waiting.put(Untold(key, n, 60))
        elif what == "take":
            taken += waiting.take(at)
        else:
            waiting.give_back(taken[:at])
            taken = taken[at:]
        dropped += waiting.dropped()
        assert len(waiting) <= limit
        assert len(known) == len(taken) + len(waiting) + dropped
