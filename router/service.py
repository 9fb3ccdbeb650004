"""One HTTP worker: what it opens, and the loops that keep it current. Started by cli, never by itself."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from arms.artefact import read_artefact
from arms.errors import ArmError
from arms.protocol import Arm, loader_of
from arms.schema import MARKET_V1, StateSchema
from router import snapshot
from router.binding import Binder
from router.desk import Desk, new_known
from router.journals import Journals, sync_all
from router.kills import read_kills
from store import models
from store.bindings import FirstSight
from store.clock import Clock
from store.data_dir import DataDir
from store.errors import StoreError
from store.journal import Quota

SPLIT_POLL_S = 0.5
KILL_POLL_S = 0.25
QUOTA_POLL_S = 1.0
_LOG = logging.getLogger("abctl.router")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """Every knob of a worker, with its unit."""

    data_dir: DataDir
    default_experiment: str
    split_lead_s: float = 2.0
    fsync_interval_s: float = 0.05
    journal_quota_bytes: int = 2 << 30


@dataclass(slots=True)
class Service:
    """A worker's parts. `start` before the first request, `stop` after the last."""

    config: ServiceConfig
    engine: Engine
    first_sight: FirstSight
    clock: Clock
    desk: Desk
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    _loaded: dict[str, str] = field(default_factory=dict)

    async def start(self) -> None:
        """Loads the champions and starts the loops."""
        await asyncio.to_thread(self._refresh)
        loops: list[tuple[Callable[[], Awaitable[None]], float]] = [
            (self._poll_sql, SPLIT_POLL_S),
            (self._poll_kills, KILL_POLL_S),
            (self._sync, self.config.fsync_interval_s),
            (self._measure, QUOTA_POLL_S),
        ]
        self._tasks += [asyncio.create_task(_every(seconds, step)) for step, seconds in loops]

    async def stop(self) -> None:
        """Ends the loops and syncs the journals."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.desk.journals.close()
        self.engine.dispose()

    def is_ready(self) -> list[str]:
        """What is missing before this worker can answer; empty when it can."""
        controls = {view.experiment.control for view in self.desk.snapshot.views.values()}
        missing = [f"arm {arm} has no loaded model" for arm in sorted(controls - set(self.desk.arms))]
        age_s = (self.clock() - self.desk.snapshot.confirmed_at_us) / 1e6
        if age_s > 10 * self.config.split_lead_s:
            missing.append(f"the split was last confirmed {age_s:.0f} s ago: SQL does not answer")
        return missing

    async def _poll_sql(self) -> None:
        await asyncio.to_thread(self._refresh)

    def _refresh(self) -> None:
        """Reads splits and champions anew; on an error the last ones stay, and decisions say that they are stale."""
        try:
            fresh = snapshot.read(self.engine, self.clock())
        except (SQLAlchemyError, StoreError) as error:
            _LOG.warning("the split could not be confirmed: %s", error)
            return
        self.desk.snapshot = fresh
        self._load(fresh.champions)

    def _load(self, champions: dict[str, str]) -> None:
        for arm, model_id in champions.items():
            if self._loaded.get(arm) == model_id:
                continue
            try:
                loaded = load_model(self.engine, self.config.data_dir.models, model_id, self.desk.schema)
            except (StoreError, SQLAlchemyError, OSError) as error:
                _LOG.warning(
                    "model %s of arm %s could not be read and will be tried again: %s", model_id, arm, error
                )
                continue
            except ArmError as error:
                self._loaded[arm] = model_id
                _LOG.error("model %s of arm %s is refused: %s", model_id, arm, error)
                continue
            self._loaded[arm] = model_id
            self.desk.arms = {**self.desk.arms, arm: loaded}
            _LOG.info("arm %s serves model %s", arm, model_id)

    async def _poll_kills(self) -> None:
        self.desk.kills = read_kills(self.config.data_dir.root)

    async def _sync(self) -> None:
        descriptors = self.desk.journals.unsynced()
        if descriptors:
            await asyncio.to_thread(sync_all, descriptors)

    async def _measure(self) -> None:
        self.desk.journals.measure()


def load_model(engine: Engine, folder: Path, model_id: str, schema: StateSchema) -> Arm:
    """A registered model, verified by its content hash and its self-test."""
    path = models.materialise(engine, model_id, folder)
    artefact = read_artefact(path)
    if artefact.id != model_id:
        raise ArmError(f"the files of model {model_id} hash to {artefact.id}: remove {path} and start again")
    return loader_of(artefact.kind)(artefact, schema)


def build(config: ServiceConfig, engine: Engine, first_sight: FirstSight, clock: Clock) -> Service:
    """A worker's parts, put together."""
    quota = Quota(config.data_dir.journals, config.journal_quota_bytes)
    desk = Desk(
        snapshot=snapshot.read(engine, clock()),
        kills=read_kills(config.data_dir.root),
        arms={},
        schema=MARKET_V1,
        binder=Binder(first_sight, round(config.split_lead_s * 1e6)),
        journals=Journals(config.data_dir.journals, quota),
        clock=clock,
        default_experiment=config.default_experiment,
        answered=new_known(),
    )
    return Service(config=config, engine=engine, first_sight=first_sight, clock=clock, desk=desk)


async def _every(seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    """Runs a step again and again; one that fails is logged and tried again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await step()
        except Exception:
            _LOG.exception("a loop of the service failed and goes on")
