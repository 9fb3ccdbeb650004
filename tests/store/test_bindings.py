"""First sight: one answer for all processes, or none in time."""

import asyncio
import socket
import time

import pytest
import redis

from store import keys
from store.bindings import MemoryFirstSight, RedisFirstSight


async def asked(url, *questions):
    sights = [RedisFirstSight(url) for _ in range(2)]
    try:
        return [await sights[n % 2].first_seen_us(*question) for n, question in enumerate(questions)]
    finally:
        for sight in sights:
            await sight.close()


def test_the_first_sight_binds_for_all_processes(server_url, redis_token):
    found = asyncio.run(
        asked(server_url, (redis_token, "u", 10, 60), (redis_token, "u", 20, 60), (redis_token, "v", 30, 60))
    )
    assert found == [10, 10, 30]
    with redis.Redis.from_url(server_url) as client:
        assert 0 < client.ttl(keys.binding(redis_token, "u")) <= 60


def test_nobody_answers_in_time(tmp_path):
    began_s = time.monotonic()
    assert asyncio.run(asked(f"unix://{tmp_path / 'nobody.sock'}", ("main", "u", 10, 60))) == [None]
    assert time.monotonic() - began_s < 1.0


def test_a_server_that_hangs_is_not_waited_for(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hangs.sock"))
        listener.listen()
        began_s = time.monotonic()
        assert asyncio.run(asked(f"unix://{tmp_path / 'hangs.sock'}", ("main", "u", 10, 60))) == [None]
        assert time.monotonic() - began_s < 1.0


@pytest.mark.parametrize("order", [(10, 20), (20, 10)])
def test_memory_keeps_the_same_law(order):
    sight = MemoryFirstSight()
    assert [asyncio.run(sight.first_seen_us("e", "u", now, 1)) for now in order] == [order[0]] * 2
