"""Two workers over one database and one Redis: the first start of a unit binds in both."""

import asyncio
import time

import redis

from router.assignment import BUCKETS, arm_salt, bucket
from router.service import build
from store import keys
from store.bindings import RedisFirstSight
from store.clock import wall_clock_us
from store.sql import open_engine


def moved_unit(share):
    """A unit of its own that a change to this share moves."""
    names = (f"b{time.time_ns()}-{n}" for n in range(10_000))
    return next(name for name in names if bucket(arm_salt("main"), name) < share * BUCKETS)


def told(node, unit):
    """The start that Redis holds, in microseconds."""
    with redis.Redis.from_url(node.redis_url) as client:
        held = client.get(keys.binding("main", unit))
    return None if held is None else int(held)


def two(start_node):
    first = start_node("one")
    return first, start_node("two", sql_url=first.engine.url.render_as_string(), arms=())


def test_a_later_start_in_another_worker_neither_moves_the_unit_nor_goes_uncounted(start_node):
    first, second = two(start_node)
    unit, before_ms = moved_unit(0.5), wall_clock_us() // 1000
    early = first.decide(unit, started_at=before_ms)
    assert (early["arm"], early["binding"], early["split_version"]) == ("base", "started_at", 1)
    first.wait(lambda: told(first, unit) == before_ms * 1000)
    time.sleep(0.005)
    first.set_share("0.5")
    second.wait(lambda: len(second.service.desk.snapshot.views["main"].history) == 2)
    late = second.decide(unit, started_at=wall_clock_us() // 1000)
    assert (late["arm"], late["binding"], late["split_version"]) == ("base", "redis", 1)
    assert late["propensity"] == early["propensity"]
    fresh = second.decide(moved_unit(0.5), started_at=wall_clock_us() // 1000)
    assert (fresh["arm"], fresh["binding"], fresh["split_version"]) == ("transformer", "started_at", 2)
    with first.carrying(), second.carrying():
        pass
    with first.engine.connect() as connection:
        row = connection.exec_driver_sql(
            "SELECT arm, decisions, contaminated, start_conflicts, started_at_us FROM unit WHERE unit = ?",
            (unit,),
        ).one()
    assert tuple(row) == ("base", 2, 0, 1, before_ms * 1000)


def test_a_worker_that_ends_tells_redis_what_it_bound(start_node):
    node = start_node("ends")
    unit, start_us = moved_unit(0.5), wall_clock_us()

    async def course():
        first_sight = RedisFirstSight(node.redis_url)
        engine = open_engine(node.engine.url.render_as_string())
        ending = build(node.service.config, engine, first_sight, wall_clock_us)
        snapshot = ending.desk.snapshot
        await ending.desk.binder.bind(snapshot.views["main"], snapshot, unit, start_us, start_us)
        before = told(node, unit)
        await ending.stop()
        await first_sight.close()
        return before

    assert asyncio.run(course()) is None
    assert told(node, unit) == start_us


def test_dropped_starts_are_a_metric(start_node):
    node = start_node("counts")
    text = node.ask("GET", "/metrics").body.decode()
    assert "abctl_dropped_starts_total" in text
