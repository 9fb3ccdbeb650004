"""Two ways to the same facts: through the running service, or directly on SQL where none runs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol
from urllib.parse import quote

from cli.finding import actor, call, service_url
from cli.settings import Settings


class Gateway(Protocol):
    """What commands ask for. `where` says which way was taken."""

    where: str

    def split(self, key: str) -> dict[str, Any]:
        """The newest split."""
        ...

    def split_history(self, key: str) -> list[dict[str, Any]]:
        """Every version, the first one first."""
        ...

    def set_share(self, key: str, arm: str, share: str, reason: str) -> dict[str, Any]:
        """Gives an arm a share; the new split."""
        ...

    def restore(self, key: str, version: int, reason: str) -> dict[str, Any]:
        """Reinstates a version; the new split."""
        ...

    def report(self, key: str, days: int) -> dict[str, Any]:
        """The report's JSON shape."""
        ...

    def experiments(self) -> list[dict[str, Any]]:
        """All experiments."""
        ...

    def put_experiment(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Creates or redefines an experiment."""
        ...

    def archive(self, key: str) -> None:
        """Closes an experiment."""
        ...


class ThroughService:
    """HTTP to a running service."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings = settings
        self._url = url
        self.where = f"service at {url}"

    def _call(self, method: str, path: str, body: object = None) -> Any:
        return call(self._settings, self._url, method, f"/v1/experiments{path}", body)

    def split(self, key: str) -> dict[str, Any]:
        return dict(self._call("GET", f"/{quote(key, safe='')}/split"))

    def split_history(self, key: str) -> list[dict[str, Any]]:
        return list(self._call("GET", f"/{quote(key, safe='')}/split/history")["splits"])

    def set_share(self, key: str, arm: str, share: str, reason: str) -> dict[str, Any]:
        body = {"arm": arm, "share": share, "reason": reason}
        return dict(self._call("PUT", f"/{quote(key, safe='')}/split", body))

    def restore(self, key: str, version: int, reason: str) -> dict[str, Any]:
        return dict(
            self._call("PUT", f"/{quote(key, safe='')}/split", {"restore": version, "reason": reason})
        )

    def report(self, key: str, days: int) -> dict[str, Any]:
        return dict(self._call("GET", f"/{quote(key, safe='')}/report?days={days}"))

    def experiments(self) -> list[dict[str, Any]]:
        return list(self._call("GET", "")["experiments"])

    def put_experiment(self, fields: dict[str, Any]) -> dict[str, Any]:
        return dict(self._call("PUT", f"/{quote(str(fields.get('key', '')), safe='')}", fields))

    def archive(self, key: str) -> None:
        self._call("POST", f"/{quote(key, safe='')}/archive")


class DirectlyOnSql:
    """The same functions that the service calls, on the database itself."""

    def __init__(self, settings: Settings, engine: Any) -> None:
        from store.clock import wall_clock_us

        self._engine = engine
        self._clock = wall_clock_us
        self._lead_us = round(settings.split_lead_s * 1e6)
        shown = engine.url.render_as_string(hide_password=True)
        self.where = f"directly on {shown} (no service runs here)"

    def split(self, key: str) -> dict[str, Any]:
        return self.split_history(key)[-1]

    def split_history(self, key: str) -> list[dict[str, Any]]:
        from router import change
        from router.splits import split_shape

        return [split_shape(split) for split in change.history(self._engine, key)]

    def set_share(self, key: str, arm: str, share: str, reason: str) -> dict[str, Any]:
        from router import change
        from router.splits import split_shape

        by = change.By(actor(), reason)
        return split_shape(change.set_share(self._engine, key, arm, share, by, self._clock, self._lead_us))

    def restore(self, key: str, version: int, reason: str) -> dict[str, Any]:
        from router import change
        from router.splits import split_shape

        by = change.By(actor(), reason)
        return split_shape(change.restore(self._engine, key, version, by, self._clock, self._lead_us))

    def report(self, key: str, days: int) -> dict[str, Any]:
        from router.report import build_report

        return build_report(self._engine, key, days, self._clock())

    def experiments(self) -> list[dict[str, Any]]:
        import msgspec

        from store import experiments

        with self._engine.connect() as connection:
            return list(msgspec.to_builtins(experiments.every(connection)))

    def put_experiment(self, fields: dict[str, Any]) -> dict[str, Any]:
        import msgspec

        from router.definition import experiment_of
        from router.snapshot import first_split
        from store import experiments

        experiment = experiment_of(fields, self._clock())
        experiments.create(self._engine, experiment, first_split(experiment, actor()), actor())
        return dict(msgspec.to_builtins(experiment))

    def archive(self, key: str) -> None:
        from store import experiments

        experiments.archive(self._engine, key, self._clock(), actor())


@contextmanager
def gateway(settings: Settings) -> Iterator[Gateway]:
    """The service where one runs, else SQL under the data directory's lock."""
    url = service_url(settings)
    if url is not None:
        yield ThroughService(settings, url)
        return
    from store.data_dir import owned

    with ExitStack() as stack:
        stack.enter_context(owned(settings.place.prepare()))
        yield DirectlyOnSql(settings, opened_engine(settings))


def opened_engine(settings: Settings) -> Any:
    """The database, reachable, migrated, with the default experiment in it."""
    from router.definition import main_experiment
    from router.snapshot import first_split
    from store import experiments, schema
    from store.clock import wall_clock_us
    from store.sql import check_reachable, open_engine

    engine = open_engine(settings.sql_url)
    check_reachable(engine)
    schema.upgrade(engine)
    main = main_experiment(settings.experiment, wall_clock_us())
    experiments.ensure(engine, main, first_split(main, "abctl"), "abctl")
    return engine
