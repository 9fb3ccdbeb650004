"""One HTTP worker: what it opens, and the loops that keep it current. Started by cli, never by itself."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from arms.errors import ArmError
from arms.schema import MARKET_V1
from router import metrics, snapshot, trouble
from router.binding import Binder
from router.desk import Desk
from router.door import POLL_S as KEY_POLL_S
from router.door import Door, read_keyring
from router.errors import BadKillFile, RouterError
from router.journals import Journals, segment_bytes_of, sync_all
from router.kills import Kills, read_kills
from router.lineup import Lineup
from router.loading import LIMIT_S, Terms, loaded
from router.overload import NORMAL, Overload
from router.shadows import Shadows
from router.snapshot import View
from router.vacancy import vacancies, with_a_share
from store.bindings import FirstSight
from store.clock import Clock
from store.data_dir import DataDir
from store.errors import StoreError
from store.journal import Quota
from store.lives import Lives, MemoryLives
from store.sql import open_kept_engine

SPLIT_POLL_S = 0.5
KILL_POLL_S = 0.25
QUOTA_POLL_S = 1.0
TELL_S = 0.02
_LOG = logging.getLogger("abctl.router")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """Every knob of a worker, with its unit."""

    data_dir: DataDir
    default_experiment: str
    pepper: bytes
    is_local: bool
    split_lead_s: float = 2.0
    fsync_interval_s: float = 0.05
    arm_timeout_s: float = LIMIT_S
    overload: Overload = NORMAL
    journal_quota_bytes: int = 2 << 30


@dataclass(slots=True)
class Service:
    """A worker's parts. `start` before the first request, `stop` after the last.

    engine: for requests. watch: for the loops alone, so that no slow report holds up a split or a revocation.
    """

    config: ServiceConfig
    engine: Engine
    watch: Engine
    first_sight: FirstSight
    clock: Clock
    desk: Desk
    door: Door
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    _syncing: "asyncio.Task[None] | None" = None
    _tried: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)
    _kill_error: str = ""

    @property
    def _terms(self) -> Terms:
        return Terms(self.desk.schema, self.config.arm_timeout_s)

    async def start(self) -> None:
        """Loads the champions and starts the loops."""
        await self._poll_sql()
        loops: list[tuple[Callable[[], Awaitable[None]], float]] = [
            (self._poll_sql, SPLIT_POLL_S),
            (self._poll_files, KILL_POLL_S),
            (self._poll_keys, KEY_POLL_S),
            (self._sync, self.config.fsync_interval_s),
            (self.first_sight.flush, TELL_S),
            (self._measure, QUOTA_POLL_S),
        ]
        self._tasks += [asyncio.create_task(_every(seconds, step)) for step, seconds in loops]
        if self.desk.shadows is not None:
            self._tasks.append(asyncio.create_task(self.desk.shadows.run()))

    async def stop(self) -> None:
        """Ends the loops and syncs the journals."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._syncing is not None:
            await asyncio.wait([self._syncing])
        await self.first_sight.flush()
        metrics.flush()
        if self.desk.shadows is not None:
            await self.desk.shadows.close()
        self.desk.lineup.close()
        self.desk.journals.close()
        self.engine.dispose()
        self.watch.dispose()

    def missing(self) -> list[str]:
        """Why this worker cannot answer for its default experiment; empty when it can."""
        silent = self._silent_controls()
        mine = silent.pop(self.config.default_experiment, None)
        missing = [] if mine is None else [self._without_model(mine)]
        return [*missing, *([self._kill_error] if self._kill_error else [])]

    def warnings(self) -> list[str]:
        """What is not as it should be while decisions go on: no reason to leave a load balancer's pool."""
        age_s = (self.clock() - self.desk.snapshot.confirmed_at_us) / 1e6
        stale = [f"the split was last confirmed {age_s:.0f} s ago: SQL does not answer, decisions go on"]
        refused = [f"arm {arm}: {why}" for arm, why in sorted(self._refused.items())]
        silent = self._silent_controls()
        silent.pop(self.config.default_experiment, None)
        others = [f"experiment {key}: {self._without_model(arm)}" for key, arm in sorted(silent.items())]
        shipping = trouble.told(self.config.data_dir.root)
        carried = [] if shipping is None else [shipping]
        split = stale if age_s > self.config.split_lead_s else []
        return [*split, *refused, *others, *self._vacancies(), *carried, *self.door.warnings()]

    def _open_views(self) -> list[View]:
        return [v for v in self.desk.snapshot.views.values() if not v.experiment.archived_at_us]

    def _silent_controls(self) -> dict[str, str]:
        """Open experiments whose control cannot answer, with that control."""
        open_ones = (view.experiment for view in self._open_views())
        return {e.key: e.control for e in open_ones if e.control not in self.desk.lineup.models}

    def _vacancies(self) -> list[str]:
        """Arms of open experiments that get units and have no model; controls are told apart."""
        champions = self.desk.snapshot.champions
        found = {
            view.experiment.key: vacancies(view.experiment, view.history[-1].weights, champions)
            for view in self._open_views()
        }
        return [
            f"experiment {key}: {vacancy}"
            for key, each in sorted(found.items())
            for vacancy in with_a_share(each)
            if not vacancy.is_control
        ]

    def _without_model(self, arm: str) -> str:
        return f"control arm {arm} has no loaded model: {self._why(arm)}"

    def _why(self, arm: str) -> str:
        return self._refused.get(arm, f"give it one with `abctl model promote ID --arm {arm}`")

    async def _poll_sql(self) -> None:
        """Reads splits and champions anew; on an error the last ones stay, and decisions say "stale"."""
        try:
            fresh = await asyncio.to_thread(snapshot.read, self.watch, self.clock())
        except (SQLAlchemyError, StoreError, RouterError) as error:
            _LOG.warning("the split could not be confirmed: %s", error)
            return
        self.desk.snapshot = snapshot.after(fresh, self.desk.snapshot)
        for arm, model_id in fresh.champions.items():
            if self._tried.get(arm) != model_id:
                await self._load(arm, model_id)

    async def _load(self, arm: str, model_id: str) -> None:
        """Serves a champion from now on. One that is refused leaves the model before it in its place."""
        try:
            found = await asyncio.to_thread(
                loaded, self.watch, self.config.data_dir.models, model_id, self._terms
            )
        except (StoreError, SQLAlchemyError, OSError) as error:
            _LOG.warning("model %s of arm %s cannot be read now; trying again: %s", model_id, arm, error)
            return
        except ArmError as error:
            self._tried[arm] = model_id
            self._refused[arm] = f"model {model_id} is refused: {error}"
            _LOG.error("model %s of arm %s is refused: %s", model_id, arm, error)
            return
        self._tried[arm] = model_id
        self._refused.pop(arm, None)
        self.desk.lineup.serve(arm, found)
        _LOG.info("arm %s serves model %s", arm, model_id)

    async def _poll_files(self) -> None:
        """What needs neither Redis nor SQL: kills and revocations of this node, and counts for /metrics."""
        self.obey_kills()
        self.door.obey_revocations()
        metrics.flush()

    async def _poll_keys(self) -> None:
        await asyncio.to_thread(self.door.refresh)

    def obey_kills(self) -> None:
        """Reads the KILL file; an unreadable one leaves the kills as they are, and the worker not ready."""
        kills, self._kill_error = kills_of(self.config.data_dir)
        if kills is not None:
            self.desk.kills = kills

    async def _sync(self) -> None:
        descriptors = self.desk.journals.unsynced()
        if descriptors:
            self._syncing = asyncio.create_task(asyncio.to_thread(sync_all, descriptors))
            await asyncio.shield(self._syncing)

    async def _measure(self) -> None:
        self.desk.journals.measure()
        metrics.count_dropped_starts(self.first_sight.dropped())


def kills_of(data_dir: DataDir) -> tuple[Kills | None, str]:
    """The kills in force, or None and why they cannot be read."""
    try:
        return read_kills(data_dir.root), ""
    except (BadKillFile, OSError) as error:
        return None, str(error)


def build(
    config: ServiceConfig,
    engine: Engine,
    first_sight: FirstSight,
    clock: Clock,
    lives: Lives | None = None,
) -> Service:
    """A worker's parts, put together. lives: where paper lives are kept; None: in this process alone."""
    quota = Quota(config.data_dir.journals, config.journal_quota_bytes)
    kills, kill_error = kills_of(config.data_dir)
    watch = open_kept_engine(engine.url.render_as_string(hide_password=False))
    lineup = Lineup()
    journals = Journals(config.data_dir.journals, quota, segment_bytes_of(config.journal_quota_bytes))
    desk = Desk(
        snapshot=snapshot.read(watch, clock()),
        kills=kills or (),
        lineup=lineup,
        schema=MARKET_V1,
        binder=Binder(first_sight, round(config.split_lead_s * 1e6)),
        journals=journals,
        overload=config.overload,
        clock=clock,
        default_experiment=config.default_experiment,
        shadows=Shadows(lineup, journals, lives or MemoryLives(), MARKET_V1),
    )
    door = _door(config, watch, clock)
    return Service(config, engine, watch, first_sight, clock, desk, door, _kill_error=kill_error)


def _door(config: ServiceConfig, engine: Engine, clock: Clock) -> Door:
    now_us = clock()
    keyring = read_keyring(engine, config.pepper)
    door = Door(engine, config.data_dir, config.pepper, clock, config.is_local, keyring, now_us)
    door.obey_revocations()
    return door


async def _every(seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    """Runs a step again and again; one that fails is logged and tried again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await step()
        except Exception:  # noqa: BLE001 - a loop that ended would freeze splits and kills without a word
            _LOG.exception("a loop of the service failed and goes on")
