"""The child processes of `abctl serve`: an HTTP worker, and the shipper that carries journals to SQL."""

import json
import logging
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

from cli.supervisor import CONFIG_ENV


def configuration() -> dict[str, Any]:
    """What the supervisor handed over; taken out of the environment, for it may hold a password."""
    config: dict[str, Any] = json.loads(os.environ.pop(CONFIG_ENV))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    return config


def die_with(life_fd: int) -> None:
    """Ends this process when the supervisor's end of a pipe closes, however the supervisor died."""

    def watch() -> None:
        os.read(life_fd, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="life", daemon=True).start()


def worker() -> None:
    """One HTTP worker on the inherited socket."""
    config = configuration()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = config["metrics_dir"]
    import uvicorn

    from router.app import create_app
    from router.service import ServiceConfig, build
    from store.bindings import RedisFirstSight
    from store.clock import wall_clock_us
    from store.data_dir import DataDir
    from store.sql import open_engine

    die_with(config["life_fd"])
    service = build(
        ServiceConfig(
            data_dir=DataDir(Path(config["data_dir"])),
            default_experiment=config["experiment"],
            split_lead_s=config["split_lead_s"],
            fsync_interval_s=config["fsync_interval_s"],
            journal_quota_bytes=config["journal_quota_bytes"],
        ),
        open_engine(config["sql_url"]),
        RedisFirstSight(config["redis_url"]),
        wall_clock_us,
    )
    listener = socket.socket(fileno=config["listen_fd"])
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(service),
            loop="uvloop",
            http="httptools",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        )
    )
    server.run(sockets=[listener])


def shipper() -> None:
    """Carries this node's journals to the stream, and the stream to SQL."""
    config = configuration()
    from cli.carrier import Carrier
    from store.clock import wall_clock_us
    from store.data_dir import DataDir
    from store.sql import open_engine

    die_with(config["life_fd"])
    data_dir = DataDir(Path(config["data_dir"]))
    carrier = Carrier(data_dir, open_engine(config["sql_url"]), config["redis_url"], wall_clock_us)
    signal.signal(signal.SIGTERM, lambda *_: carrier.stop())
    signal.signal(signal.SIGINT, lambda *_: carrier.stop())
    carrier.run()
