"""Writers of an experiment take turns: inside a transaction nobody else stores, repairs or prunes."""

from sqlalchemy import Connection, text

_ADVISORY_CLASS = 0x61626374  # "abct"
_TURN = text(
    "SELECT pg_advisory_xact_lock(:class, hashtext(:experiment)),"
    " set_config('plan_cache_mode', 'force_custom_plan', true)"
)


def take_turn(connection: Connection, experiment: str) -> None:
    """Waits for this experiment's other writers; the transaction's end lets the next one go on.

    A writing transaction on SQLite is alone from its BEGIN IMMEDIATE on. On PostgreSQL every statement of the
    turn is planned for the tables as they are: a plan from when they were empty would read all of them now.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_TURN, {"class": _ADVISORY_CLASS, "experiment": experiment})
