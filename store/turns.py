"""Writers of an experiment take turns: inside a transaction nobody else stores, repairs or prunes."""

from sqlalchemy import Connection, text

_ADVISORY_CLASS = 0x61626374  # "abct"


def take_turn(connection: Connection, experiment: str) -> None:
    """Waits for this experiment's other writers; the transaction's end lets the next one go on.

    A writing transaction on SQLite is alone from its BEGIN IMMEDIATE on.
    """
    if connection.dialect.name != "sqlite":
        lock = text("SELECT pg_advisory_xact_lock(:class, hashtext(:experiment))")
        connection.execute(lock, {"class": _ADVISORY_CLASS, "experiment": experiment})
