"""Two ways to the same facts: through the running service, or directly on SQL where none runs."""

import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode

from cli.database import found, nothing_yet, opened_engine, settle, shown
from cli.finding import TIMEOUT_S, actor, call, is_locked, service_url
from cli.settings import MAIN, Settings
from cli.starters import STARTERS

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from router.assignment import History
    from router.question import Question
    from store.records import Experiment

LOCK_PATIENCE_S = 5.0
LOOK_BACK_S = 600.0
"""How long a service may take to read all decisions of an experiment."""
Shape = dict[str, Any]


class Gateway(Protocol):
    """What commands ask for, in the JSON shapes of the HTTP interface."""

    @property
    def where(self) -> str:
        """Which way was taken, for the user."""
        ...

    def split(self, key: str) -> Shape:
        """The newest split."""
        ...

    def split_history(self, key: str) -> list[Shape]:
        """Every version, the first one first."""
        ...

    def set_share(self, key: str, arm: str, share: str, reason: str) -> Shape:
        """Gives an arm a share; the newest split, with `changed` and `warnings`."""
        ...

    def restore(self, key: str, version: int, reason: str) -> Shape:
        """Reinstates a version; the newest split, with `changed` and `warnings`."""
        ...

    def shadow(self, key: str) -> Shape:
        """Which arm is shadowed: `shadow` (None: none) and `warnings`."""
        ...

    def set_shadow(self, key: str, wanted: Shape) -> Shape:
        """Changes which arm is; the same shape."""
        ...

    def report(self, question: "Question") -> Shape:
        """The report, of now or of a past moment."""
        ...

    def experiments(self) -> list[Shape]:
        """All experiments."""
        ...

    def put_experiment(self, fields: Shape) -> Shape:
        """Creates or redefines an experiment; the experiment, with `warnings`."""
        ...

    def archive(self, key: str) -> None:
        """Closes an experiment."""
        ...


class ThroughService:
    """HTTP to a running service."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings = settings
        self._url = url
        self.where = f"through the service at {url}"

    def _call(self, method: str, key: str, path: str, body: object = None) -> Any:
        address = f"/v1/experiments/{quote(key, safe='')}{path}" if key else "/v1/experiments"
        return call(self._settings, self._url, method, address, body)

    def split(self, key: str) -> Shape:
        return dict(self._call("GET", key, "/split"))

    def split_history(self, key: str) -> list[Shape]:
        return list(self._call("GET", key, "/split/history")["splits"])

    def set_share(self, key: str, arm: str, share: str, reason: str) -> Shape:
        return dict(self._call("PUT", key, "/split", {"arm": arm, "share": share, "reason": reason}))

    def restore(self, key: str, version: int, reason: str) -> Shape:
        return dict(self._call("PUT", key, "/split", {"restore": version, "reason": reason}))

    def shadow(self, key: str) -> Shape:
        return dict(self._call("GET", key, "/shadow"))

    def set_shadow(self, key: str, wanted: Shape) -> Shape:
        return dict(self._call("PUT", key, "/shadow", wanted))

    def report(self, question: "Question") -> Shape:
        from router.splits import rfc3339

        as_of = None if question.as_of_us is None else rfc3339(question.as_of_us)
        asked = {"days": question.days, "fill": question.fill, "by": question.by, "as_of": as_of}
        words = urlencode({name: value for name, value in asked.items() if value is not None})
        address = f"/v1/experiments/{quote(question.key, safe='')}/report?{words}"
        patience_s = TIMEOUT_S if as_of is None else LOOK_BACK_S
        return dict(call(self._settings, self._url, "GET", address, timeout_s=patience_s))

    def experiments(self) -> list[Shape]:
        return list(self._call("GET", "", "")["experiments"])

    def put_experiment(self, fields: Shape) -> Shape:
        return dict(self._call("PUT", str(fields.get("key") or "-"), "", fields))

    def archive(self, key: str) -> None:
        self._call("POST", key, "/archive")


class DirectlyOnSql:
    """The same functions that the service calls, on the database itself."""

    def __init__(self, settings: Settings, engine: "Engine") -> None:
        from store.clock import wall_clock_us

        self._engine = engine
        self._clock = wall_clock_us
        self._lead_us = round(settings.split_lead_s * 1e6)
        self._journals = settings.place.journals
        place = shown(settings) if settings.database_url else settings.place.database
        self.where = f"directly on {place}: no service runs here"

    def split(self, key: str) -> Shape:
        return self.split_history(key)[-1]

    def split_history(self, key: str) -> list[Shape]:
        from router import change
        from router.splits import split_shape

        return [split_shape(split) for split in change.history(self._engine, key)]

    def set_share(self, key: str, arm: str, share: str, reason: str) -> Shape:
        from router import change

        by = change.By(actor(), reason)
        made = change.set_share(self._engine, key, arm, share, by, self._clock, self._lead_us)
        return change.shape(self._engine, made, STARTERS)

    def restore(self, key: str, version: int, reason: str) -> Shape:
        from router import change

        by = change.By(actor(), reason)
        made = change.restore(self._engine, key, version, by, self._clock, self._lead_us)
        return change.shape(self._engine, made, STARTERS)

    def shadow(self, key: str) -> Shape:
        from router import shadowing

        return shadowing.told(self._engine, key, shadowing.current(self._engine, key))

    def set_shadow(self, key: str, wanted: Shape) -> Shape:
        from router import shadowing
        from router.change import By

        by = By(actor(), wanted["reason"])
        made = shadowing.change(self._engine, key, shadowing.wanted_of(wanted), by, self._clock)
        return shadowing.told(self._engine, key, made)

    def report(self, question: "Question") -> Shape:
        from router.report import report_of

        return report_of(self._engine, question, self._clock())

    def experiments(self) -> list[Shape]:
        import msgspec

        from store import experiments

        with self._engine.connect() as connection:
            return list(msgspec.json.decode(msgspec.json.encode(experiments.every(connection))))

    def put_experiment(self, fields: Shape) -> Shape:
        import msgspec

        from router.snapshot import first_split
        from router.vacancy import warnings_of_arms
        from store import experiments

        experiment = _defined(fields, self._clock())
        split = first_split(experiment, actor())
        experiments.create(self._engine, experiment, split, actor(), self._journals)
        warnings = warnings_of_arms(self._engine, experiment, STARTERS)
        return {**msgspec.json.decode(msgspec.json.encode(experiment)), "warnings": warnings}

    def archive(self, key: str) -> None:
        from store import experiments

        experiments.archive(self._engine, key, self._clock(), actor())


class NothingYet:
    """No database, or one without our tables. Looking makes nothing; the first change that holds makes it."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._made: Gateway | None = None

    @property
    def where(self) -> str:
        return self._now().where

    def _now(self) -> Gateway:
        """What is there by now, or the failure that says how to begin."""
        if self._made is None:
            raise nothing_yet(self._settings)
        return self._made

    def _founded(self) -> Gateway:
        if self._made is None:
            self._made = _opened(self._settings, self._stack)
        return self._made

    def _rehearse(self, key: str) -> "tuple[Experiment, History]":
        """The experiment that would exist, as it would be made; any other key is unknown."""
        from router.definition import main_experiment
        from router.snapshot import first_split
        from router.split_log import history_of
        from store.errors import UnknownExperiment

        if key != MAIN:
            raise UnknownExperiment(key)
        main = main_experiment(key, 0)
        return main, history_of(main, (first_split(main, "abctl"),))

    def split(self, key: str) -> Shape:
        self._known(key)
        return self._now().split(key)

    def split_history(self, key: str) -> list[Shape]:
        self._known(key)
        return self._now().split_history(key)

    def set_share(self, key: str, arm: str, share: str, reason: str) -> Shape:
        from router import splits

        if self._made is None:
            main, history = self._rehearse(key)
            splits.set_share(history, arm, share, main.control, arms=main.arms)
        return self._founded().set_share(key, arm, share, reason)

    def restore(self, key: str, version: int, reason: str) -> Shape:
        from router import splits

        if self._made is None:
            change = splits.Change(actor=actor(), reason=reason, now_us=0, lead_us=0)
            splits.restore(self._rehearse(key)[1], version, change)
        return self._founded().restore(key, version, reason)

    def shadow(self, key: str) -> Shape:
        self._known(key)
        return self._now().shadow(key)

    def set_shadow(self, key: str, wanted: Shape) -> Shape:
        from router import shadowing

        if self._made is None:
            shadowing.checked(shadowing.wanted_of(wanted), self._rehearse(key)[0])
        return self._founded().set_shadow(key, wanted)

    def report(self, question: "Question") -> Shape:
        self._known(question.key)
        return self._now().report(question)

    def experiments(self) -> list[Shape]:
        return [] if self._made is None else self._made.experiments()

    def put_experiment(self, fields: Shape) -> Shape:
        _defined(fields, 0)
        return self._founded().put_experiment(fields)

    def archive(self, key: str) -> None:
        self._known(key)
        self._now().archive(key)

    def _known(self, key: str) -> None:
        if self._made is None:
            self._rehearse(key)


def _defined(fields: Shape, now_us: int) -> "Experiment":
    """The experiment that these fields define."""
    from cli.failures import Refused
    from router.definition import experiment_of
    from router.problems import Problem

    try:
        return experiment_of(fields, now_us)
    except Problem as problem:
        raise Refused(problem.detail) from problem


@contextmanager
def gateway(settings: Settings) -> Generator[Gateway]:
    """The service where one runs, else SQL under the data directory's lock, where that directory is there."""
    with ExitStack() as stack:
        if service_url(settings) is None and _is_untouched(settings):
            yield NothingYet(settings, stack)
        else:
            yield _opened(settings, stack)


def _is_untouched(settings: Settings) -> bool:
    """Whether there is nothing of ours in the database yet, and no service about to begin."""
    if is_locked(settings.place):
        return False
    with found(settings) as engine:
        return engine is None


def _opened(settings: Settings, stack: ExitStack) -> Gateway:
    """The service, or the database, made where there is none."""
    url = _service_or_lock(settings, stack)
    if url is not None:
        return ThroughService(settings, url)
    engine = stack.enter_context(found(settings))
    if engine is not None:
        settle(settings, engine)
    else:
        engine = opened_engine(settings)
        stack.callback(engine.dispose)
    return DirectlyOnSql(settings, engine)


def _service_or_lock(settings: Settings, stack: ExitStack) -> str | None:
    """The service's URL, or None once the lock is ours. Another terminal's short command is waited for."""
    from store.data_dir import owned
    from store.errors import DataDirLocked

    give_up_at = time.monotonic() + LOCK_PATIENCE_S
    while True:
        url = service_url(settings)
        if url is not None:
            return url
        if settings.database_url and not settings.place.root.exists():
            return None  # whoever needs no directory gets none
        try:
            stack.enter_context(owned(settings.place.prepare()))
        except DataDirLocked:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)
        else:
            return None
