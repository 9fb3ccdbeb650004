"""One child process of `abctl serve`: started, heard, started again after a death, ended."""

import contextlib
import logging
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import msgspec

from cli.processes import GO, READY, ProcessConfig

GRACE_S = 10.0
_LIVED_S = 10.0
_PAUSE_FIRST_S = 0.5
_PAUSE_MAX_S = 10.0
_HEARD_BYTES = 1 << 16
_NO_FD = -1
_LOG = logging.getLogger("abctl.serve")


def restart_pause_s(quick_deaths: int) -> float:
    """How long to wait before the next start: nothing after a long life, then doubling up to _PAUSE_MAX_S."""
    return 0.0 if quick_deaths == 0 else min(_PAUSE_FIRST_S * 2.0 ** (quick_deaths - 1), _PAUSE_MAX_S)


@dataclass(slots=True)
class Child:
    """role: a function of cli.processes. config: what it reads from stdin. fds: what it inherits.

    is_ready: its process said that it can answer. words: the last else that it said, such as why it ends.
    """

    role: str
    config: ProcessConfig
    fds: tuple[int, ...]
    process: "subprocess.Popen[bytes] | None" = None
    is_ready: bool = False
    words: str = ""
    started_s: float = 0.0
    deaths: int = 0
    quick_deaths: int = 0
    start_at_s: float = 0.0
    may_go: bool = False
    _words_fd: int = _NO_FD
    _asked_s: float | None = None

    def tend(self, now_s: float) -> None:
        """Notices a death and starts the process again when its pause is over. now_s: a monotonic clock."""
        if self.process is not None:
            code = self.process.poll()
            self._hear()
            if code is None:
                self._kill_when_overdue(now_s)
                return
            self._bury()
            if self._asked_s is None:
                self._count_death(now_s)
                pause_s = self.start_at_s - now_s
                _LOG.warning("%s ended with %d; next start in %.1f s", self.role, code, pause_s)
        if now_s >= self.start_at_s:
            self.start(now_s)

    def _count_death(self, now_s: float) -> None:
        self.deaths += 1
        self.quick_deaths = self.quick_deaths + 1 if now_s - self.started_s < _LIVED_S else 0
        self.start_at_s = now_s + restart_pause_s(self.quick_deaths)

    def start(self, now_s: float) -> None:
        """Starts the process, which waits for `go` unless that was said before.

        Where the system has no process or file left, that counts as a death: no reason to end the others.
        """
        self.started_s, self._asked_s = now_s, None
        try:
            self._launch()
        except OSError as error:
            self._bury()
            self.words = f"it cannot be started: {error}"
            self._count_death(now_s)
            _LOG.error("%s: %s; next start in %.1f s", self.role, self.words, self.start_at_s - now_s)

    def _launch(self) -> None:
        self._words_fd, said_fd = os.pipe()
        os.set_blocking(self._words_fd, False)
        try:
            self.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-c", f"from cli.processes import {self.role}; {self.role}()"],
                pass_fds=(*self.fds, said_fd),
                stdin=subprocess.PIPE,
                stdout=2,
                start_new_session=True,
            )
        finally:
            os.close(said_fd)
        config = msgspec.structs.replace(self.config, words_fd=said_fd)
        self._tell(self.process, msgspec.json.encode(config) + b"\n")
        if self.may_go:
            self._tell(self.process, GO)

    def go(self) -> None:
        """Lets it begin, and every later process of this child at once: all that it needs is there."""
        self.may_go = True
        if self.process is not None:
            self._tell(self.process, GO)

    def successor(self) -> "Child":
        """Another child in the same role, which may begin at once."""
        return Child(self.role, self.config, self.fds, may_go=True)

    def lives(self) -> bool:
        """Whether its process runs; also hears what it said."""
        if self.process is None:
            return False
        has_ended = self.process.poll() is not None
        self._hear()
        return not has_ended

    def ask_to_end(self, now_s: float) -> None:
        """TERM."""
        self._asked_s = now_s
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def has_ended(self, now_s: float) -> bool:
        """Whether what was asked to end did; what does not within the grace is killed."""
        if self.lives():
            self._kill_when_overdue(now_s)
            return False
        self._bury()
        return True

    def end(self) -> None:
        """TERM, and KILL after the grace; waits."""
        self.ask_to_end(time.monotonic())
        if self.process is None:
            return
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._kill()
            self.process.wait()
        self._bury()

    def _kill_when_overdue(self, now_s: float) -> None:
        if self._asked_s is not None and now_s - self._asked_s > GRACE_S:
            self._asked_s = math.inf  # once is enough
            self._kill()

    def _kill(self) -> None:
        _LOG.warning("%s did not end within %.0f s and is killed; nothing is lost", self.role, GRACE_S)
        if self.process is not None:
            self.process.kill()

    def _bury(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        if self._words_fd != _NO_FD:
            os.close(self._words_fd)
        self.process, self._words_fd, self.is_ready = None, _NO_FD, False

    def _hear(self) -> None:
        """Takes in what the process said since the last time: whole lines, for short writes are atomic."""
        if self._words_fd == _NO_FD:
            return
        with contextlib.suppress(BlockingIOError):
            for line in os.read(self._words_fd, _HEARD_BYTES).splitlines(keepends=True):
                if line == READY:
                    self.is_ready = True
                else:
                    self.words = line.decode(errors="replace").strip()

    @staticmethod
    def _tell(process: "subprocess.Popen[bytes]", line: bytes) -> None:
        """A child that has died cannot listen; `tend` notices."""
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(process.stdin.fileno(), line)
