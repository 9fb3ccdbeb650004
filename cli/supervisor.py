"""`abctl serve`: owns the listening socket, the private Valkey and the child processes; does no work itself."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

from store.data_dir import DataDir
from store.valkey import PrivateValkey, die_with_parent

CONFIG_ENV = "ABCTL_PROCESS"
BACKLOG = 2048
GRACE_S = 10.0
_RESTART_PAUSE_S = 0.5
_BIND_PATIENCE_S = 8.0
_LOG = logging.getLogger("abctl.serve")


@dataclass(slots=True)
class Child:
    """One child process that is to live as long as the service. role: an entry of cli.processes."""

    role: str
    config: dict[str, object]
    pass_fds: tuple[int, ...]
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0

    def ensure(self) -> bool:
        """Starts the process unless it lives; returns whether it had to."""
        if self.process is not None and self.process.poll() is None:
            return False
        if time.monotonic() - self.started_at < _RESTART_PAUSE_S:
            return False
        self.started_at = time.monotonic()
        environment = {**os.environ, CONFIG_ENV: json.dumps(self.config)}
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", f"from cli.processes import {self.role}; {self.role}()"],
            env=environment,
            pass_fds=self.pass_fds,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
        return True

    def stop(self, grace_s: float) -> None:
        """TERM, and KILL after the grace."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(slots=True)
class Supervisor:
    """Keeps the service's processes alive until TERM or INT."""

    data_dir: DataDir
    valkey: PrivateValkey | None
    workers: list[Child]
    shipper: Child
    _stopping: bool = False
    _restarts: int = field(default=0)

    @property
    def is_stopping(self) -> bool:
        """Whether TERM or INT has come."""
        return self._stopping

    def start(self) -> None:
        """Starts everything once. From here on TERM and INT mean an orderly stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for child in (self.shipper, *self.workers):
            child.ensure()

    def run(self) -> None:
        """Tends the children; returns after an orderly stop."""
        try:
            while not self._stopping:
                self._tend()
                time.sleep(0.1)
        finally:
            self._stop_all()

    def _tend(self) -> None:
        if self.valkey is not None and self.valkey.ensure():
            _LOG.warning("the private Valkey had died and was started again")
        for child in (self.shipper, *self.workers):
            if child.ensure():
                self._restarts += 1
                _LOG.warning("%s had died and was started again", child.role)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _stop_all(self) -> None:
        for worker in self.workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.process.terminate()
        for worker in self.workers:
            worker.stop(GRACE_S)
        self.shipper.stop(GRACE_S)
        if self.valkey is not None:
            self.valkey.stop()
        with contextlib.suppress(FileNotFoundError):
            self.data_dir.service_file.unlink()


def listening_socket(host: str, port: int) -> socket.socket:
    """The service's socket. Waits a little where a service that was just killed still holds the port."""
    deadline = time.monotonic() + _BIND_PATIENCE_S
    while True:
        try:
            return _bound(host, port)
        except OSError as error:
            if time.monotonic() > deadline:
                from cli.failures import Conflict

                raise Conflict(
                    f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
                ) from error
            time.sleep(0.1)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.set_inheritable(True)
    return listener
