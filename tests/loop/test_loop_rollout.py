"""`abctl serve` looks after rollouts by itself: one leader of two services, frozen, killed; a webhook."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import signal
import threading
import time
from contextlib import ExitStack

import psutil
import pytest
import redis

from router.steward import ROLE
from store import keys
from store.data_dir import DataDir

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
EVERY_S = 1.0
LEASE_S = 15.0
PLAN = """
version = 1
stages = [{share = 0.1, units_min = 10, days_min = 1, days_max = 20}]
primary = {metric = "win_rate", effect = 0.05}
money = {margin_usd = 0.02}
"""


@pytest.fixture
def receiver():
    """A webhook: (url, what it was told)."""
    told = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_words):
            """Keeps silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook?token=hush", told
    server.shutdown()
    server.server_close()


def start_rollout(loop):
    file = loop.folder.parent / "plan.toml"
    file.write_text(PLAN)
    loop.service.command("rollout", "start", str(file))


def status(loop):
    return json.loads(loop.service.command("rollout", "status", "--json"))


def history(loop):
    return json.loads(loop.service.command("rollout", "history", "--json"))


def name(loop):
    """As its steward signs."""
    return f"serve/{DataDir(loop.folder).node_id()[:8]}"


def looks(loop):
    return loop.sql("SELECT at_us FROM rolloutlook WHERE experiment = :experiment")


def looked_by(loop):
    return next(
        (by for (by,) in loop.sql("SELECT actor FROM rolloutlook WHERE experiment = :experiment")), ""
    )


def is_genuine(headers, body):
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    code = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{code}"


def test_a_kill_ends_the_rollout_and_the_webhook_hears_of_it(tools, receiver):
    url, told = receiver
    webhook = {"ABCTL_WEBHOOK_URL": url, "ABCTL_WEBHOOK_SECRET": SECRET}
    with tools.open_loop(ABCTL_ROLLOUT_EVERY_S=str(EVERY_S), **webhook) as loop:
        loop.service.start()
        start_rollout(loop)
        tools.wait_until(lambda: looked_by(loop) == name(loop), 20.0)
        assert not status(loop)["watch"]["is_late"]
        check_killed_steward_comes_back(loop, tools)
        loop.service.command("split", "kill", "transformer", "--reason", "prices")
        tools.wait_until(lambda: history(loop)[-1]["kind"] == "rolled_back", 20.0, 0.3)
        lines = history(loop)
        assert (lines[-1]["actor"], lines[-1]["cause"]) == (name(loop), "killed")
        tools.wait_until(lambda: len(told) == len(lines), 20.0)
        assert [headers["webhook-id"] for headers, _ in told] == [f"main/1/{n['seq']}" for n in lines]
        assert all(is_genuine(headers, body) for headers, body in told)
        assert_nothing_is_seen(loop)


def check_killed_steward_comes_back(loop, tools):
    (before,) = loop.kill("steward")
    tools.wait_until(lambda: set(loop.pids("steward")) - {before}, 20.0)
    (since,) = looks(loop)
    tools.wait_until(lambda: looks(loop) != [since], 20.0)


def assert_nothing_is_seen(loop):
    """Neither the secret nor the address stands in an argument of a process, or in the log."""
    seen = loop.service.log.read_text()
    for pid in loop.processes():
        seen += " ".join(psutil.Process(pid).cmdline())
    assert "abctl.rollout INFO main: rollback" in seen
    assert not any(word in seen for word in (SECRET[6:], "hush"))


@pytest.fixture
def pair(fresh_postgres_url, redis_url, redis_token, tools):
    """Two services of one experiment, on one database and one Redis."""
    with ExitStack() as stack:
        loops = [
            stack.enter_context(
                tools.open_loop(
                    fresh_postgres_url,
                    redis_token,
                    ABCTL_REDIS_URL=redis_url,
                    ABCTL_ROLLOUT_EVERY_S=str(EVERY_S),
                )
            )
            for _ in range(2)
        ]
        loops[0].service.command("db", "upgrade")
        file = loops[0].folder.parent / "experiment.toml"
        file.write_text(f'key = "{redis_token}"\narms = ["base", "transformer"]\ncontrol = "base"\n')
        loops[0].service.command("experiment", "create", str(file))
        for loop in loops:
            loop.service.start()
        yield loops


def test_of_two_services_one_leads_and_the_other_takes_over(pair, redis_url, tools):
    """The leader is frozen past its lease with SIGSTOP, and woken up while the other leads."""
    with redis.Redis.from_url(redis_url) as client:

        def led_by():
            held = client.get(keys.leader(pair[0].experiment, ROLE)) or b""
            return next(
                (loop for loop in pair if held.decode().startswith(DataDir(loop.folder).node_id())), None
            )

        start_rollout(pair[0])
        tools.wait_until(lambda: led_by() is not None and looks(pair[0]), 20.0)
        leader = led_by()
        other = next(loop for loop in pair if loop is not leader)
        tools.wait_until(lambda: looked_by(leader) == name(leader), 20.0)
        (pid,) = leader.pids("steward")
        os.kill(pid, signal.SIGSTOP)
        try:
            tools.wait_until(lambda: led_by() is other, LEASE_S + 10.0)
            tools.wait_until(lambda: looked_by(other) == name(other), 20.0)
        finally:
            os.kill(pid, signal.SIGCONT)
        for _ in range(8):
            time.sleep(EVERY_S / 2)
            assert led_by() is other
    assert status(leader)["watch"]["by"] == name(other)
    lines = history(other)
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert {line["share"] for line in lines[1:]} == {0.1}
    assert len(pair[0].sql("SELECT version FROM split WHERE experiment = :experiment")) == 2
