"""Opens the database for a command, whether a service runs or not: SQL is the truth that both read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cli.settings import Settings


@contextmanager
def reading(settings: Settings) -> Iterator[Any]:
    """A connection to the migrated database."""
    from cli.gateway import opened_engine

    settings.place.prepare()
    engine = opened_engine(settings)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def writing(settings: Settings) -> Iterator[Any]:
    """The engine of the migrated database."""
    from cli.gateway import opened_engine

    settings.place.prepare()
    engine = opened_engine(settings)
    try:
        yield engine
    finally:
        engine.dispose()
