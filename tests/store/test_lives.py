"""The memory of paper lives: one law for Redis and for one process alone."""

import asyncio
import uuid

import pytest

from store.keys import life
from store.lives import NO_ANSWER, MemoryLives, RedisLives, Saved


@pytest.fixture(params=["memory", "redis"])
def memory(request):
    """Makes the memory, within the event loop that uses it."""
    if request.param == "memory":
        return MemoryLives
    url = request.getfixturevalue("valkey_url")
    return lambda: RedisLives(url)


def key():
    return life(uuid.uuid4().hex, "u", "b", 1)


def saved(name, before, tick, content):
    return Saved(name, before, tick, content, 60)


def test_a_life_goes_on_where_it_was_left(memory):
    async def script():
        lives, one, other = memory(), key(), key()
        assert await lives.load([one, other]) == [None, None]
        assert await lives.save([saved(one, 0, 1, b"\x00one"), saved(other, 0, 1, b"other")]) == [True, True]
        assert await lives.save([saved(one, 1, 2, b"two")]) == [True]
        assert await lives.load([other, one]) == [b"other", b"two"]
        await lives.close()

    asyncio.run(script())


def test_of_two_that_go_on_with_the_same_one_has_written(memory):
    async def script():
        lives, one = memory(), key()
        both = [saved(one, 0, 1, b"a"), saved(one, 0, 1, b"b")]
        assert await lives.save(both) == [True, False]
        assert await lives.load([one]) == [b"a"]
        await lives.close()

    asyncio.run(script())


def test_a_redis_that_is_away_says_so():
    async def script():
        lives = RedisLives("redis://127.0.0.1:1/0")
        with pytest.raises(NO_ANSWER):
            await lives.load(["x"])
        with pytest.raises(NO_ANSWER):
            await lives.save([saved("x", 0, 1, b"")])
        await lives.close()

    asyncio.run(script())


def test_names_do_not_run_into_each_other():
    assert len({life("e", "a:b", "c", 1), life("e", "a", "b:c", 1), life("e", "a", "b:c", 2)}) == 3
