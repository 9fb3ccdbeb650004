"""`abctl serve`."""

import json
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DataDirOption

if TYPE_CHECKING:
    from cli.settings import Settings
    from cli.supervisor import Supervisor

READY_TIMEOUT_S = 60.0


def serve(
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 8711]")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    workers: Annotated[int | None, typer.Option(help="HTTP worker processes. [default: 1]")] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Run the service: HTTP workers, the private Valkey and the shipper to SQL.

    Example: abctl serve --port 8711 --data-dir .abctl
    """
    from cli.settings import read_settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    settings = read_settings(port=port, host=host, workers=workers, data_dir=data_dir)
    with prepared(settings) as (supervisor, url):
        supervisor.start()
        ready = _wait_until_ready(url, supervisor)
        typer.echo(
            f"abctl serves at {url} (data in {settings.data_dir}); stop with Ctrl-C"
            if ready
            else _not_ready(url)
        )
        supervisor.run()


def _not_ready(url: str) -> str:
    return f"abctl listens at {url} but is not ready after {READY_TIMEOUT_S:.0f} s: {url}/readyz says why"


@contextmanager
def prepared(settings: "Settings") -> Iterator[tuple["Supervisor", str]]:
    """Everything a service needs, opened under the data directory's lock; closed again afterwards."""
    from cli.gateway import opened_engine
    from cli.starters import ensure_champions
    from cli.supervisor import Child, Supervisor, listening_socket
    from store.clock import wall_clock_us
    from store.data_dir import ServiceFile, owned, write_service
    from store.valkey import PrivateValkey, private_url

    data_dir = settings.place.prepare()
    with owned(data_dir):
        valkey = None if settings.redis_url else PrivateValkey(data_dir)
        if valkey is not None:
            valkey.ensure()
        engine = opened_engine(settings)
        ensure_champions(engine)
        engine.dispose()
        listener = listening_socket(settings.host, settings.port)
        life_read, life_write = os.pipe()
        os.set_inheritable(life_read, True)
        shutil.rmtree(data_dir.metrics, ignore_errors=True)
        data_dir.metrics.mkdir(mode=0o700)
        config: dict[str, object] = {
            "data_dir": str(data_dir.root.resolve()),
            "metrics_dir": str(data_dir.metrics.resolve()),
            "sql_url": settings.sql_url,
            "redis_url": settings.redis_url or private_url(data_dir),
            "experiment": settings.experiment,
            "split_lead_s": settings.split_lead_s,
            "fsync_interval_s": settings.fsync_interval_s,
            "journal_quota_bytes": settings.journal_quota_bytes,
            "listen_fd": listener.fileno(),
            "life_fd": life_read,
        }
        shared = (listener.fileno(), life_read)
        workers = [Child("worker", config, shared) for _ in range(settings.workers)]
        shipper = Child("shipper", config, (life_read,))
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{shown}:{listener.getsockname()[1]}"
        write_service(data_dir, ServiceFile(url, os.getpid(), wall_clock_us()))
        try:
            yield Supervisor(data_dir, valkey, workers, shipper), url
        finally:
            listener.close()
            os.close(life_write)
            os.close(life_read)


def _wait_until_ready(url: str, supervisor: "Supervisor") -> bool:
    local = url.replace("//0.0.0.0", "//127.0.0.1").replace("//[::]", "//[::1]")
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and not supervisor.is_stopping:
        try:
            with urllib.request.urlopen(f"{local}/readyz", timeout=2.0) as reply:  # noqa: S310
                return bool(json.load(reply)["status"] == "ready")
        except (urllib.error.URLError, OSError, ValueError):
            time.sleep(0.05)
    return False
