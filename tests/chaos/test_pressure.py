"""Back-pressure: Redis stays small and the journal takes the rest; the bots notice nothing."""

import time

import pytest
from harness.servers import OwnRedis, wait_until
from harness.site import sqlite_site
from harness.sql_rows import read_sql

from store import keys

LIMIT_MB = 16
REQUESTS = 32
ITEMS = 250


@pytest.fixture
def small_redis(tmp_path):
    """With a limit that it reaches."""
    server = OwnRedis(tmp_path, limit=f"{LIMIT_MB}mb")
    server.start()
    yield server
    server.kill()


def outcomes(request):
    """About a megabyte of outcomes."""
    return [
        {
            "kind": "trade",
            "decision_id": f"t{request}-{n}",
            "pnl_usd": 1.0,
            "fill": "paper",
            "closed_at": time.time_ns() // 1_000_000,
            "meta": {"stuffing": "x" * 3800},
        }
        for n in range(ITEMS)
    ]


def test_a_full_redis_costs_no_bot_anything_and_is_emptied_into_sql(small_redis):
    """While somebody else holds the writer's lease and does nothing, this node ships until Redis is full."""
    settings = {"ABCTL_REDIS_URL": small_redis.url_at(small_redis.port)}
    with (
        sqlite_site(**settings, ABCTL_JOURNAL_QUOTA_BYTES=str(256 << 20)) as site,
        small_redis.client() as client,
    ):
        leader = keys.leader("main", "writer")
        wait_until(lambda: client.exists(leader) == 1, 10.0, "a writer leads")
        client.set(leader, "somebody", px=120_000)
        slowest_s = max(sent(site, outcomes(number)) for number in range(REQUESTS))
        wait_until(
            lambda: "maxmemory" in str(site.status()["trouble"]), 20.0, "the shipper says what hinders it"
        )
        used_bytes, held_bytes = client.info("memory")["used_memory"], site.lag_bytes()
        client.delete(leader)
        settled_s = wait_until(lambda: site.lag_bytes() == 0, 60.0, "everything in SQL", 0.2)
        stored = len(read_sql(site.sql_url).outcomes)
    print(f"Redis held {used_bytes / 1e6:.1f} MB, the journal {held_bytes / 1e6:.1f} MB")
    print(f"the slowest request took {slowest_s:.2f} s; all in SQL after {settled_s:.1f} s")
    assert used_bytes <= (LIMIT_MB + 2) << 20
    assert held_bytes > (REQUESTS - 4) << 20
    assert stored == REQUESTS * ITEMS


def sent(site, items):
    """Seconds until all of them were accepted."""
    began_s = time.monotonic()
    status, said = site.send("POST", "/v1/outcomes", items)
    assert status == 200
    assert {result["status"] for result in said["results"]} == {"accepted"}
    return time.monotonic() - began_s
