"""First sight: one answer for all processes, or none in time."""

import asyncio
import socket
import time

import pytest
import redis

from store import keys
from store.bindings import PAUSE_S, TIMEOUT_S, VOUCH_S, MemoryFirstSight, RedisFirstSight, Seen


def vouch(url, experiment):
    with redis.Redis.from_url(url) as client:
        client.set(keys.vouched(experiment), client.info("server")["run_id"], px=60_000)


async def asked(url, *questions):
    sights = [RedisFirstSight(url) for _ in range(2)]
    try:
        return [await sights[n % 2].first_seen(*question) for n, question in enumerate(questions)]
    finally:
        for sight in sights:
            await sight.close()


def test_the_first_sight_binds_for_all_processes(server_url, redis_token):
    vouch(server_url, redis_token)
    found = asyncio.run(
        asked(server_url, (redis_token, "u", 10, 60), (redis_token, "u", 20, 60), (redis_token, "v", 30, 60))
    )
    assert found == [Seen(10, True), Seen(10, True), Seen(30, True)]
    with redis.Redis.from_url(server_url) as client:
        assert 0 < client.ttl(keys.binding(redis_token, "u")) <= 60


@pytest.mark.parametrize("word", [None, "another-run"])
def test_where_nobody_vouches_for_this_run_nothing_is_sure(server_url, redis_token, word):
    """It may have come back empty, or with an old snapshot: what it is told now need not be the first."""
    questions = ((redis_token, "u", 10, 60), (redis_token, "u", 20, 60), (redis_token, "v", 30, 60))
    if word:
        with redis.Redis.from_url(server_url) as client:
            client.set(keys.vouched(redis_token), word, px=60_000)
    assert asyncio.run(asked(server_url, *questions)) == [
        Seen(10, False),
        Seen(10, False),
        Seen(30, False),
    ]
    vouch(server_url, redis_token)
    assert asyncio.run(asked(server_url, (redis_token, "u", 40, 60))) == [Seen(10, True)]


@pytest.mark.parametrize("spoil", ["text", "list"])
def test_what_somebody_else_wrote_under_a_key_costs_that_unit_alone(server_url, redis_token, spoil):
    vouch(server_url, redis_token)
    with redis.Redis.from_url(server_url) as client:
        key = keys.binding(redis_token, "bad")
        client.set(key, "garbage") if spoil == "text" else client.lpush(key, "x")

    async def ask():
        sight = RedisFirstSight(server_url)
        try:
            units = ("u", "bad", "v")
            found = await asyncio.gather(*(sight.first_seen(redis_token, u, 10, 60) for u in units))
            return [*found, await sight.first_seen(redis_token, "w", 20, 60)]
        finally:
            await sight.close()

    assert asyncio.run(ask()) == [Seen(10, True), None, Seen(10, True), Seen(20, True)]


def test_a_slow_server_keeps_nobody_longer_than_said(server_url, redis_token, monkeypatch):
    """Each reply comes just in time; the pipeline, and who waits behind it, have one time in all."""
    said = RedisFirstSight._said

    async def slowly(self, asked):
        for _ in asked:
            await asyncio.sleep(TIMEOUT_S / 3)
        return await said(self, asked)

    async def ask():
        sight = RedisFirstSight(server_url)
        monkeypatch.setattr(RedisFirstSight, "_said", slowly)
        began_s = time.monotonic()
        try:
            units = (f"u{n}" for n in range(256))
            found = await asyncio.gather(*(sight.first_seen(redis_token, u, 10, 60) for u in units))
            return found, time.monotonic() - began_s
        finally:
            await sight.close()

    found, took_s = asyncio.run(ask())
    assert found == [None] * 256
    assert took_s < 10 * TIMEOUT_S


def test_nobody_answers_in_time(tmp_path):
    began_s = time.monotonic()
    assert asyncio.run(asked(f"unix://{tmp_path / 'nobody.sock'}", ("main", "u", 10, 60))) == [None]
    assert time.monotonic() - began_s < 1.0


def test_a_server_that_hangs_is_not_waited_for(tmp_path):
    """Not by many at once and not again and again: one in PAUSE_S asks whether it is back."""

    async def ask_often(url):
        sight = RedisFirstSight(url)
        try:
            took_s = []
            for n in range(200):
                began_s = time.monotonic()
                assert await sight.first_seen("main", f"u{n}", 10, 60) is None
                took_s.append(time.monotonic() - began_s)
            return took_s
        finally:
            await sight.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hangs.sock"))
        listener.listen()
        took_s = asyncio.run(ask_often(f"unix://{tmp_path / 'hangs.sock'}"))
    assert max(took_s) < 1.0
    assert sum(s > TIMEOUT_S / 2 for s in took_s) <= 1 + sum(took_s) / PAUSE_S


def test_after_a_silence_an_old_word_is_not_believed(tmp_path, fresh_valkey_url):
    """A server that was away may have come back without its newest entries, but with its voucher."""
    server, link, clock_s = fresh_valkey_url[7:].partition("?")[0], tmp_path / "link.sock", [100.0]
    vouch(fresh_valkey_url, "main")

    def cut():
        link.unlink()
        with redis.Redis.from_url(fresh_valkey_url) as client:
            client.client_kill_filter(_type="normal", skipme=True)

    async def course():
        sight, found = RedisFirstSight(f"unix://{link}", lambda: clock_s[0]), []
        steps = (
            ("before", 0.0, lambda: link.symlink_to(server)),
            ("away", 0.0, cut),
            ("pause", PAUSE_S / 2, lambda: link.symlink_to(server)),
            ("back", PAUSE_S, lambda: None),
            ("believed", VOUCH_S, lambda: None),
        )
        for number, (unit, wait_s, act) in enumerate(steps):
            act()
            clock_s[0] += wait_s
            found.append(await sight.first_seen("main", unit, number, 60))
        found.append(await sight.first_seen("main", "back", 9, 60))
        await sight.close()
        return found

    assert asyncio.run(course()) == [
        Seen(0, True),
        None,
        None,
        Seen(3, False),
        Seen(4, True),
        Seen(3, True),
    ]


@pytest.mark.parametrize("order", [(10, 20), (20, 10)])
def test_memory_keeps_the_same_law(order):
    sight = MemoryFirstSight()
    found = [asyncio.run(sight.first_seen("e", "u", now, 1)) for now in order]
    assert found == [Seen(order[0], is_sure=True)] * 2


def test_a_loop_that_is_late_itself_does_not_take_redis_for_silent(server_url, redis_token):
    """Under overload a turn of the loop takes longer than Redis may: its answers lie there unread."""
    vouch(server_url, redis_token)

    async def busy():
        while True:
            time.sleep(2 * TIMEOUT_S)  # noqa: ASYNC251 - as a worker that has too much to do
            await asyncio.sleep(0)

    async def course():
        sight = RedisFirstSight(server_url)
        load = asyncio.create_task(busy())
        try:
            units = [f"u{n}" for n in range(5)]
            return await asyncio.gather(*(sight.first_seen(redis_token, u, 10, 60) for u in units))
        finally:
            load.cancel()
            await sight.close()

    assert asyncio.run(course()) == [Seen(10, True)] * 5
