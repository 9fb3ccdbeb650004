"""Opens the database for a command, whether a service runs or not: SQL is the truth that both read."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.failures import Refused
from cli.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@contextmanager
def reading(settings: Settings) -> "Generator[Connection]":
    """A connection to the migrated database."""
    with writing(settings) as engine, engine.connect() as connection:
        yield connection


@contextmanager
def writing(settings: Settings) -> "Generator[Engine]":
    """The engine of the migrated database."""
    from cli.gateway import opened_engine

    settings.place.prepare()
    engine = opened_engine(settings)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def looking(settings: Settings) -> "Generator[Connection | None]":
    """A connection that makes and migrates nothing; None where there is no database yet."""
    from store import schema
    from store.sql import check_reachable, open_engine

    if not settings.database_url and not settings.place.database.exists():
        yield None
        return
    engine = open_engine(settings.sql_url)
    try:
        check_reachable(engine)
        revision = schema.revision_of(engine)
        if revision is None:
            yield None
            return
        if revision != schema.HEAD:
            raise Refused(
                f"the database is at revision {revision}, not {schema.HEAD}: run `abctl db upgrade`"
            )
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
