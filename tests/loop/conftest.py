"""The whole loop: `abctl serve` as a child process, bots over HTTP, and books compared with SQL.

Every service here has a data directory of its own; after a test no process may be left that knows it.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from abctl_client.client import Client
from sqlalchemy import create_engine, text

from cli.own_service import OwnService
from market.bot import Bot, BotConfig, Ledger
from market.worlds import DECOY_FAST, tape_of
from store.outbox import Outbox

SHORT_WORLD = replace(DECOY_FAST, name="short", ticks=70, tradable_ticks=45, events_low=2, events_high=2)
SPLIT_LEAD_S = 1.1
JSON = {"Content-Type": "application/json"}
ROLES = {
    b"valkey-server": "valkey",
    b"valkey_launch": "launcher",
    b"import worker": "worker",
    b"import shipper": "shipper",
    b"import steward": "steward",
}


def short_tapes(count, first=0):
    """Markets of 70 ticks; the same number is the same market."""
    return [tape_of(SHORT_WORLD, 9_000_000 + first + i) for i in range(count)]


@dataclass
class Loop:
    """A service, its bots and their books. `run` marks the units of this test."""

    service: OwnService
    sql_url: str
    experiment: str = "main"
    run: str = field(default_factory=lambda: f"{time.time_ns():x}")
    ledger: Ledger = field(default_factory=Ledger)
    bots: int = 2
    patience_s: float = 60.0

    @property
    def folder(self):
        return self.service.data_dir

    @property
    def port(self):
        return int(self.service.url.rpartition(":")[2])

    def processes(self):
        return processes_of(self.folder)

    def pids(self, role):
        return [pid for pid, its in self.processes().items() if its == role]

    def kill(self, role):
        """KILL -9 of every process with a role; returns the pids."""
        pids = self.pids(role)
        assert pids, f"no {role} runs: {self.processes()}"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return pids

    def kill_supervisor(self):
        self.service.process.kill()
        self.service.process.wait()

    def trade(self, tapes, disturb=None, urls=()):
        """The bots play the tapes; once a quarter is answered, `disturb` runs beside them."""
        asyncio.run(self.trading(tapes, disturb, urls or [self.service.url]))

    async def trading(self, tapes, disturb, urls):
        quarter = len(self.ledger.answered) + sum(len(tape.tick_us) for tape in tapes) // 4
        async with asyncio.TaskGroup() as group:
            for i in range(self.bots):
                group.create_task(self.bot(i, tapes[i :: self.bots], urls[i % len(urls)]))
            if disturb is not None:
                while len(self.ledger.answered) < quarter:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(disturb)

    async def bot(self, number, tapes, url):
        with closing(Outbox(self.folder / f"bot-{number}.outbox")) as outbox:
            async with Client(
                url, timeout_s=10.0, patience_s=self.patience_s, experiment=self.experiment
            ) as client:
                config = BotConfig(name=f"bot-{number}", run=self.run, markets_at_once=8)
                await Bot(config, client, outbox, self.ledger).trade(tapes)

    def get(self, path):
        with urllib.request.urlopen(self.service.url + path, timeout=30) as reply:
            return reply.read().decode()

    def split(self, share):
        """Gives the transformer a share, and waits until it is in force."""
        body = json.dumps({"arm": "transformer", "share": share, "reason": "test"}).encode()
        url = f"{self.service.url}/v1/experiments/{self.experiment}/split"
        with urllib.request.urlopen(urllib.request.Request(url, body, JSON, method="PUT"), timeout=30):
            time.sleep(SPLIT_LEAD_S)

    def report(self):
        return json.loads(self.get(f"/v1/experiments/{self.experiment}/report?days=7"))

    def sql(self, query, **values):
        engine = create_engine(self.sql_url)
        try:
            with engine.connect() as connection:
                values = {"like": f"%@{self.run}", "experiment": self.experiment} | values
                return [tuple(row) for row in connection.execute(text(query), values)]
        finally:
            engine.dispose()

    def wait_for_sql(self, timeout_s=40.0):
        """Until SQL holds what was answered and what the bots were acknowledged for."""
        trades = sum(len(result.trades) for result in self.ledger.played)
        wanted = (len(self.ledger.answered), len(self.ledger.played), trades)
        deadline = time.monotonic() + timeout_s
        while (found := self.sql(COUNTS)[0]) != wanted:
            if time.monotonic() > deadline:
                pytest.fail(f"SQL holds {found} decisions, market and trade outcomes; the bots say {wanted}")
            time.sleep(0.1)

    def check_books(self):
        """Bots and SQL agree to the last decision, outcome and micro-dollar."""
        self.wait_for_sql()
        held = dict(self.sql(DECISIONS))
        assert held == self.ledger.answered
        assert set(held) == set(self.ledger.sent)
        assert self.ledger.refused == []
        self.check_arms()
        self.check_outcomes()

    def check_arms(self):
        """One assigned arm a unit, in SQL and in what the bots were told."""
        arms = {}
        for decision_id, arm in self.ledger.answered.items():
            arms.setdefault(self.ledger.sent[decision_id], set()).add(arm)
        assert {len(told) for told in arms.values()} == {1}
        units = dict(
            self.sql("SELECT unit, arm FROM unit WHERE experiment = :experiment AND unit LIKE :like")
        )
        assert units == {unit: told.pop() for unit, told in arms.items()}
        mixed = (
            "SELECT unit FROM decision WHERE experiment = :experiment AND unit LIKE :like"
            " GROUP BY unit HAVING count(DISTINCT arm) > 1"
        )
        assert self.sql(mixed) == []

    def check_outcomes(self):
        markets = dict(self.sql(OUTCOMES, kind="market"))
        assert markets == {f"{r.market}@{self.run}": r.pnl_micro for r in self.ledger.played}
        trades = self.sql(TRADES)
        assert {opened_by for opened_by, _, _ in trades} <= set(self.ledger.answered)
        assert all(self.ledger.sent[opened_by] == unit for opened_by, unit, _ in trades)
        played = [trade.pnl_micro for result in self.ledger.played for trade in result.trades]
        assert Counter(pnl for _, _, pnl in trades) == Counter(played)
        for table in ("deadletter", "outcomeconflict"):
            assert self.sql(f"SELECT count(*) FROM {table} WHERE experiment = :experiment") == [(0,)]


COUNTS = """
SELECT (SELECT count(*) FROM decision WHERE experiment = :experiment AND unit LIKE :like),
       (SELECT count(*) FROM outcome WHERE experiment = :experiment AND kind = 'market' AND unit LIKE :like),
       (SELECT count(*) FROM outcome WHERE experiment = :experiment AND kind = 'trade' AND unit LIKE :like)
"""
DECISIONS = "SELECT decision_id, arm FROM decision WHERE experiment = :experiment AND unit LIKE :like"
OUTCOMES = (
    "SELECT unit, pnl_micro FROM outcome WHERE experiment = :experiment AND kind = :kind AND unit LIKE :like"
)
TRADES = (
    "SELECT decision_id, unit, pnl_micro FROM outcome"
    " WHERE experiment = :experiment AND kind = 'trade' AND unit LIKE :like"
)


def processes_of(folder):
    """pid -> role of every living process that knows a data directory."""
    if not sys.platform.startswith("linux"):
        pytest.skip("processes are looked up in /proc: runs on Linux only")
    needle, found = str(folder.resolve()).encode(), {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (path / "cmdline").read_bytes()
            if int(path.name) != os.getpid() and (
                needle in command or needle in (path / "environ").read_bytes()
            ):
                found[int(path.name)] = next((its for word, its in ROLES.items() if word in command), "abctl")
    return found


def wait_until(condition, timeout_s, interval_s=0.02):
    """Seconds that it took; fails the test where it took too long."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            pytest.fail(f"not within {timeout_s} s", pytrace=True)
        time.sleep(interval_s)
    return time.monotonic() - began


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def open_loop(sql_url="", experiment="main", flags=(), **environment):
    """A service that is ready to be started, in a directory with a short name (for its socket)."""
    folder = Path(tempfile.mkdtemp(prefix="abctl-loop-"))
    data_dir = folder / "data"
    if sql_url:
        environment["ABCTL_DATABASE_URL"] = sql_url
    environment = {"ABCTL_EXPERIMENT": experiment, "ABCTL_SPLIT_LEAD_S": str(SPLIT_LEAD_S), **environment}
    service = OwnService(data_dir, environment, tuple(flags))
    loop = Loop(service, sql_url or f"sqlite:///{data_dir}/abctl.db", experiment)
    try:
        yield loop
        service.stop()
        left = loop.processes()
        assert left == {}, f"orphans: {left}"
    finally:
        service.stop()
        for pid in processes_of(data_dir):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if service.log.exists():
            print(f"-- {service.log}\n{service.log.read_text(errors='replace')[-6000:]}")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def idle_loop():
    """Not started yet."""
    with open_loop() as loop:
        yield loop


@pytest.fixture
def loop(idle_loop):
    """Started; half of the markets go to the transformer from the first one on."""
    idle_loop.service.start()
    idle_loop.split("0.5")
    return idle_loop


@pytest.fixture
def tools():
    """The functions of this file, for tests that open loops of their own."""
    return sys.modules[__name__]
