"""`abctl serve`."""

import json
import logging
import os
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cli.events import Event, Tell, tell_people, tell_programs
from cli.options import DataDirOption

if TYPE_CHECKING:
    from socket import socket

    from cli.child import Child
    from cli.settings import Settings
    from cli.supervisor import Supervisor
    from store.data_dir import DataDir

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
    """Run the service: HTTP workers, the private Valkey, the shipper to SQL, and looks at open rollouts.

    Example: abctl serve --port 8711 --data-dir .abctl

    TERM or Ctrl-C ends it: what was asked is answered, and what is journaled goes to SQL first.

    HUP replaces the workers one by one, as after an upgrade of abctl: none ends before its successor is
    ready, and it sends its callers away with `Connection: close`. The process to signal is the "pid" in
    service.json of the data directory. Settings stay those of the start; one more worker lives meanwhile.
    """
    interruption = Interruption()
    interruption.listen()
    from cli.log_lines import log_to_stderr
    from cli.settings import read_settings
    from cli.webhook_settings import check_webhook

    log_to_stderr()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    settings = read_settings(port=port, host=host, workers=workers, data_dir=data_dir)
    check_webhook(settings)
    tell = tell_programs if as_json else tell_people
    with prepared(settings, tell) as (supervisor, url):
        supervisor.start()
        interruption.check()
        _announce(supervisor, url, settings.place)
        supervisor.run()
        tell(Event("stopping", "abctl stops"))
    tell(Event("stopped", "abctl has stopped"))


@dataclass(slots=True)
class Interruption:
    """The first signal to end before there is anything to stop in order: what was opened is closed.

    Later ones do not disturb that. Python swallows what is raised in a finalizer or in the callback of a weak
    reference, as imports and connections have them: it is not a fault to print, and `check` raises it again.
    """

    was_asked: bool = False

    def listen(self) -> None:
        """From here on; `nohup` stays in force."""
        sys.unraisablehook = self._on_swallowed
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self._end)

    def check(self) -> None:
        """Ends, if that was asked for."""
        if self.was_asked:
            raise SystemExit(0)

    def _end(self, _number: int, _frame: object) -> None:
        if not self.was_asked:
            self.was_asked = True
            raise SystemExit(0)

    def _on_swallowed(self, fault: "sys.UnraisableHookArgs") -> None:
        if not (self.was_asked and isinstance(fault.exc_value, SystemExit)):
            sys.__unraisablehook__(fault)


def _announce(supervisor: "Supervisor", url: str, place: "DataDir") -> None:
    """Says where the service answers, once it does."""
    facts = {"url": url, "pid": os.getpid(), "data_dir": str(place.root.resolve())}
    if _is_ready_in_time(supervisor, url):
        said = f"abctl serves at {url} (data in {place.root}); stop with Ctrl-C"
        supervisor.tell(Event("ready", said, facts))
    elif not supervisor.is_stopping:
        waited = f"{READY_TIMEOUT_S:.0f} s"
        said = f"abctl listens at {url} but is not ready after {waited}: {url}/readyz says why"
        supervisor.tell(Event("not_ready", said, {**facts, "waited_s": READY_TIMEOUT_S}))


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
def prepared(settings: "Settings", tell: Tell) -> Generator[tuple["Supervisor", str]]:
    """Everything a service needs, opened under the data directory's lock; closed again afterwards."""
    from cli.database import check_experiment_early
    from cli.listening import listening_socket, url_of
    from cli.supervisor import Supervisor
    from store.clock import wall_clock_us
    from store.data_dir import ServiceFile, owned, read_service, write_service
    from store.valkey import PrivateValkey

    check_experiment_early(settings)
    place = settings.place
    with ExitStack() as stack:
        is_new = not place.root.exists()  # then a port in use leaves nothing behind
        if not is_new:
            stack.enter_context(owned(place.prepare()))
        patience_s = 0.0 if read_service(place) is None else _PORT_PATIENCE_S
        listener = stack.enter_context(listening_socket(settings.host, settings.port, patience_s))
        if is_new:
            stack.enter_context(owned(place.prepare()))
        valkey = None if settings.redis_url else PrivateValkey(place)
        if valkey is not None:
            stack.callback(valkey.stop)
        supervisor = Supervisor(listener, valkey, *_children(settings, listener, _life(stack)), tell)
        stack.callback(supervisor.stop)
        supervisor.tend_children()
        if valkey is not None:
            valkey.ensure()
        _prepare_database(settings, listener)
        url = url_of(listener, settings.host)
        write_service(place, ServiceFile(url, os.getpid(), wall_clock_us()))
        stack.callback(place.service_file.unlink, missing_ok=True)
        yield supervisor, url


def _prepare_database(settings: "Settings", listener: "socket") -> None:
    from cli.database import check_experiment, opened_engine
    from cli.entrance import checked
    from cli.starters import ensure_champions
    from cli.terminal import note
    from store.pepper import pepper_of

    engine = opened_engine(settings)
    check_experiment(settings, engine)
    ensure_champions(engine)
    warning = checked(listener, engine, pepper_of(settings.key_pepper, settings.place))
    engine.dispose()
    if warning:
        note(warning)


def _children(settings: "Settings", listener: "socket", life_fd: int) -> "tuple[list[Child], Child, Child]":
    """The workers, the shipper and the steward."""
    from cli.child import Child
    from cli.entrance import is_local
    from cli.processes import ProcessConfig
    from cli.webhook_settings import webhook_secret_of
    from store.pepper import pepper_of
    from store.valkey import private_url

    place = settings.place
    shutil.rmtree(place.metrics, ignore_errors=True)
    place.metrics.mkdir(mode=0o700)
    config = ProcessConfig(
        data_dir=str(place.root.resolve()),
        metrics_dir=str(place.metrics.resolve()),
        sql_url=settings.sql_url,
        redis_url=settings.redis_url or private_url(place),
        experiment=settings.experiment,
        split_lead_s=settings.split_lead_s,
        fsync_interval_s=settings.fsync_interval_s,
        journal_quota_bytes=settings.journal_quota_bytes,
        decisions_at_once=settings.decisions_at_once,
        overload=settings.overload,
        arm_timeout_ms=settings.arm_timeout_ms,
        pepper=pepper_of(settings.key_pepper, place),
        is_local=is_local(listener),
        listen_fd=listener.fileno(),
        life_fd=life_fd,
        rollout_every_s=settings.rollout_every_s,
        webhook_url=settings.webhook_url,
        webhook_secret=webhook_secret_of(settings),
    )
    workers = [Child("worker", config, (listener.fileno(), life_fd)) for _ in range(settings.workers)]
    shipper, steward = (Child(role, config, (life_fd,)) for role in ("shipper", "steward"))
    return workers, shipper, steward


def _life(stack: ExitStack) -> int:
    """The end of a pipe that is at its end when we die."""
    life_read, life_write = os.pipe()
    for fd in (life_read, life_write):
        stack.callback(os.close, fd)
    return life_read
