"""Tells what SQL will never take (a record's fault) from what passes when the database is well again."""

import sqlite3

from sqlalchemy.exc import DBAPIError

PERHAPS_REFUSED = (DBAPIError, ValueError, OverflowError)
# SQLSTATE classes that speak of the server: connection, login, read-only, rollback, missing table or right,
# resources, locks, shutdown, system, internal.
_SERVER_CLASSES = frozenset({"08", "25", "28", "40", "42", "53", "55", "57", "58", "F0", "XX"})
_SQLITE_RECORD_CODES = frozenset(
    {
        sqlite3.SQLITE_ERROR,  # also "integer overflow" of a sum
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_RANGE,
    }
)


def is_refusal(error: Exception) -> bool:
    """True where the same record would be refused for ever; a lost, locked or unmigrated database is not."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, PERHAPS_REFUSED)
    if error.connection_invalidated:
        return False
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_refuses(error.orig)
    state = getattr(error.orig, "sqlstate", None)
    return state is not None and state[:2] not in _SERVER_CLASSES


def _sqlite_refuses(error: sqlite3.Error) -> bool:
    """An error without a code is Python's own word about a value; "no such table" is an unmigrated file."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return isinstance(error, sqlite3.DataError | sqlite3.InterfaceError | sqlite3.ProgrammingError)
    return code & 0xFF in _SQLITE_RECORD_CODES and not str(error).startswith("no such ")
