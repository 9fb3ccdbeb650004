"""The child processes of `abctl serve`: an HTTP worker, and the shipper that carries journals to SQL.

Nothing heavy is imported before a child has learned how to die with its supervisor. Its imports run while the
supervisor still prepares SQL and Valkey; only the word GO lets it begin.
"""

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from cli.log_lines import log_to_stderr
from cli.metrics_room import share_metrics

DEATH_GRACE_S = 1.0
"""How long a child may still answer after its supervisor has died."""
WORDS_BYTES = 512
STEWARD_NICE = 10
"""How far a look gives way to decisions where the machine has too little to do both."""
_NEW_OBJECTS = 20_000
"""More objects than this must be new before a worker looks for garbage."""
GO = b"go\n"
READY = b"ready\n"


class ProcessConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a child reads from its stdin: not from arguments or environment, for it may hold a password.

    life_fd ends when the supervisor dies. Into words_fd, a pipe of its own, a child writes READY, or a line
    that says why it is not, or why it cannot go on.
    """

    data_dir: str
    metrics_dir: str
    sql_url: str
    redis_url: str
    experiment: str
    split_lead_s: float
    fsync_interval_s: float
    journal_quota_bytes: int
    decisions_at_once: int
    overload: Literal["refuse", "control"]
    arm_timeout_ms: float
    pepper: bytes
    is_local: bool
    listen_fd: int
    life_fd: int
    rollout_every_s: float = 60.0
    webhook_url: str = ""
    webhook_secret: str = ""
    words_fd: int = -1


def follow(life_fd: int, grace_s: float) -> None:
    """TERM for this process, KILL after grace_s, when the other end of a pipe closes: its owner has died."""

    def watch() -> None:
        os.read(life_fd, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="life", daemon=True).start()


def worker() -> None:
    """One HTTP worker on the inherited socket."""
    _run(_serve_http)


def shipper() -> None:
    """Carries this node's journals to the stream, and the stream to SQL."""
    _run(_carry)


def steward() -> None:
    """Looks after open rollouts, and tells a webhook of them."""
    _run(_attend)


def _run(work: Callable[[ProcessConfig], None]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # its meaning is the supervisor's business
    told = sys.stdin.buffer.readline()
    if not told:
        sys.exit("the service ended before it was prepared")
    config = msgspec.json.decode(told, type=ProcessConfig)
    follow(config.life_fd, DEATH_GRACE_S)
    log_to_stderr()
    try:
        work(config)
    except Exception as error:
        _say(config, f"{type(error).__name__}: {error}")
        raise


def _say(config: ProcessConfig, words: str) -> None:
    """To the supervisor; one that has died does not listen, and `follow` ends us."""
    with contextlib.suppress(BrokenPipeError):
        os.write(config.words_fd, " ".join(words.split()).encode()[:WORDS_BYTES] + b"\n")


def _await_go() -> None:
    if sys.stdin.buffer.readline() != GO:
        sys.exit("the service ended before it was prepared")


def _serve_http(config: ProcessConfig) -> None:
    share_metrics(Path(config.metrics_dir))
    import uvicorn

    from cli.draining import DrainingServer
    from cli.open_files import CONNECTIONS, room_for_connections
    from router.app import create_app, protocol_of
    from router.connection import Limits
    from router.overload import Overload
    from router.service import ServiceConfig, build
    from store.bindings import RedisFirstSight
    from store.clock import wall_clock_us
    from store.data_dir import DataDir
    from store.lives import RedisLives
    from store.sql import open_engine

    _await_go()
    service = build(
        ServiceConfig(
            data_dir=DataDir(Path(config.data_dir)),
            default_experiment=config.experiment,
            pepper=config.pepper,
            is_local=config.is_local,
            split_lead_s=config.split_lead_s,
            fsync_interval_s=config.fsync_interval_s,
            journal_quota_bytes=config.journal_quota_bytes,
            overload=Overload(config.decisions_at_once, config.overload),
            arm_timeout_s=config.arm_timeout_ms / 1000,
        ),
        open_engine(config.sql_url),
        RedisFirstSight(config.redis_url),
        wall_clock_us,
        RedisLives(config.redis_url),
    )

    def say_whether_ready() -> None:
        _calm_collector()
        _say(config, "; ".join(service.missing()) or READY.decode())

    server = DrainingServer(
        uvicorn.Config(
            create_app(service),
            loop="uvloop",
            http=protocol_of(service, Limits(connections=room_for_connections(CONNECTIONS))),
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        ),
        say_whether_ready,
    )
    server.run(sockets=[socket.socket(fileno=config.listen_fd)])
    if not server.started:
        raise RuntimeError("the HTTP server did not start: see the lines above")


def _calm_collector() -> None:
    """What is loaded by now stays, and what comes leaves no cycles: looking for garbage is mostly in vain."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 20, 50)


def _carry(config: ProcessConfig) -> None:
    share_metrics(Path(config.metrics_dir))
    from cli.carrier import Carrier
    from store.clock import wall_clock_us
    from store.data_dir import DataDir
    from store.sql import open_kept_engine

    _await_go()
    data_dir = DataDir(Path(config.data_dir))
    carrier = Carrier(data_dir, open_kept_engine(config.sql_url), config.redis_url, wall_clock_us)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: carrier.stop())
    _calm_collector()
    carrier.run()


def _attend(config: ProcessConfig) -> None:
    os.nice(STEWARD_NICE)
    from cli.stewarding import attend

    _await_go()
    attend(config)
