"""`abctl serve`."""

import json
import logging
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli.events import Event, Tell, tell_people, tell_programs
from cli.options import DataDirOption

if TYPE_CHECKING:
    from socket import socket

    from cli.settings import Settings
    from cli.supervisor import Supervisor
    from store.data_dir import DataDir
    from store.valkey import PrivateValkey

READY_TIMEOUT_S = 60.0
_DEATHS_AT_START = 2
_PORT_PATIENCE_S = 5.0


def serve(
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 8711]")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    workers: Annotated[int | None, typer.Option(help="HTTP worker processes. [default: 1]")] = None,
    data_dir: DataDirOption = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Tell every event on stdout as a line of JSON: ready, stopping, ..."),
    ] = False,
) -> None:
    """Run the service: HTTP workers, the private Valkey and the shipper to SQL.

    Example: abctl serve --port 8711 --data-dir .abctl
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_now)
    from cli.processes import LOG_FORMAT
    from cli.settings import read_settings

    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    settings = read_settings(port=port, host=host, workers=workers, data_dir=data_dir)
    tell = tell_programs if as_json else tell_people
    with prepared(settings) as (supervisor, url):
        supervisor.start()
        _announce(supervisor, url, settings.place, tell)
        supervisor.run()
        tell(Event("stopping", "abctl stops"))
    tell(Event("stopped", "abctl has stopped"))


def _end_now(_number: int, _frame: object) -> None:
    """TERM or Ctrl-C before there is anything to stop in order: what was opened is closed."""
    raise SystemExit(0)


def _announce(supervisor: "Supervisor", url: str, place: "DataDir", tell: Tell) -> None:
    """Says where the service answers, once it does."""
    facts = {"url": url, "pid": os.getpid(), "data_dir": str(place.root.resolve())}
    if _is_ready_in_time(supervisor, url):
        said = f"abctl serves at {url} (data in {place.root}); stop with Ctrl-C"
        tell(Event("ready", said, facts))
    elif not supervisor.is_stopping:
        waited = f"{READY_TIMEOUT_S:.0f} s"
        said = f"abctl listens at {url} but is not ready after {waited}: {url}/readyz says why"
        tell(Event("not_ready", said, {**facts, "waited_s": READY_TIMEOUT_S}))


def _is_ready_in_time(supervisor: "Supervisor", url: str) -> bool:
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline_s and not supervisor.is_stopping:
        if _is_ready(url):
            return True
        supervisor.tend()
        supervisor.check_start(_DEATHS_AT_START)
        time.sleep(0.05)
    return False


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=0.5) as reply:  # noqa: S310
            return bool(json.load(reply)["status"] == "ready")
    except (urllib.error.URLError, OSError, ValueError):
        return False


@contextmanager
def prepared(settings: "Settings") -> Generator[tuple["Supervisor", str]]:
    """Everything a service needs, opened under the data directory's lock; closed again afterwards."""
    from cli.listening import listening_socket, url_of
    from store.clock import wall_clock_us
    from store.data_dir import ServiceFile, owned, read_service, write_service
    from store.valkey import PrivateValkey

    place = settings.place.prepare()
    with ExitStack() as stack:
        stack.enter_context(owned(place))
        patience_s = 0.0 if read_service(place) is None else _PORT_PATIENCE_S
        listener = stack.enter_context(listening_socket(settings.host, settings.port, patience_s))
        valkey = None if settings.redis_url else PrivateValkey(place)
        if valkey is not None:
            stack.callback(valkey.stop)
        supervisor = _supervisor(settings, listener, valkey, stack)
        stack.callback(supervisor.stop)
        supervisor.tend_children()
        if valkey is not None:
            valkey.ensure()
        _prepare_database(settings)
        url = url_of(listener, settings.host)
        write_service(place, ServiceFile(url, os.getpid(), wall_clock_us()))
        stack.callback(place.service_file.unlink, missing_ok=True)
        yield supervisor, url


def _prepare_database(settings: "Settings") -> None:
    from cli.gateway import opened_engine
    from cli.starters import ensure_champions

    engine = opened_engine(settings)
    ensure_champions(engine)
    engine.dispose()


def _supervisor(
    settings: "Settings", listener: "socket", valkey: "PrivateValkey | None", stack: ExitStack
) -> "Supervisor":
    import msgspec

    from cli.processes import ProcessConfig
    from cli.supervisor import Child, Supervisor
    from store.valkey import private_url

    place = settings.place
    shutil.rmtree(place.metrics, ignore_errors=True)
    place.metrics.mkdir(mode=0o700)
    life_fd, words_fd, said_fd = _pipes(stack)
    config = ProcessConfig(
        data_dir=str(place.root.resolve()),
        metrics_dir=str(place.metrics.resolve()),
        sql_url=settings.sql_url,
        redis_url=settings.redis_url or private_url(place),
        experiment=settings.experiment,
        split_lead_s=settings.split_lead_s,
        fsync_interval_s=settings.fsync_interval_s,
        journal_quota_bytes=settings.journal_quota_bytes,
        listen_fd=listener.fileno(),
        life_fd=life_fd,
        words_fd=words_fd,
    )
    said = msgspec.json.encode(config)
    shared = (life_fd, words_fd)
    workers = [Child("worker", said, (listener.fileno(), *shared)) for _ in range(settings.workers)]
    return Supervisor(listener, valkey, workers, Child("shipper", said, shared), said_fd)


def _pipes(stack: ExitStack) -> tuple[int, int, int]:
    """life_fd, which closes when we die; words_fd, where children say why they end; its other end."""
    life_read, life_write = os.pipe()
    words_read, words_write = os.pipe()
    os.set_blocking(words_read, False)
    for fd in (life_read, life_write, words_read, words_write):
        stack.callback(os.close, fd)
    return life_read, words_write, words_read
