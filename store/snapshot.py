"""One moment of the database, however long it is read and whoever writes meanwhile."""

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import Connection, text


@contextmanager
def snapshot(connection: Connection) -> Generator[Connection]:
    """Reads inside see what was committed when it began. Blocks no writer; the connection must be idle.

    SQLite: one read transaction (the WAL grows meanwhile). PostgreSQL: REPEATABLE READ, read only.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
        connection.execute(text("SELECT count(*) FROM sqlite_master"))  # the first read is the moment
    else:
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        connection.execute(text("SELECT 1"))
    try:
        yield connection
    finally:
        connection.rollback()
