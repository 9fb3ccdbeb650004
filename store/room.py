"""Gives the room of removed rows back: to the disk on SQLite, to later rows on PostgreSQL."""

from dataclasses import dataclass

from sqlalchemy import Connection, Engine


@dataclass(frozen=True, slots=True)
class Room:
    """total_bytes: of the database. free_bytes: within it, for later rows; None where nobody knows."""

    total_bytes: int
    free_bytes: int | None


def room_of(connection: Connection) -> Room:
    """How big the database is now."""
    if connection.dialect.name != "sqlite":
        size = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
        return Room(int(size), None)
    page, pages, free = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_size", "page_count", "freelist_count")
    )
    return Room(page * pages, page * free)


def vacuum(engine: Engine) -> None:
    """SQLite: writes the file anew, which needs as much disk again and keeps writers waiting meanwhile.

    PostgreSQL: a plain VACUUM of the decisions, beside which everybody goes on.
    """
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("VACUUM (ANALYZE) decision")
