"""Does to a site what the plan says, and undoes it."""

import logging
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

import redis

from harness.diary import Diary
from harness.faults import Fault
from harness.servers import wait_until
from harness.site import Site

STUFFING = 250
STUFF_TIMEOUT_S = 12.0
_LOG = logging.getLogger("chaos")


@dataclass(frozen=True, slots=True)
class Hold:
    """How long a fault lasts, and what breaks in the middle of it."""

    seconds: float
    meanwhile: str = ""


@dataclass(slots=True)
class Injector:
    """One after the other. slowest_s: the longest that the service took to be back after a fault, by kind."""

    site: Site
    diary: Diary
    rng: random.Random
    stuffed: int = 0
    probes: int = 0
    slowest_s: dict[str, float] = field(default_factory=dict)

    def run(self, faults: list[Fault]) -> None:
        """The whole plan."""
        for number, fault in enumerate(faults):
            time.sleep(fault.gap_s)
            _LOG.info("fault %d: %s for %.1f s", number, fault.name, fault.hold_s)
            self.do(fault.kind, Hold(fault.hold_s, fault.meanwhile))
            back_s = wait_until(self._is_answered, 30.0, f"decisions after {fault.name}")
            self.slowest_s[fault.name] = max(self.slowest_s.get(fault.name, 0.0), back_s)

    def do(self, kind: str, hold: "Hold") -> None:
        """One fault from its beginning to its end."""
        verb, _, whom = kind.partition(" ")
        acts: dict[str, Callable[[str, Hold], None]] = {
            "kill": self.kill,
            "freeze": self.freeze,
            "fill": self.fill,
            "empty": self.empty,
            "lock": self.lock,
        }
        acts.get(verb, lambda whom, hold: self.disturb(verb, whom, hold))(whom, hold)

    def wait(self, hold: "Hold") -> None:
        """While one fault lasts, perhaps another one comes."""
        time.sleep(hold.seconds / 2)
        if hold.meanwhile:
            self.do(hold.meanwhile, Hold(hold.seconds / 2))
        time.sleep(hold.seconds / 2)

    def kill(self, role: str, hold: "Hold") -> None:
        """KILL -9: one of the processes of a role. Whom nobody else starts again is started here."""
        if role == "supervisor":
            self._kill_supervisor(hold.seconds)
        elif role == "postgres":
            self._restart(self.site.postgres, hold.seconds)
        elif role == "redis" and self.site.redis_server is not None:
            self._restart(self.site.redis_server, hold.seconds)
        else:
            pids = self._backends() if role == "backend" else self.site.pids(role)
            if pids:
                with suppress(ProcessLookupError):
                    os.kill(self.rng.choice(pids), signal.SIGKILL)

    def freeze(self, role: str, hold: "Hold") -> None:
        """STOP, and CONT after a while: one worker, or all that has another role."""
        with self.frozen(role):
            self.wait(hold)

    @contextmanager
    def frozen(self, role: str) -> Iterator[None]:
        """For as long as this lasts."""
        pids = self.site.pids(role)
        one = [self.rng.choice(pids)] if role == "worker" and pids else []
        self._signal(role, one, signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(role, one, signal.SIGCONT)

    def fill(self, what: str, hold: "Hold") -> None:
        """Uses up all room: of the journal, while nobody carries it away, or of Redis."""
        if what == "redis":
            self._limit_redis(1)
            self.wait(hold)
            wait_until(lambda: self._limit_redis(0), 20.0, "Redis has room again")
            return
        with self.frozen("shipper"):
            wait_until(self._is_full, STUFF_TIMEOUT_S, "503 from a full journal", 0.0)
            self.wait(hold)

    def _limit_redis(self, limit_bytes: int) -> bool:
        """A limit of one byte is reached already: whatever needs memory is refused. 0 is none."""
        try:
            with self.site.redis_client() as client:
                return bool(client.config_set("maxmemory", limit_bytes))
        except redis.RedisError:
            return False

    def empty(self, _what: str, _hold: "Hold") -> None:
        """Redis forgets everything at once."""
        with suppress(redis.RedisError), self.site.redis_client() as client:
            client.flushall()

    def lock(self, _what: str, hold: "Hold") -> None:
        """Somebody else writes to the SQLite file for a while."""
        path = self.site.sql_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            self.wait(hold)
            connection.execute("COMMIT")

    def disturb(self, mode: str, net: str, hold: "Hold") -> None:
        """The network to a server, by its proxy."""
        proxy = self.site.proxies[net]
        proxy.set(mode)  # type: ignore[arg-type]
        self.wait(hold)
        proxy.set("pass")

    def _kill_supervisor(self, hold_s: float) -> None:
        process = self.site.service.process
        assert process is not None
        process.kill()
        process.wait()
        time.sleep(min(hold_s, 0.5))
        self.site.start()

    @staticmethod
    def _restart(server: object, hold_s: float) -> None:
        server.kill()  # type: ignore[attr-defined]
        time.sleep(hold_s)
        server.start()  # type: ignore[attr-defined]

    def _backends(self) -> list[int]:
        assert self.site.postgres is not None
        return self.site.postgres.pids()[1:]

    def _signal(self, role: str, one: list[int], number: int) -> None:
        if not one:
            self.site.signal(role, number)
        for pid in one:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _is_full(self) -> bool:
        """Sends large outcomes, written down like a bot's; True once the service refuses them."""
        items = []
        for _ in range(STUFFING):
            self.stuffed += 1
            key = f"stuffing-{self.stuffed}"
            self.diary.write("say", "trade", key, self.stuffed)
            items.append(
                {
                    "kind": "trade",
                    "decision_id": key,
                    "pnl_usd": self.stuffed / 1e6,
                    "fill": "paper",
                    "closed_at": time.time_ns() // 1_000_000,
                    "meta": {"stuffing": "x" * 3800},
                }
            )
        status, said = self.site.send("POST", "/v1/outcomes", items)
        if status == 200:
            for item, result in zip(items, said["results"], strict=True):
                self.diary.write(
                    "taken", "trade", item["decision_id"], round(item["pnl_usd"] * 1e6), result["status"]
                )
        return status == 503

    def _is_answered(self) -> bool:
        """Asks one decision, written down like a bot's; whether it was answered."""
        self.probes += 1
        decision_id, unit = f"probe-{self.probes}", f"probe-{self.probes}"
        now_ms = time.time_ns() // 1_000_000
        self.diary.write("ask", decision_id, unit, "injector", True)
        body = {"unit": unit, "history": [[0.1] * 18], "started_at": now_ms, "bot": "injector"}
        status, told = self.site.send("POST", "/v1/decide", {**body, "decision_id": decision_id}, 2.0)
        if status == 200:
            answer = {name: told[name] for name in ("arm", "action", "binding")}
            self.diary.write("told", decision_id, {**answer, "stale": told["split_stale"]}, 0.0)
        return status == 200


@contextmanager
def splitting(site: Site, rng: random.Random, every_s: float) -> Iterator[list[int]]:
    """Changes the split again and again meanwhile; the list fills with the answers' statuses."""
    over, statuses = threading.Event(), list[int]()

    def work() -> None:
        while not over.wait(every_s):
            body = {"arm": "transformer", "share": str(rng.randrange(1, 10) / 10), "reason": "chaos"}
            statuses.append(site.send("PUT", "/v1/experiments/main/split", body, 10.0)[0])

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield statuses
    finally:
        over.set()
        thread.join(15)
