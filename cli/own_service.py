"""A service of one's own as a child process, and `abctl` commands against it, as a user would type them."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from cli.failures import CommandFailed, Unavailable

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
_ENTRY = [sys.executable, "-P", "-c", "from cli.main import main; main()"]


@dataclass(slots=True)
class OwnService:
    """`abctl serve` on a free port with its data in `data_dir`; ended by `stop`."""

    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    url: str = ""

    def start(self, port: int = 0) -> None:
        """Starts the service and waits until it is ready."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.data_dir / "service.json").unlink(missing_ok=True)
        with (self.data_dir / "service.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603
                [*_ENTRY, "serve", "--port", str(port)],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.url = self._wait_until_ready()

    def stop(self) -> None:
        """TERM, and waits until everything has ended."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def command(self, *words: str) -> str:
        """What `abctl WORDS` prints on stdout."""
        done = subprocess.run(  # noqa: S603
            [*_ENTRY, *words],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode != 0:
            raise CommandFailed(
                f"abctl {' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout

    def _environment(self) -> dict[str, str]:
        own = {k: v for k, v in os.environ.items() if k not in {"ABCTL_URL", "ABCTL_PORT"}}
        return {**own, "ABCTL_DATA_DIR": str(self.data_dir.resolve()), **self.environment}

    def _wait_until_ready(self) -> str:
        from store.data_dir import DataDir, read_service

        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            announced = read_service(DataDir(self.data_dir))
            if announced is not None and _is_ready(announced.url):
                return announced.url
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise Unavailable(f"the service did not become ready; see {self.data_dir / 'service.log'}")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2.0) as reply:  # noqa: S310
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
