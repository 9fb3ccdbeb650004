"""The compose file's topology, run natively: two services, one PostgreSQL, one Redis, haproxy as the door."""

import os
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from store import keys
from store.data_dir import DataDir

CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")


@pytest.fixture
def pair(fresh_postgres_url, redis_url, redis_token, tools):
    """Two services, upgraded and started at the same moment on an empty database."""
    with ExitStack() as stack:
        loops = [
            stack.enter_context(tools.open_loop(fresh_postgres_url, redis_token, ABCTL_REDIS_URL=redis_url))
            for _ in range(2)
        ]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda loop: loop.service.command("db", "upgrade"), loops))
            define(loops[0])
            list(pool.map(lambda loop: loop.service.start(), loops))
        loops[0].split("0.5")
        yield loops


def define(loop):
    """The experiment of a loop, which shares its Redis with others: only `main` comes by itself."""
    file = loop.folder.parent / "experiment.toml"
    file.write_text(f'key = "{loop.experiment}"\narms = ["base", "transformer"]\ncontrol = "base"\n')
    loop.service.command("experiment", "create", str(file))


@contextmanager
def door(urls):
    """haproxy with the shipped configuration before the services; yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    addresses = [url.removeprefix("http://") for url in urls]
    environment = os.environ | {
        "ABCTL_LB_BIND": f"127.0.0.1:{port}",
        "ABCTL_API1": addresses[0],
        "ABCTL_API2": addresses[1],
    }
    command = [HAPROXY, "-db", "-f", CONFIG]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, **quiet) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def check_killed_in_the_middle(pair, urls, tools):
    """Trades through `urls` while the first service is killed with -9 and started again on its port."""
    one, other = pair
    port = one.port

    def kill_and_start():
        one.kill_supervisor()
        one.service.start(port)

    one.trade(tools.short_tapes(40), kill_and_start, urls)
    one.check_books()
    assert sum(len(result.trades) for result in one.ledger.played) > 0
    journals = one.sql("SELECT count(DISTINCT journal_id) FROM decision WHERE experiment = :experiment")
    assert journals[0][0] >= 2
    assert one.report()["arms"] == other.report()["arms"]


@pytest.mark.skipif(HAPROXY is None, reason="no haproxy here: the same ran through two URLs instead")
def test_two_services_behind_haproxy(pair, tools):
    with door([loop.service.url for loop in pair]) as url:
        tools.wait_until(lambda: tools.listens(int(url.rpartition(":")[2])), 10.0)
        check_killed_in_the_middle(pair, [url], tools)


@pytest.mark.skipif(HAPROXY is not None, reason="haproxy is here: the same ran through it")
def test_two_services_at_two_urls(pair, tools):
    check_killed_in_the_middle(pair, [loop.service.url for loop in pair], tools)


def test_a_peer_that_dies_with_work_in_its_hands_loses_nothing(pair, redis_url, tools):
    """The service whose writer leads is killed for good; the other takes over what it had taken."""
    with redis.Redis.from_url(redis_url) as client:
        node = client.get(keys.leader(pair[0].experiment, "writer")).decode()
    leader, other = sorted(pair, key=lambda loop: DataDir(loop.folder).node_id() != node)

    def kill_leader():
        leader.kill_supervisor()
        leader.kill("shipper")

    other.trade(tools.short_tapes(24), kill_leader)
    other.check_books()
    assert leader.processes() == {}
