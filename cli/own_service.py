"""A service of one's own as a child process, and `abctl` commands against it, as a user would type them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from cli.failures import CommandFailed, Unavailable, sentence_in
from store.data_dir import DataDir, read_service

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
_COMMAND = "from cli.main import main; main()"
_OF_ANOTHER = {
    *("ABCTL_URL", "ABCTL_HOST", "ABCTL_PORT", "ABCTL_WORKERS", "ABCTL_API_KEY", "ABCTL_KEY_PEPPER"),
    *("ABCTL_DATABASE_URL", "ABCTL_REDIS_URL", "ABCTL_EXPERIMENT"),
}
"""Settings of the user's own service: one of ours must not touch its data."""
_FOLLOWED = f"from cli.processes import follow; follow({{fd}}, {STOP_TIMEOUT_S}); {_COMMAND}"


@dataclass(slots=True)
class OwnService:
    """`abctl serve` with its data in `data_dir`; ended by `stop`, and in order too when this process dies.

    environment: settings besides the data directory. flags: more words for `abctl serve`.
    """

    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None
    url: str = ""
    _life_fd: int = -1

    def start(self, port: int = 0) -> None:
        """Starts the service (port 0: a free one) and waits until it is ready."""
        self.launch(port)
        try:
            self.url = self._wait_until_ready()
        except Unavailable:
            self.stop()
            raise

    def launch(self, port: int = 0) -> "subprocess.Popen[bytes]":
        """Starts the service and waits for nothing."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._forget()
        life_fd, self._life_fd = os.pipe()
        python = [sys.executable, "-P", "-c", _FOLLOWED.format(fd=life_fd)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603
                [*python, "serve", "--port", str(port), *self.flags],
                env=self._environment(),
                pass_fds=(life_fd,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        os.close(life_fd)
        return self.process

    def stop(self) -> None:
        """TERM, and waits until everything has ended."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None
        self._forget()

    def command(self, *words: str) -> str:
        """What `abctl WORDS` prints on stdout."""
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-P", "-c", _COMMAND, *words],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode != 0:
            said = sentence_in(done.stderr.strip()) or done.stdout.strip()
            raise CommandFailed(f"abctl {' '.join(words)} failed: {said}")
        return done.stdout

    @property
    def log(self) -> Path:
        """What the service says."""
        return DataDir(self.data_dir).log

    def _forget(self) -> None:
        if self._life_fd >= 0:
            os.close(self._life_fd)
        self._life_fd = -1

    def _environment(self) -> dict[str, str]:
        own = {k: v for k, v in os.environ.items() if k not in _OF_ANOTHER}
        return {**own, "ABCTL_DATA_DIR": str(self.data_dir.resolve()), **self.environment}

    def _wait_until_ready(self) -> str:
        process = self.process
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while process is not None and process.poll() is None and time.monotonic() < deadline_s:
            announced = read_service(DataDir(self.data_dir))
            if announced is not None and announced.pid == process.pid and _is_ready(announced.url):
                return announced.url
            time.sleep(0.05)
        raise Unavailable(f"the service did not become ready: {self._last_line()} (more in {self.log})")

    def _last_line(self) -> str:
        with contextlib.suppress(FileNotFoundError, IndexError):
            return self.log.read_text(errors="replace").splitlines()[-1]
        return "it said nothing"


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2.0) as reply:  # noqa: S310
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
