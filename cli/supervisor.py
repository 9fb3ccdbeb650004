"""Keeps the processes of `abctl serve` alive, and ends them in order; does no work itself."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

from cli.failures import Unavailable
from cli.processes import GO, LAST_WORDS_BYTES
from store.errors import StoreUnavailable
from store.valkey import PrivateValkey

GRACE_S = 10.0
TEND_INTERVAL_S = 0.05
_LIVED_S = 10.0
_PAUSE_FIRST_S = 0.5
_PAUSE_MAX_S = 10.0
_LOG = logging.getLogger("abctl.serve")


def restart_pause_s(quick_deaths: int) -> float:
    """How long to wait before the next start: nothing after a long life, then doubling up to _PAUSE_MAX_S."""
    return 0.0 if quick_deaths == 0 else min(_PAUSE_FIRST_S * 2.0 ** (quick_deaths - 1), _PAUSE_MAX_S)


@dataclass(slots=True)
class Child:
    """One child process. role: a function of cli.processes. config: what it reads from stdin."""

    role: str
    config: bytes
    pass_fds: tuple[int, ...]
    process: "subprocess.Popen[bytes] | None" = None
    started_s: float = 0.0
    deaths: int = 0
    quick_deaths: int = 0
    start_at_s: float = 0.0
    may_go: bool = False

    def tend(self, now_s: float) -> None:
        """Notices a death and starts the process again when its pause is over. now_s: a monotonic clock."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            self.process = None
            self.deaths += 1
            self.quick_deaths = self.quick_deaths + 1 if now_s - self.started_s < _LIVED_S else 0
            self.start_at_s = now_s + restart_pause_s(self.quick_deaths)
            _LOG.warning("%s ended with %d; next start in %.1f s", self.role, code, self.start_at_s - now_s)
        if now_s >= self.start_at_s:
            self._start(now_s)

    def go(self) -> None:
        """Lets it begin, and every later process of this child at once: all that it needs is there."""
        self.may_go = True
        if self.process is not None:
            self._tell(self.process, GO)

    def ask_to_end(self) -> None:
        """TERM."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def end(self, grace_s: float) -> None:
        """TERM, and KILL after the grace."""
        self.ask_to_end()
        if self.process is None:
            return
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            _LOG.warning("%s did not end within %.0f s and is killed; nothing is lost", self.role, grace_s)
            self.process.kill()
            self.process.wait()

    def _start(self, now_s: float) -> None:
        self.started_s = now_s
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", f"from cli.processes import {self.role}; {self.role}()"],
            pass_fds=self.pass_fds,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._tell(self.process, self.config + b"\n")
        if self.may_go:
            self._tell(self.process, GO)

    @staticmethod
    def _tell(process: "subprocess.Popen[bytes]", line: bytes) -> None:
        """A child that has died cannot listen; `tend` notices."""
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(process.stdin.fileno(), line)


@dataclass(slots=True)
class Supervisor:
    """The processes of one service. words_fd: where children say why they cannot go on, not blocking."""

    listener: socket.socket
    valkey: PrivateValkey | None
    workers: list[Child]
    shipper: Child
    words_fd: int
    is_stopping: bool = False
    _valkey_at_s: float = field(default=0.0)

    def start(self) -> None:
        """Lets the children begin. From here on TERM and INT mean an orderly stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for child in (self.shipper, *self.workers):
            child.go()
        self.tend()

    def run(self) -> None:
        """Tends the children until TERM or INT."""
        while not self.is_stopping:
            self.tend()
            time.sleep(TEND_INTERVAL_S)

    def tend(self) -> None:
        """Starts again what has died."""
        self.tend_children()
        now_s = time.monotonic()
        if self.valkey is not None and now_s >= self._valkey_at_s:
            self._tend_valkey(self.valkey)

    def tend_children(self) -> None:
        """Before `start` this only begins their imports."""
        now_s = time.monotonic()
        for child in (self.shipper, *self.workers):
            child.tend(now_s)

    def check_start(self, deaths_allowed: int) -> None:
        """Raises Unavailable with the reason where a child cannot start."""
        for child in (self.shipper, *self.workers):
            if child.deaths > deaths_allowed:
                why = self._last_words() or "its last lines are above"
                raise Unavailable(f"the {child.role} ended {child.deaths} times at its start: {why}")

    def stop(self) -> None:
        """Refuses new requests, answers those in flight, carries the journals to SQL, ends all children."""
        self.listener.close()
        for worker in self.workers:
            worker.ask_to_end()
        for worker in self.workers:
            worker.end(GRACE_S)
        self.shipper.end(GRACE_S)

    def _tend_valkey(self, valkey: PrivateValkey) -> None:
        """Decisions need no Redis: where it does not come back, the service goes on and tries again."""
        try:
            if valkey.ensure():
                _LOG.warning("the private Valkey had ended and was started again")
        except StoreUnavailable as error:
            self._valkey_at_s = time.monotonic() + _PAUSE_MAX_S
            _LOG.error("%s; trying again in %.0f s", error, _PAUSE_MAX_S)

    def _last_words(self) -> str:
        try:
            said = os.read(self.words_fd, 16 * LAST_WORDS_BYTES).decode(errors="replace")
        except BlockingIOError:
            return ""
        return said.strip().rpartition("\n")[2]

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.is_stopping = True
