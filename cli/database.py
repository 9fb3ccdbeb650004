"""Opens the database for a command, whether a service runs or not: SQL is the truth that both read.

Looking makes nothing. The first change makes a database where there is none. One of another release is left
alone: only `abctl serve` and `abctl db upgrade` migrate.
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cli.failures import NotFound, Refused
from cli.masking import masked
from cli.settings import MAIN, Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@contextmanager
def found(settings: Settings) -> "Generator[Engine | None]":
    """The database as it is; None where there is none yet, or none of our tables in it."""
    from store import schema
    from store.sql import check_reachable, open_engine

    if not settings.database_url and not _is_file(settings):
        yield None
        return
    engine = open_engine(settings.sql_url)
    try:
        check_reachable(engine)
        revision = schema.revision_of(engine)
        if revision not in {None, schema.HEAD}:
            raise Refused(
                f"the database is at revision {revision}, this abctl wants {schema.HEAD}:"
                " run `abctl db upgrade`, or upgrade abctl here where the database is the newer one"
            )
        yield engine if revision else None
    finally:
        engine.dispose()


def _is_file(settings: Settings) -> bool:
    """Whether our own database is there. A path that cannot be used is an OSError."""
    try:
        settings.place.database.stat()
    except FileNotFoundError:
        return False
    return True


@contextmanager
def existing(settings: Settings) -> "Generator[Engine]":
    """The database, or NotFound with how to begin."""
    with found(settings) as engine:
        if engine is None:
            raise nothing_yet(settings)
        yield engine


def nothing_yet(settings: Settings) -> NotFound:
    """The failure that says how to begin."""
    missing, other = f"no database in {settings.data_dir}", "--data-dir"
    if settings.database_url:
        missing, other = f"no tables in {shown(settings)}", "ABCTL_DATABASE_URL"
    begin = "start with `abctl serve` or `abctl split set`"
    return NotFound(f"nothing here yet: {missing}; {begin}, or name another {other}")


def shown(settings: Settings) -> str:
    """The database's URL without its password."""
    from sqlalchemy.engine import make_url

    return masked(make_url(settings.sql_url).render_as_string(hide_password=True))


@contextmanager
def looking(settings: Settings) -> "Generator[Connection | None]":
    """A connection; None where there is no database yet."""
    with found(settings) as engine:
        if engine is None:
            yield None
            return
        with engine.connect() as connection:
            yield connection


@contextmanager
def reading(settings: Settings) -> "Generator[Connection]":
    """A connection, or NotFound with how to begin."""
    with existing(settings) as engine, engine.connect() as connection:
        yield connection


@contextmanager
def writing(settings: Settings) -> "Generator[Engine]":
    """The database, made where there is none: ask for it when nothing else can fail any more."""
    with found(settings) as engine:
        if engine is not None:
            settle(settings, engine)
            yield engine
            return
    made = opened_engine(settings)
    try:
        yield made
    finally:
        made.dispose()


def opened_engine(settings: Settings) -> "Engine":
    """The database, reachable, migrated, with the experiment `main` in it."""
    return migrated(settings)[0]


def migrated(settings: Settings) -> "tuple[Engine, bool]":
    """The same, and whether anything was to be migrated."""
    from router.definition import main_experiment
    from router.snapshot import first_split
    from store import experiments, schema
    from store.clock import wall_clock_us
    from store.sql import check_reachable, open_engine

    if not settings.database_url:
        settings.place.prepare()
    engine = open_engine(settings.sql_url)
    check_reachable(engine)
    is_changed = schema.upgrade(engine)
    main = main_experiment(MAIN, wall_clock_us())
    experiments.ensure(engine, main, first_split(main, "abctl"), "abctl")
    settle(settings, engine)
    return engine, is_changed


def check_experiment(settings: Settings, engine: "Engine | None") -> None:
    """Raises NotFound where there is no default experiment: only `main` comes by itself, a typo makes none.

    engine: None where there is no database yet.
    """
    from store import experiments
    from store.errors import UnknownExperiment

    if settings.experiment == MAIN:
        return
    try:
        if engine is None:
            raise UnknownExperiment(settings.experiment)
        with engine.connect() as connection:
            experiments.get(connection, settings.experiment)
    except UnknownExperiment as error:
        raise NotFound(
            f"setting experiment (ABCTL_EXPERIMENT): there is no experiment {settings.experiment!r};"
            f" mend it, or make it first: abctl experiment create FILE.toml (only {MAIN!r} comes by itself)"
        ) from error


def check_experiment_early(settings: Settings) -> None:
    """The same before anything is made, so that a typo leaves nothing behind; a database of an older release
    is asked once it is migrated."""
    if settings.experiment == MAIN:
        return  # costs a start no time
    with suppress(Refused), found(settings) as engine:
        check_experiment(settings, engine)


def settle(settings: Settings, engine: "Engine") -> None:
    """Tells SQL what was done in the data directory while it did not answer."""
    from store import late_audit, revocations

    revocations.settle(settings.place, engine)
    late_audit.settle(settings.place, engine)
