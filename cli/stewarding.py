"""The steward of `abctl serve`: open rollouts, and the webhook. No decision waits for it, or needs it."""

import os
import signal
import threading
import uuid
from pathlib import Path

from cli.processes import ProcessConfig
from router.steward import Steward, Terms
from store.clock import wall_clock_us
from store.data_dir import DataDir
from store.sql import open_kept_engine
from store.stream import open_redis

POLL_S = 1.0
REDIS_PATIENCE_S = 1.0
_NAME_CHARACTERS = 8


def attend(config: ProcessConfig) -> None:
    """Until TERM. A look that is under way is finished, if the supervisor's patience lasts."""
    is_over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_over.set())
    steward = Steward(_terms(config), open_redis(config.redis_url, REDIS_PATIENCE_S))
    if config.webhook_url:
        _tell(config)
    while not is_over.wait(POLL_S):
        steward.round()
    steward.release()


def _terms(config: ProcessConfig) -> Terms:
    place = DataDir(Path(config.data_dir))
    node = place.node_id()
    return Terms(
        engine=open_kept_engine(config.sql_url),
        root=place.root,
        actor=f"serve/{node[:_NAME_CHARACTERS]}",
        holder=f"{node}-{os.getpid()}-{uuid.uuid4().hex}",
        clock=wall_clock_us,
        lead_us=round(config.split_lead_s * 1e6),
        every_us=round(config.rollout_every_s * 1e6),
    )


def _tell(config: ProcessConfig) -> None:
    from router.webhook import Teller, tell_beside, webhook_of

    hook = webhook_of(config.webhook_url, config.webhook_secret)
    tell_beside(Teller(open_kept_engine(config.sql_url), hook, wall_clock_us))
